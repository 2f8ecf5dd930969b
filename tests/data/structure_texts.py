"""Small structure files for the tests, written by hand."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np


def atom(
    name: str,
    resname: str = "ALA",
    chain: str = "A",
    number: int = 1,
    xyz: tuple[float, float, float] = (0.0, 0.0, 0.0),
    element: str | None = None,
    altloc: str = "",
    occupancy: float = 1.0,
    icode: str = "",
    hetero: bool = False,
    charge: str = "",
) -> str:
    """One atom line of a PDB file; the element is the first letter of the name unless given."""
    element = name.lstrip("0123456789")[:1] if element is None else element
    padded = name if len(name) == 4 or len(element) == 2 else f" {name}"
    x, y, z = xyz
    return (
        f"{'HETATM' if hetero else 'ATOM  '}{1:>5} {padded:<4}{altloc:1}{resname:>3} {chain:1}{number:>4}{icode:1}   "
        f"{x:8.3f}{y:8.3f}{z:8.3f}{occupancy:6.2f}{0:6.2f}          {element:>2}{charge:<2}"
    )


# An extended ALA-like backbone; residues are 3.8 Å apart along x, so that C and the next N are bonded.
BACKBONE = {"N": (0.0, 0.0, 0.0), "CA": (1.2, 0.8, 0.0), "C": (2.4, 0.0, 0.0), "O": (2.4, -1.2, 0.0)}
SER = {**BACKBONE, "CB": (1.2, 1.7, 1.2), "OG": (1.2, 3.0, 0.9)}
LYS = {
    **BACKBONE,
    "CB": (1.2, 1.7, 1.2),
    "CG": (1.2, 3.2, 0.9),
    "CD": (1.2, 4.0, 2.2),
    "CE": (1.2, 5.5, 1.9),
    "NZ": (1.2, 6.2, 3.2),
}


def residue(resname: str, number: int, places: dict[str, tuple], chain: str = "A", shift: Iterable = (0, 0, 0), **more):
    """Lines of a residue; `shift` moves it."""
    shift = np.asarray(shift, float)
    return [atom(n, resname, chain, number, tuple(np.asarray(p) + shift), **more) for n, p in places.items()]


def chain_of(
    resname: str, length: int, chain: str, places: dict[str, tuple], shift: Iterable = (0, 0, 0), first: int = 1
):
    """Lines of a chain of equal residues along x."""
    step = np.array([3.7, 0.0, 0.0])
    lines = [residue(resname, first + i, places, chain, np.asarray(shift) + i * step) for i in range(length)]
    return [line for found in lines for line in found]


def dimer() -> list[str]:
    """Two chains of 6 residues, in contact, with a zinc ion between them."""
    return [
        *chain_of("SER", 6, "A", SER),
        atom("ZN", "ZN", "A", 301, (5.0, 4.4, 1.5), element="ZN", hetero=True),
        *chain_of("LYS", 6, "B", LYS, shift=(0, 7.0, 0)),
    ]


def write(path: Path, lines: Iterable[str], end: str = "\n") -> Path:
    path.write_text(end.join([*lines, "END", ""]), newline="")
    return path


def mmcif(rows: Iterable[str], more: str = "") -> str:
    """An mmCIF file with rows: id element atom altloc residue chain label_seq icode x y z occupancy auth_seq model."""
    columns = (
        "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id label_seq_id "
        "pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy auth_seq_id auth_asym_id pdbx_PDB_model_num"
    )
    head = "\n".join(f"_atom_site.{name}" for name in columns.split())
    return f"data_test\n{more}\nloop_\n{head}\n" + "\n".join(rows) + "\n"
