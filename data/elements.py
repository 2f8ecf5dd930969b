"""Which elements count as metals: their bonds are coordination, drawn in every way by different files."""

# Atomic numbers of H, noble gases, halogens, chalcogens and the elements that form directed covalent bonds.
NON_METALS = frozenset({1, 2, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 32, 33, 34, 35, 36, 52, 53, 54, 85, 86})


def is_metal(atomic_number: int) -> bool:
    """Whether bonds to this element are coordination bonds, which tell nothing about fragments."""
    return atomic_number > 0 and atomic_number not in NON_METALS
