"""What residue names mean: kinds of residue, parents of modified ones, waters, sugars, additives; atoms and side-chain
bonds of the standard ones."""

from functools import lru_cache
from typing import NamedTuple

import gemmi

from data.vocab import AMINO_ACIDS, ATOMIC_NUMBER, NUCLEOTIDES

OTHER, AMINO, DNA, RNA = 0, 1, 2, 3  # kinds of a residue; OTHER is split like a ligand

WATERS = frozenset("HOH WAT DOD H2O TIP TIP3 TIP4 TP3 SOL SPC MTO".split())
# Buffers, precipitants, cryoprotectants and detergents. Ions are none of them: any metal or halide may be a partner.
ADDITIVES = frozenset(
    (
        "GOL EDO PEG PGE PG4 P6G 1PE 2PE PE4 7PE 12P 15P 1PG PEU P33 P4C XPE MPD MRD IPA EOH MOH DMS DMF ACT ACY ACE "
        "FMT CIT FLC TLA MLI SO4 SO3 PO4 PI PO3 2PO NO3 CO3 BCT AZI SCN OXY TRS BTB EPE MES BME DTT DTV IMD CAC NH4 "
        "DIO BU3 BOG OLA OLC PLM UNX UNL"
    ).split()
)
# Protonation states and other spellings used by simulation programs, which no dictionary holds.
AMINO_SPELLINGS = {
    **dict.fromkeys("HID HIE HIP HSD HSE HSP HISD HISE HISH".split(), "HIS"),
    **dict.fromkeys("CYX CYM CYSS SEC".split(), "CYS"),
    **dict.fromkeys("ASH ASPH".split(), "ASP"),
    **dict.fromkeys("GLH GLUH".split(), "GLU"),
    **dict.fromkeys("LYN LYSH PYL".split(), "LYS"),
    "MSE": "MET",
}
# Chromophores made of several residues: split like ligands.
FUSED = frozenset("CRO CR2 CR7 CR8 CRQ CRF CRU CRX CH6 CH7 CFY GYS GYC NRQ NYC PIA SWG MDO XYG IIC".split())
# Bases by the names of several programs and of PDB files before 2007; the sugar tells which acid it is.
BASE_SPELLINGS = {
    **{spelled: letter for letter in "ACGTU" for spelled in (letter, f"+{letter}")},
    **dict(zip("ADE GUA CYT THY URA URI".split(), "AGCTUU")),
}
ACID_SPELLINGS = {
    f"{acid}{base}{end}": f"{acid}{base}"
    for acid, bases in (("D", "ACGT"), ("R", "ACGU"))
    for base in bases
    for end in ("", "3", "5", "N")
}


class Meaning(NamedTuple):
    """What a residue name means.

    Attributes:
        kind: AMINO, DNA, RNA or OTHER. standard: one of the 28 residues of the vocabulary it counts as ("": none).
        base: its base where the name leaves open whether it is DNA or RNA (`standard` is then a guess).
        modified: it is another residue than the standard one it counts as, with atoms of its own.
    """

    kind: int
    standard: str = ""
    base: str = ""
    modified: bool = False


@lru_cache(maxsize=20_000)
def meaning_of(name: str, parent: str = "") -> Meaning:
    """What a residue name means. `parent`: what it modifies by the file's own dictionary ("": nothing)."""
    if name in AMINO_ACIDS or name in AMINO_SPELLINGS:
        return Meaning(AMINO, AMINO_SPELLINGS.get(name, name), modified=name == "MSE")
    if name in ACID_SPELLINGS:
        return _nucleotide(ACID_SPELLINGS[name])
    if name in BASE_SPELLINGS:
        base = BASE_SPELLINGS[name]
        return _nucleotide("DT")._replace(base=base) if base == "T" else _nucleotide("R" + base)._replace(base=base)
    if name in FUSED:
        return Meaning(OTHER)
    if parent and parent != name and (meaning := meaning_of(parent)).standard:
        return meaning._replace(modified=True)
    info = gemmi.find_tabulated_residue(name)
    code = info.one_letter_code.strip().upper()
    if info.is_amino_acid() and code and (three := gemmi.expand_one_letter(code, gemmi.ResidueKind.AA)) in AMINO_ACIDS:
        return Meaning(AMINO, str(three), modified=True)
    if info.is_nucleic_acid() and info.one_letter_code.islower():  # DI and DU are their own parents: no type
        acid = "D" if info.kind == gemmi.ResidueKind.DNA else "R"
        if acid + code in NUCLEOTIDES:
            return _nucleotide(acid + code)._replace(modified=True)
    return Meaning(OTHER)


