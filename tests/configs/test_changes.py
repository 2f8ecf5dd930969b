"""Every option has its place in the table of changes, and a changed option is refused where it would matter."""

import pytest

from configs.changes import DECISIVE, HARMLESS, LENGTH, NAMED, SILENT, changed, default_values, refused
from configs.errors import ConfigError
from configs.schema import option_types

OPTIONS = {name for names in option_types().values() for name in names}


def test_every_option_is_in_one_set() -> None:
    sets = (SILENT, HARMLESS, LENGTH, DECISIVE)
    assert frozenset.union(*sets) == OPTIONS
    assert sum(map(len, sets)) == len(OPTIONS)
    assert NAMED < DECISIVE


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_a_change_is_silent_told_or_refused(name: str) -> None:
    old = default_values()
    names = changed(old, old | {name: "another"})
    assert names == ([] if name in SILENT else [name])
    assert refused(names, (), schedule_ends=False) == ([name] if name in DECISIVE else [])
    assert refused(names, (), schedule_ends=True) == ([name] if name in DECISIVE | LENGTH else [])
    assert refused(names, (name,), schedule_ends=True) == refused(names, ("all",), schedule_ends=True) == []
    assert refused(names, ("seed",), schedule_ends=True) == ([name] if name in (DECISIVE | LENGTH) - {"seed"} else [])


def test_an_option_that_an_older_version_did_not_know_had_its_default() -> None:
    new = default_values()
    old = {name: value for name, value in new.items() if name != "conv"}
    assert changed(old, new) == []
    assert changed(old, new | {"conv": "channelwise"}) == ["conv"]


def test_what_is_allowed_must_be_an_option() -> None:
    with pytest.raises(ConfigError, match=r"--allow_changes: no option is called 'lrr' \(did you mean 'lr'\?\)"):
        refused([], ("lrr",), schedule_ends=False)
