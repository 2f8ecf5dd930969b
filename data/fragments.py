"""Principal-subgraph fragmentation: a molecule falls into the fragments of a learned vocabulary.

The method (Kong et al., "Molecule Generation by Principal Subgraph Mining and Assembling", NeurIPS 2022): every atom
starts as a fragment; of all pairs of neighbouring fragments, the pairs whose union is the most frequent entry of the
vocabulary are merged; this is repeated until no union is in the vocabulary.

The name of a fragment is its SMILES, by rules that reproduce every entry of the published vocabulary: aromatic atoms
stay lower-case when a ring is cut; hydrogens follow from the valences inside the fragment, but an aromatic nitrogen
keeps the hydrogen it has in the molecule; a stereocentre is named where it is still one inside the fragment. Charges
of (de)protonation are left out, because they differ between sources of the same ligand; charges that the bonds demand
stay (nitro, N-oxide, quaternary nitrogen). Bonds to metals are not bonds here.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from rdkit import Chem, rdBase

from configs.errors import DataError
from data.elements import is_metal

CACHED_NAMES = 200_000

# One atom: atomic number, aromatic, charge, hydrogens of an aromatic nitrogen, chirality inside the fragment.
AtomKey = tuple[int, bool, int, int, int]
# A fragment as written down in one atom order: its atoms, and its bonds (atom, atom, bond type).
FragmentKey = tuple[tuple[AtomKey, ...], tuple[tuple[int, int, int], ...]]

CHIRAL = {int(tag): tag for tag in (Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW)}
FLIPPED = {1: 2, 2: 1}
assert set(CHIRAL) == set(FLIPPED), "RDKit numbers its two chiral tags 1 and 2"


class Fragment(NamedTuple):
    """A fragment of a molecule.

    Attributes:
        atoms: atom indices in the molecule, ascending.
        smiles: its entry in the vocabulary; the element symbol for a single atom.
    """

    atoms: tuple[int, ...]
    smiles: str


class FragmentTable:
    """The fragments of a vocabulary, as the splitting looks them up.

    Args:
        frequencies: fragment SMILES -> how often the vocabulary's corpus holds it. One-atom entries are ignored.

    Attributes:
        entries: our name of a fragment -> (its SMILES in the vocabulary, frequency). RDKit versions order the atoms of
            a SMILES differently, so the vocabulary's own strings are named anew before they are compared.
        outlines: (elements, number of bonds) of all entries: a cheap test that spares most unions their SMILES.
    """

    def __init__(self, frequencies: Mapping[str, int]) -> None:
        self.entries: dict[str, tuple[str, int]] = {}
        self.outlines: set[tuple] = set()
        for smiles, frequency in frequencies.items():
            key = key_of_smiles(smiles)
            if len(key[0]) > 1:
                self.entries[fragment_name(key)] = (smiles, frequency)
                self.outlines.add(_outline(key))

    def lookup(self, key: FragmentKey) -> tuple[str, int]:
        """(SMILES in the vocabulary, frequency) of a fragment; ("", 0) when the vocabulary lacks it."""
        if _outline(key) not in self.outlines:
            return "", 0
        return self.entries.get(fragment_name(key), ("", 0))


def _outline(key: FragmentKey) -> tuple:
    atoms, bonds = key
    return tuple(sorted(atom[:2] for atom in atoms)), len(bonds)


def key_of_smiles(smiles: str) -> FragmentKey:
    """The key of a vocabulary entry. Cut aromatic rings can't be sanitised, so nothing is checked."""
    molecule = Chem.MolFromSmiles(smiles, sanitize=False)
    if molecule is None:
        raise DataError(f"the vocabulary holds {smiles!r}, which is no SMILES")
    return AtomGraph(molecule).key(range(molecule.GetNumAtoms()))