def _nucleotide(name: str) -> Meaning:
    return Meaning(DNA if name[0] == "D" else RNA, name)


@lru_cache(maxsize=20_000)
def is_water(name: str) -> bool:
    """Whether this residue is water."""
    return name in WATERS


@lru_cache(maxsize=20_000)
def is_sugar(name: str) -> bool:
    """Whether this residue is a saccharide."""
    if name in ("FRU", "LBT", "MAL"):  # the table counts these among the buffers, or not at all
        return True
    return gemmi.find_tabulated_residue(name).kind in (gemmi.ResidueKind.PYR, gemmi.ResidueKind.KET)


def is_additive(name: str) -> bool:
    """Whether this residue is a common crystallisation additive rather than a partner."""
    return name in ADDITIVES


# Two-letter elements that atoms of ligands really are, where a file leaves the element out.
TWO_LETTERS = frozenset("CL BR FE ZN MG MN CU NI SE SI LI AL RU RH PT MO AU AS".split())


# Ions by names that simulation programs give them.
IONS = dict(zip("SOD CLA POT CAL CES LIT RUB BAR CAD IP IM".split(), "NA CL K CA CS LI RB BA CD NA CL".split()))


def element_of_name(name: str, residue: str, alone: bool) -> int:
    """Atomic number of an atom whose file leaves the element out; 0: can't be told.

    Args:
        name: of the atom. residue: its residue's name. alone: the residue has no other atom (an ion).
    """
    letters = name.strip().lstrip("0123456789'\"*").upper()
    if alone and residue in IONS:
        return ATOMIC_NUMBER[IONS[residue]]
    if alone and not (letters == "CA" and residue[:2] != "CA"):  # else an alpha carbon of a residue of that one atom
        for candidate in (residue.strip("0123456789+- ").upper(), letters.strip("0123456789+-")):
            if candidate in ATOMIC_NUMBER:
                return ATOMIC_NUMBER[candidate]
    if letters[:2] in TWO_LETTERS:
        return ATOMIC_NUMBER[letters[:2]]
    if letters[:1] == "D":
        return 1
    return ATOMIC_NUMBER.get(letters[:1], 0)


@lru_cache(maxsize=20_000)
def element_in_polymer(name: str) -> int:
    """Atomic number of an atom of a standard residue by its name, whatever the file says (CA is carbon); 0: unknown."""
    letters = name.strip().lstrip("0123456789'\"*").upper()
    if letters.startswith("SE"):
        return ATOMIC_NUMBER["SE"]
    return {"H": 1, "D": 1, "C": 6, "N": 7, "O": 8, "S": 16, "P": 15}.get(letters[:1], 0)


