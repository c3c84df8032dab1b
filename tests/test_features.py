"""The table of features in docs/comparison.md is what the installed libraries say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reference import features
from reference.features import LIBRARIES

PAGE = (Path(__file__).parents[1] / "docs" / "comparison.md").read_text()
TABLE = {
    title: dict(zip(LIBRARIES, cells.split(" | "), strict=True))
    for title, cells in re.findall(r"^\| (\w[^|]*?) \| (.+) \|$", PAGE, re.MULTILINE)
}


@pytest.mark.filterwarnings("ignore")  # the libraries' own
def test_table_of_features_is_what_is_installed():
    pytest.importorskip("torch")
    found = dict(features.rows())
    assert list(found) == list(TABLE)
    for title, cells in found.items():
        assert cells.items() <= TABLE[title].items(), title


@pytest.mark.parametrize(
    ("name", "exists"),
    [
        ("handmade.fit", True),
        ("handmade.fit(callbacks)", True),
        ("handmade.fit(no_such_parameter)", False),
        ("handmade.schedules.cycles.OneCycleLR", True),
        ("handmade.no_such_module.fit", False),
    ],
)
def test_a_feature_is_found_by_its_name(name, exists):
    assert features.has(name) is exists