def split_molecule(molecule: Chem.Mol, table: FragmentTable) -> list[Fragment]:
    """Split a molecule without hydrogens into fragments of a vocabulary, in the order of their first atoms.

    Pairs are merged in the order of the canonical SMILES, so the result does not depend on the order of atoms.
    """
    order = canonical_order(molecule)
    graph = AtomGraph(Chem.RenumberAtoms(molecule, order) if order else molecule)
    merging = Merging(graph)
    known: dict[tuple[int, ...], tuple[str, int]] = {}
    while pairs := merging.pairs():
        found = {}
        for pair in pairs:
            union = merging.union(pair)
            if union not in known:
                known[union] = table.lookup(graph.key(union))
            found[pair] = known[union]
        smiles, frequency = max(found.values(), key=lambda entry: entry[1])
        if not frequency:
            break
        merging.merge([pair for pair in pairs if found[pair][0] == smiles], smiles)
    fragments = [
        Fragment(tuple(sorted(order[i] for i in atoms)), merging.names.get(first, graph.symbol(first)))
        for first, atoms in merging.atoms_of.items()
    ]
    return sorted(fragments)


def canonical_order(molecule: Chem.Mol) -> list[int]:
    """Atom indices in the order of the molecule's canonical SMILES, without the charges that are not named.

    Nitrogen is no stereocentre here: most invert, and a drawn one is an accident of the protonation.
    """
    neutral = Chem.Mol(molecule)
    for atom, charge in zip(neutral.GetAtoms(), named_charges(molecule)):
        if atom.GetAtomicNum() == 7:
            atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
        if atom.GetFormalCharge() != charge:
            atom.SetFormalCharge(charge)
            atom.SetNumExplicitHs(0)
            atom.SetNoImplicit(False)
    neutral.UpdatePropertyCache(strict=False)
    Chem.MolToSmiles(neutral)
    return list(neutral.GetPropsAsDict(includePrivate=True, includeComputed=True)["_smilesAtomOutputOrder"])


class Merging:
    """The atoms of a molecule in parts that grow step by step. A part is known by the number of its first atom.

    Attributes:
        atoms_of: part -> its atoms, ascending. owner: [atoms] part that holds an atom.
        names: part -> name it got at its last merge; single atoms have none.
    """

    def __init__(self, graph: "AtomGraph") -> None:
        self.bonds = [bond[:2] for bond in graph.bonds]
        self.owner = list(range(len(graph.atoms)))
        self.atoms_of: dict[int, tuple[int, ...]] = {i: (i,) for i in self.owner}
        self.names: dict[int, str] = {}

    def pairs(self) -> list[tuple[int, int]]:
        """Pairs of bonded parts, in the order of their first atoms."""
        found = {(min(p, q), max(p, q)) for p, q in ((self.owner[i], self.owner[j]) for i, j in self.bonds) if p != q}
        return sorted(found)

    def union(self, pair: tuple[int, int]) -> tuple[int, ...]:
        """Atoms of both parts, ascending."""
        return tuple(sorted(self.atoms_of[pair[0]] + self.atoms_of[pair[1]]))

    def merge(self, pairs: list[tuple[int, int]], name: str) -> list[tuple[int, int]]:
        """Merge pairs that make the same fragment; a part takes part once. Returns the pairs that were merged."""
        used: set[int] = set()
        done = []
        for pair in pairs:
            if used.isdisjoint(pair):
                first, second = pair
                used.update(pair)
                done.append(pair)
                union = self.union(pair)
                for atom in self.atoms_of.pop(second):
                    self.owner[atom] = first
                self.atoms_of[first], self.names[first] = union, name
                self.names.pop(second, None)
        return done