BACKBONE = "N CA C O OXT OT1 OT2 O1 O2"
# Side-chain bonds that turn: (p, q, atoms behind q), outward; rings, amides and proline have none.
SIDE_CHAINS: dict[str, tuple[str, ...]] = {
    "GLY": (),
    "ALA": ("CB",),
    "VAL": ("CB", "CA CB: CG1 CG2"),
    "LEU": ("CB", "CA CB: CG CD1 CD2", "CB CG: CD1 CD2"),
    "ILE": ("CB", "CA CB: CG1 CG2 CD1 CD", "CB CG1: CD1 CD"),
    "PHE": ("CB", "CA CB: CG CD1 CD2 CE1 CE2 CZ", "CB CG: CD1 CD2 CE1 CE2 CZ"),
    "TRP": ("CB", "CA CB: CG CD1 CD2 NE1 CE2 CE3 CZ2 CZ3 CH2", "CB CG: CD1 CD2 NE1 CE2 CE3 CZ2 CZ3 CH2"),
    "TYR": ("CB", "CA CB: CG CD1 CD2 CE1 CE2 CZ OH", "CB CG: CD1 CD2 CE1 CE2 CZ OH"),
    "ASP": ("CB", "CA CB: CG OD1 OD2", "CB CG: OD1 OD2"),
    "HIS": ("CB", "CA CB: CG ND1 CD2 CE1 NE2", "CB CG: ND1 CD2 CE1 NE2"),
    "ASN": ("CB", "CA CB: CG OD1 ND2", "CB CG: OD1 ND2"),
    "GLU": ("CB", "CA CB: CG CD OE1 OE2", "CB CG: CD OE1 OE2", "CG CD: OE1 OE2"),
    "LYS": ("CB", "CA CB: CG CD CE NZ", "CB CG: CD CE NZ", "CG CD: CE NZ", "CD CE: NZ"),
    "GLN": ("CB", "CA CB: CG CD OE1 NE2", "CB CG: CD OE1 NE2", "CG CD: OE1 NE2"),
    "MET": ("CB", "CA CB: CG SD SE CE", "CB CG: SD SE CE", "CG SD: CE", "CG SE: CE"),
    "ARG": ("CB", "CA CB: CG CD NE CZ NH1 NH2", "CB CG: CD NE CZ NH1 NH2", "CG CD: NE CZ NH1 NH2", "CD NE: CZ NH1 NH2"),
    "SER": ("CB", "CA CB: OG"),
    "THR": ("CB", "CA CB: OG1 CG2"),
    "CYS": ("CB", "CA CB: SG"),
    "PRO": ("CB CG CD",),
}
SUGAR_PHOSPHATE = "P OP1 OP2 OP3 O1P O2P O3P O5' C5' C4' O4' C3' O3' C2' O2' C1' O5T O3T"
# The base turns about the glycosidic bond; every other bond would tear the chain.
BASES: dict[str, tuple[str, str]] = {
    "A": ("N9", "C8 N7 C5 C6 N6 N1 C2 N3 C4"),
    "G": ("N9", "C8 N7 C5 C6 O6 N1 C2 N2 N3 C4"),
    "C": ("N1", "C2 O2 N3 C4 N4 C5 C6"),
    "T": ("N1", "C2 O2 N3 C4 O4 C5 C7 C5M C6"),
    "U": ("N1", "C2 O2 N3 C4 O4 C5 C6"),
}


class Torsion(NamedTuple):
    """A rotatable bond of a residue by atom names: turning p -> q moves the atoms behind q."""

    p: str
    q: str
    moved: tuple[str, ...]


def residue_torsions(standard: str) -> tuple[tuple[str, ...], tuple[Torsion, ...]]:
    """Names of all heavy atoms that a standard residue may have, and its rotatable bonds."""
    if standard in SIDE_CHAINS:
        first, *turning = SIDE_CHAINS[standard] or ("",)
        torsions = tuple(_torsion(text) for text in turning)
        atoms = [*BACKBONE.split(), *first.split()]
    else:
        nitrogen, rest = BASES[standard[1]]
        torsions = (Torsion("C1'", nitrogen, tuple(rest.split())),)
        atoms = [*SUGAR_PHOSPHATE.split(), nitrogen]
    return tuple(dict.fromkeys([*atoms, *(name for t in torsions for name in t.moved)])), torsions


def _torsion(text: str) -> Torsion:
    bond, moved = text.split(": ")
    p, q = bond.split()
    return Torsion(p, q, tuple(moved.split()))
