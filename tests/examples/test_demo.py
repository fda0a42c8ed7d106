"""The demo, shrunk to a few steps: what it prints, and what it leaves in its folder."""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import forked

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"
STEPS = 3
SUMMARY = ("trained", "evaluated", "checkpoints", "export", "report")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Run the demo once; give its folder, what it printed, and what it logged."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, DEMO, "--work_dir", folder, "--max_number_of_steps", str(STEPS)]
    run = forked.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder, run.stdout, run.stderr


def test_it_writes_all_digits_as_images_of_ten_classes(demo):
    folder, _, _ = demo
    for split, number in (("train", 4500), ("eval", 500)):
        images = list((folder / "digits" / split).glob("*/*.png"))
        assert len(images) == number
        assert {image.parent.name for image in images} == set("0123456789")
    with Image.open(images[0]) as image:
        assert image.size == (28, 28)


def test_it_logs_training_evaluation_and_export(demo):
    folder, _, log = demo
    assert "INFO:tensorflow:step: 0(global step: 0)\tsample/sec: " in log
    assert f"Training stops at global step {STEPS}: max_number_of_steps is reached." in log
    assert "\t[500 examples]" in log
    assert f"Exported model written to: {folder / 'log' / '1'}" in log


def test_it_prints_what_it_did_and_where_everything_is(demo):
    folder, printed, _ = demo
    summary, _, report = printed.partition("6 of 6. What there is now\n")[2].rstrip("\n").rpartition("\n")
    said = {line.split()[0]: line.split(maxsplit=1)[1] for line in summary.splitlines()}
    assert said["trained"].startswith(f"resnet_v1_20 for {STEPS} steps of 64 digits")
    assert said["evaluated"].endswith("% on 500 digits that it was not trained on")
    assert said["checkpoints"] == str(folder / "log" / f"model.ckpt-{STEPS}")
    assert said["export"] == str(folder / "log" / "1")
    assert report == str(folder / "report.html")
    for path in (said["checkpoints"] + ".index", said["export"] + "/saved_model.pb"):
        assert Path(path).is_file()
    assert list((folder / "log").glob("events.out.tfevents.*"))


def test_it_is_a_story_of_a_page_and_nothing_else(demo):
    """With as many lines as 560 steps have: one each 70 steps, and 7 validations, in place of one."""
    folder, printed, log = demo
    everything = (printed + log).splitlines()
    assert len(everything) + 560 // 70 - 1 + 7 < 60
    lines = [line for line in everything if line]
    assert [line[4] for line in lines if line.startswith("---")] == list("123456")
    words = ("INFO:tensorflow:", "---", "Writing ", "The export ", *SUMMARY)
    assert [line for line in lines if not line.startswith(words)] == [str(folder / "report.html")]


def test_the_export_was_reloaded_and_gave_the_same_logits(demo):
    _, printed, _ = demo
    assert "The export gives the logits of the trained model" in printed


def test_the_report_shows_the_digits_with_which_the_model_did_worst(demo):
    folder, _, _ = demo
    page = ET.fromstring((folder / "report.html").read_text())  # noqa: S314  (our own)
    said = " ".join("".join(page.itertext()).split())
    assert f" of 500 samples right ({_accuracy(folder):.1%}) in an evaluation at step {STEPS}." in said
    assert len(page.findall(".//ul[@class='samples']/li/img")) == 24


def _accuracy(folder):
    """The accuracy of what PREDICT has written."""
    found = np.load(folder / "predictions.npz")
    return (found["prediction"] == found["label"]).mean()