class AtomGraph:
    """What the names of fragments depend on, read once from a molecule.

    Attributes:
        atoms: [atoms] atomic number, aromatic, charge to be named, hydrogens of an aromatic nitrogen.
        bonds: (atom, atom, bond type) of all bonds that are not to a metal, in the molecule's order.
        stereo: stereocentre -> (chiral tag, its neighbours in bond order).
    """

    def __init__(self, molecule: Chem.Mol) -> None:
        charges = named_charges(molecule)
        self.atoms = [
            (
                atom.GetAtomicNum(),
                atom.GetIsAromatic(),
                charge,
                1 if atom.GetIsAromatic() and atom.GetAtomicNum() == 7 and charge == 0 and _hydrogens(atom) else 0,
            )
            for atom, charge in zip(molecule.GetAtoms(), charges)
        ]
        ends = ((b.GetBeginAtomIdx(), b.GetEndAtomIdx(), int(b.GetBondType())) for b in molecule.GetBonds())
        self.bonds = [b for b in ends if not is_metal(self.atoms[b[0]][0]) and not is_metal(self.atoms[b[1]][0])]
        self.bonds_of: list[list[tuple[int, tuple[int, int, int]]]] = [[] for _ in self.atoms]
        for number, bond in enumerate(self.bonds):
            for atom in bond[:2]:
                self.bonds_of[atom].append((number, bond))
        self.stereo = {
            atom.GetIdx(): (int(atom.GetChiralTag()), [bond.GetOtherAtomIdx(atom.GetIdx()) for bond in atom.GetBonds()])
            for atom in molecule.GetAtoms()
            if int(atom.GetChiralTag()) in CHIRAL and atom.GetAtomicNum() != 7
        }

    def symbol(self, atom: int) -> str:
        """Element symbol; "*" for an atom of unknown element."""
        number = self.atoms[atom][0]
        return Chem.GetPeriodicTable().GetElementSymbol(number) if number else "*"

    def key(self, atoms: "tuple[int, ...] | range") -> FragmentKey:
        """Write down the fragment of these atoms, in the order given."""
        place = {atom: i for i, atom in enumerate(atoms)}
        inside = {
            number: bond
            for atom in atoms
            for number, bond in self.bonds_of[atom]
            if bond[0] in place and bond[1] in place
        }
        bonds = tuple((place[p], place[q], kind) for _, (p, q, kind) in sorted(inside.items()))
        return tuple((*self.atoms[atom], self._chirality(atom, place)) for atom in atoms), bonds

    def _chirality(self, atom: int, place: Mapping[int, int]) -> int:
        """Chiral tag inside a fragment: a neighbour left outside becomes a hydrogen at the same place.

        A tag tells the turning sense of the bonds in their order, with the hydrogen last; moving the neighbour at
        place k of four to the end takes 3 - k swaps, each of which flips the tag.
        """
        if atom not in self.stereo:
            return 0
        tag, neighbours = self.stereo[atom]
        kept = [n in place for n in neighbours]
        if sum(kept) < 3:
            return 0
        if all(kept) or (3 - kept.index(False)) % 2 == 0:
            return tag
        return FLIPPED[tag]


def _hydrogens(atom: Chem.Atom) -> int:
    return atom.GetNumExplicitHs() + (
        0 if atom.GetNoImplicit() or atom.NeedsUpdatePropertyCache() else atom.GetNumImplicitHs()
    )


def named_charges(molecule: Chem.Mol) -> list[int]:
    """[atoms] formal charges without those of (de)protonation: an atom of charge +1 with a hydrogen, or of charge -1
    beside no positive atom, is named as if neutral. So is a lone ion: its element says enough."""
    charges = [atom.GetFormalCharge() for atom in molecule.GetAtoms()]
    named = list(charges)
    for i, charge in enumerate(charges):
        if charge == 0:
            continue
        atom = molecule.GetAtomWithIdx(i)
        positive_beside = any(charges[n.GetIdx()] > 0 for n in atom.GetNeighbors())
        if (charge > 0 and _hydrogens(atom)) or (charge < 0 and not positive_beside) or not atom.GetDegree():
            named[i] = 0
    return named


@lru_cache(maxsize=CACHED_NAMES)
def fragment_name(key: FragmentKey) -> str:
    """Canonical SMILES of a fragment."""
    atoms, bonds = key
    molecule = Chem.RWMol()
    for number, aromatic, charge, hydrogens, chirality in atoms:
        atom = Chem.Atom(number)
        atom.SetIsAromatic(aromatic)
        atom.SetFormalCharge(charge)
        atom.SetNumExplicitHs(hydrogens)
        atom.SetNoImplicit(bool(charge or hydrogens))
        if chirality:
            atom.SetChiralTag(CHIRAL[chirality])
        molecule.AddAtom(atom)
    for i, j, kind in bonds:
        bond_type = Chem.BondType.values[kind]
        molecule.AddBond(i, j, bond_type)
        if bond_type == Chem.BondType.AROMATIC:
            molecule.GetBondBetweenAtoms(i, j).SetIsAromatic(True)
    with rdBase.BlockLogs():
        molecule.UpdatePropertyCache(strict=False)
        Chem.FastFindRings(molecule)
        if any(atom[4] for atom in atoms):
            Chem.AssignStereochemistry(molecule, cleanIt=True, force=True)
        return Chem.MolToSmiles(molecule)
