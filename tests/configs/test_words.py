"""One thing is said as one, several as several."""

import pytest

from configs.words import count_of


@pytest.mark.parametrize(
    ("number", "told"), [(0, "0 entries"), (1, "1 entry"), (2, "2 entries"), (12345, "12,345 entries")]
)
def test_a_count_agrees_with_its_noun(number: int, told: str) -> None:
    assert count_of(number, "entry", "entries") == told
    assert count_of(number, "row") == told.replace("entries", "rows").replace("entry", "row")
