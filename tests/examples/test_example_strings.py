"""examples/strings.py: names in several scripts come out as they went in."""

import runpy
from pathlib import Path

import tensorflow as tf

EXAMPLE = Path(__file__).parents[2] / "examples" / "strings.py"


def test_every_picture_gets_its_own_name_either_way_and_the_brighter_is_lighter(tmp_path, capsys):
    example = runpy.run_path(str(EXAMPLE))
    rows = example["main"](tmp_path)
    tf.compat.v1.random.set_random_seed(None)
    assert sorted(name for name, _, _ in rows) == sorted(Path(name).name for name in example["PICTURES"])
    assert all(through_numbers == name for name, through_numbers, _ in rows)
    greys = {Path(name).name: grey for name, grey in example["PICTURES"].items()}
    rows.sort(key=lambda row: row[2])
    assert [greys[name] for name, _, _ in rows] == sorted(greys.values())
    assert rows[2][2] < 0.5 < rows[3][2]
    printed = capsys.readouterr().out
    # Rows are as long as the longest name of their batch: 'a cloudless sky at noon.png', then 'полдень.png'.
    assert "a batch of 4: the numbers are an array of shape (4, 27)" in printed
    assert "a batch of 2: the numbers are an array of shape (2, 18)" in printed
    assert "黄昏.png: light " in printed
