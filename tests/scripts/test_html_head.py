"""All pages that are written to files have one head: readable on a phone, and able to fetch nothing."""

import re
from pathlib import Path

import numpy as np
import pytest

from data.synthetic import make_items
from scripts.complex_page import complex_page
from scripts.html_head import PICTURES, SCRIPTS, STYLES, head

TITLE = "<b>&{{data}}"


def test_a_head_escapes_its_title_and_allows_what_is_named() -> None:
    text = head(TITLE, SCRIPTS, PICTURES)
    assert "<title>&lt;b&gt;&amp;{{data}}</title>" in text
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy == "default-src 'none'; script-src 'unsafe-inline'; img-src data:"
    assert 'name="viewport" content="width=device-width' in text


def test_the_page_of_a_complex_has_it_whatever_its_name(tmp_path: Path) -> None:
    (item,) = make_items(1)
    page = complex_page(item, np.linspace(0, 1, item.n_blocks), TITLE, "score", signed=False)
    assert head(TITLE, SCRIPTS, STYLES) in page
    assert page.count('"blocks":') == 1


def test_the_page_of_a_run_has_it() -> None:
    source = (Path(__file__).parents[2] / "scripts" / "run_page.html").read_text(encoding="utf-8")
    assert "{{ head }}" in source and "Content-Security-Policy" not in source


def test_the_pages_of_an_atlas_have_it(tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="needs ligare[atlas]")
    from scripts.atlas_pages import PLOTLY, Colouring, map_page

    colouring = Colouring("kind", ["a", "", "b"])
    map_page(np.eye(3, 2), colouring, ["x", "y", "z"], TITLE, tmp_path / "map.html")
    assert head(TITLE, PLOTLY, STYLES, f"{PICTURES} blob:") in (tmp_path / "map.html").read_text()
