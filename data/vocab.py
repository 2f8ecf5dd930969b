"""Block types, elements and atom positions in their frozen order: the numbers that data sets and checkpoints share."""

import hashlib
import os
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from configs.errors import DataError
from configs.files import read_json

FOLDER = Path(__file__).parent / "vocabularies"

PAD, MASK, UNKNOWN, GLOBAL = 0, 1, 2, 3
FIRST_MASKABLE = 4
ATOM_PAD, ATOM_MASK, ATOM_GLOBAL = 0, 1, 2

SPECIAL = ("PAD", "MASK", "UNK", "GLOBAL")
AMINO_ACIDS = tuple("GLY ALA VAL LEU ILE PHE TRP TYR ASP HIS ASN GLU LYS GLN MET ARG SER THR CYS PRO".split())
NUCLEOTIDES = ("DA", "DG", "DC", "DT", "RA", "RG", "RC", "RU")
ELEMENTS = tuple(
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y "
    "Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re "
    "Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds "
    "Rg Cn Nh Fl Mc Lv Ts Og".split()
)
ATOMIC_NUMBER = {symbol.upper(): number for number, symbol in enumerate(ELEMENTS, 1)}
FIRST_ELEMENT = FIRST_MASKABLE + len(AMINO_ACIDS) + len(NUCLEOTIDES)
FIRST_FRAGMENT = FIRST_ELEMENT + len(ELEMENTS)

# How far from the backbone an atom sits; stored with the data, used by no model.
POSITIONS = ("p", "m", "g", "", "A", "B", "G", "D", "E", "Z", "H", "XT", "P", "sm", "'")
SMALL_MOLECULE_POSITION = POSITIONS.index("sm")

# Kinds of complex; the first eight are the published ones, in their order.
MODALITIES = (
    *("PP", "PL", "Pion", "Ppeptide", "PRNA", "PDNA", "RNAL", "CSD"),
    *("Pglycan", "DNAL", "RNAion", "DNAion", "NANA", "other"),
)
N_PUBLISHED_MODALITIES = 8
# The published kind that stands in for one of ours in models with eight rows.
PUBLISHED_MODALITY = {name: name for name in MODALITIES[:N_PUBLISHED_MODALITIES]} | {
    "Pglycan": "PL",
    "DNAL": "RNAL",
    "RNAion": "Pion",
    "DNAion": "Pion",
    "NANA": "PRNA",
    "other": "CSD",
}


@dataclass(frozen=True)
class Vocabulary:
    """Block types in index order.

    Attributes:
        name: of the fragmentation (None: no fragments). kekulize: whether fragment SMILES are kekulized.
        fragment_smiles: fragments of more than one atom, in index order (the first has index 150).
        frequency: how often each fragment, also of one atom, was counted when the vocabulary was learned.
    """

    name: str | None
    fragment_smiles: tuple[str, ...] = ()
    frequency: dict[str, int] = field(default_factory=dict, hash=False)
    kekulize: bool = False

    @cached_property
    def blocks(self) -> tuple[str, ...]:
        """Name of every block type, in index order."""
        return (*SPECIAL, *AMINO_ACIDS, *NUCLEOTIDES, *ELEMENTS, *self.fragment_smiles)

    @cached_property
    def fragments(self) -> dict[str, int]:
        """Index of every fragment of more than one atom."""
        return {smiles: FIRST_FRAGMENT + i for i, smiles in enumerate(self.fragment_smiles)}

    @cached_property
    def fingerprint(self) -> str:
        """Short hash of the ordered names: equal where block types mean the same."""
        return hashlib.sha256("\n".join(self.blocks).encode()).hexdigest()[:16]

    @property
    def size(self) -> int:
        return len(self.blocks)

    @property
    def n_mask_classes(self) -> int:
        """Mask class c is block type c + 4."""
        return self.size - FIRST_MASKABLE

    def residue(self, name: str) -> int:
        """Index of an amino acid (ALA) or nucleotide (DA; RA or, as files have it, A); UNKNOWN for anything else."""
        return _RESIDUE_INDEX.get(name, UNKNOWN)

    def element(self, symbol: str) -> int:
        """Index of the block of a single atom; UNKNOWN for what is no element."""
        number = ATOMIC_NUMBER.get(symbol.strip().upper())
        return UNKNOWN if number is None else FIRST_ELEMENT + number - 1

    def fragment(self, smiles: str) -> int:
        """Index of a ligand fragment; one of a single atom is its element. UNKNOWN for anything else."""
        if smiles in self.fragments:
            return self.fragments[smiles]
        return self.element(smiles.strip("[]+-0123456789"))

    def symbol(self, index: int) -> str:
        """Name of a block type."""
        return self.blocks[index]


_RESIDUE_INDEX = {name: FIRST_MASKABLE + i for i, name in enumerate((*AMINO_ACIDS, *NUCLEOTIDES))}
_RESIDUE_INDEX |= {name[1]: _RESIDUE_INDEX[name] for name in NUCLEOTIDES if name.startswith("R")}


@lru_cache
def load_vocabulary(name: str | None = "PS_300") -> Vocabulary:
    """A vocabulary by name (`PS_300`), without fragments (`none` or None), or the JSON file of one that was learned.

    Raises:
        DataError: no such vocabulary, or a file of another format.
    """
    if name in (None, "none"):
        return Vocabulary(None)
    assert name is not None
    path = FOLDER / f"{name}.json" if (FOLDER / f"{name}.json").is_file() else Path(name)
    if not os.path.exists(path):  # which takes any text for a name
        shipped = ", ".join(sorted(file.stem for file in FOLDER.glob("*.json")))
        raise DataError("no such vocabulary", str(name), hint=f"shipped: {shipped}; or give a file")
    try:
        content = read_json(path)
        rows = [(str(smiles), int(atoms), int(frequency)) for smiles, atoms, frequency in content["fragments"]]
        kekulize = bool(content["kekulize"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError("is not a vocabulary: it needs kekulize and rows of SMILES, atoms, frequency", path) from error
    known = name if path.parent == FOLDER else path.stem
    fragments = tuple(smiles for smiles, atoms, _ in rows if atoms > 1)
    return Vocabulary(known, fragments, {smiles: frequency for smiles, _, frequency in rows}, kekulize)


def atom_index(symbol: str) -> int:
    """Atom type of an element (atomic number + 2; deuterium counts as hydrogen).

    Raises:
        DataError: the symbol is no element.
    """
    number = ATOMIC_NUMBER.get({"D": "H", "T": "H"}.get(symbol.upper(), symbol.upper()))
    if number is None:
        raise DataError(f"{symbol!r} is no element")
    return number + 2


def position_code(name: str) -> int:
    """Position code of a polymer atom from its name: CB -> B, OG1 -> G, C4' -> ', OXT -> XT, N -> none."""
    rest = name.strip().upper().replace("*", "'")
    if rest.endswith("'"):
        return POSITIONS.index("'")
    if rest in ("P", "OP1", "OP2", "OP3", "O1P", "O2P", "O3P"):
        return POSITIONS.index("P")
    if rest == "OXT":
        return POSITIONS.index("XT")
    greek = rest[1:].rstrip("0123456789")
    return POSITIONS.index(greek) if greek in POSITIONS[4:11] and greek else POSITIONS.index("")
