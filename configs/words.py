"""Numbers of things in sentences."""


def count_of(number: int, noun: str, plural: str = "") -> str:
    """`1 row`, `2 rows`, `1,200 rows`; `2 entries` with the plural `entries`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
