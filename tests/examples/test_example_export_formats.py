"""The example of the export formats: every format is there, and gives the logits of the trained model."""

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "export_formats.py"
FILES = {
    "TF_SERVING": "1/saved_model.pb",
    "FROZEN_PB": "frozen_pb/1/frozen_graph.pb",
    "TFLITE": "tflite/1/model.tflite",
    "ONNX": "onnx/1/model.onnx",
}


@pytest.mark.slow
def test_every_format_gives_the_logits_of_the_trained_model(tmp_path, capsys):
    differences = runpy.run_path(str(EXAMPLE))["main"](tmp_path / "run")
    assert sorted(differences) == sorted(FILES)
    assert max(differences.values()) < 1e-4
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == list(FILES)
    assert all((tmp_path / "run" / "log" / file).is_file() for file in FILES.values())
    # Of ten classes; 500 digits that it was not trained on.
    accuracies = [float(line.partition("accuracy ")[2].split("%")[0]) for line in printed]
    assert len(set(accuracies)) == 1, "all exports are of one checkpoint"
    assert accuracies[0] > 80
