"""examples/tfrecords.py: what it counts, learns and finds on a thousand real digits."""

import runpy
from pathlib import Path

import tensorflow as tf

EXAMPLE = Path(__file__).parents[2] / "examples" / "tfrecords.py"


def test_records_are_written_counted_trained_on_and_read_in_three_ways(tmp_path, capsys):
    tf.random.set_seed(1)
    result = runpy.run_path(str(EXAMPLE))["main"](tmp_path)
    tf.compat.v1.random.set_random_seed(None)
    assert result["num_samples"] == result["samples"] == 1000
    assert result["accuracy"] > 0.9  # of digits that it was trained on; 0.1 is chance
    assert result["odd"] == 500
    damaged = tmp_path / "records" / "digits-00003-of-00004.tfrecord"
    assert f"{str(damaged)!r} is cut off: its record at byte " in result["refused"]
    whole = sum(
        1
        for path in sorted((tmp_path / "records").glob("*.tfrecord"))
        for _ in tf.data.TFRecordDataset(str(path)).ignore_errors()
    )
    assert result["left"] == whole
    assert 970 < whole < 1000
    assert f"With on_bad_record='skip' {whole} of 1000 records are evaluated" in capsys.readouterr().out
