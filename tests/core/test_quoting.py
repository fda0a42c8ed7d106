"""Names where a terminal shows them."""

from pathlib import Path

import pytest

from mox_core.quoting import shown


@pytest.mark.parametrize("name", ["daisy", "a b", "größe", "/data/set [1]/x", "", Path("/log")])
def test_harmless_names_are_shown_as_they_are(name):
    assert shown(name) == str(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a\nINFO: b", r"'a\nINFO: b'"),
        ("\x1b[2J", r"'\x1b[2J'"),
        (" a", "' a'"),
        ("\udcff", r"'\udcff'"),
        ("a\u202eb", r"'a\u202eb'"),
    ],
)
def test_others_are_quoted(name, text):
    assert shown(name) == text
