"""What an earlier version of mox has left behind is read, gone on with, and written again in the same form.

Expected are the numbers that the earlier version gave; `write_files.py` says how, and writes the files again.
"""

import json
import os
import re
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from checkpoints import values_of

HERE = Path(__file__).parent
FILES = HERE / "files"
EXPECTED = json.loads((FILES / "expected.json").read_text(encoding="utf-8"))
WRITER = SimpleNamespace(**runpy.run_path(str(HERE / "write_files.py")))
NEAR = {"rtol": 1e-5, "atol": 1e-6}  # the kernels of another processor round in their own way
COUNTS = Path("log_dir", ".mox", "tfrecords.npz")
NUMBER = re.compile(r"\d+\.\d+")
ADDED = {"mox/classes": "string []", "mox/input_sizes": "int64 [1]"}
"""What checkpoints of this version hold besides: the classes that labels stand for, and how many samples there are."""
FIRST, BEST = "model.ckpt-9", "model.ckpt-8"


def _copy(folder):
    """The files in another place, with what depends on their place and time."""
    files = folder / "files"
    shutil.copytree(FILES, files)
    WRITER.set_times(files)
    WRITER.move_counts(files / "log_dir", "FILES", files)
    return files


@pytest.fixture
def files(tmp_path):
    return _copy(tmp_path)


@pytest.fixture(scope="module")
def went_on(tmp_path_factory):
    """A training that this version goes on with."""
    files = _copy(tmp_path_factory.mktemp("went_on"))
    counts = files / COUNTS
    before = counts.read_bytes(), counts.stat().st_mtime_ns, counts.stat().st_ino
    with WRITER.lines() as said:
        result, seen = WRITER.train(files, files / "log_dir", WRITER.LAST)
    after = counts.read_bytes(), counts.stat().st_mtime_ns, counts.stat().st_ino
    return SimpleNamespace(files=files, result=result, seen=seen, said=said, counts=(before, after))


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The training that the earlier version began, begun by this one."""
    files = _copy(tmp_path_factory.mktemp("begun"))
    shutil.rmtree(files / "log_dir")
    result, seen = WRITER.begin(files, files / "log_dir", export_model=mox.ExportKeys.TF_SERVING)
    return SimpleNamespace(files=files, result=result, seen=seen)


def _check_same(found, expected):
    """Compares checkpoints: names, types, shapes, counts and positions exactly, and weights as near as they can be."""
    assert WRITER.described(found) == WRITER.described(expected) | ADDED
    values = values_of(found)
    for name, value in values_of(expected).items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(values[name], value, **NEAR, err_msg=name)
        else:
            np.testing.assert_array_equal(values[name], value, err_msg=name)


def _check_seen(found, expected):
    assert found["names"] == expected["names"]
    for name in ("losses", "errors"):
        np.testing.assert_allclose(found[name], expected[name], **NEAR)


def _without_numbers(lines):
    return [NUMBER.sub("#", line) for line in lines]


# ---- going on


def test_the_files_hold_what_the_earlier_version_said():
    """Also that they can show something: hardly a value is one that a training begins with."""
    assert WRITER.described(FILES / "log_dir") == EXPECTED["variables"]
    values = values_of(FILES / "log_dir")
    remembered = {name: value.tolist() for name, value in values.items() if name.startswith(("mox/", "hooks/"))}
    stopping = {"evaluations": 2, "stopped": False}
    best, worse = {"best_step": 7, "wait": 0}, {"best": 0.5, "best_step": 3}
    plateau = {"wait": 0, "cooling": 0, "plateaus": 1, "learning_rate_factor": 0.5}
    lowest = remembered.pop("hooks/EarlyStoppingHook/best")
    assert lowest == pytest.approx(EXPECTED["evaluated"]["best"]["error"])
    assert remembered == {
        "mox/seed": 5,
        "mox/input_positions": [9 * WRITER.BATCH],
        "mox/loss_scale": 2.0**14,  # halved once
        "mox/good_steps": 6,  # since then
        "mox/skipped_steps": 1,
        **{f"hooks/EarlyStoppingHook/{name}": value for name, value in (stopping | best).items()},
        **{f"hooks/EarlyStoppingHook/{name}_1": value for name, value in (stopping | worse | {"wait": 1}).items()},
        **{f"hooks/PlateauLREarlyStoppingHook/{name}": value for name, value in (stopping | worse | plateau).items()},
    }
    # Of the best weights, after eight steps of which one was skipped, with a period of three.
    assert (values["global_step"], values["batch_gradients/count"], values["easgd/clock"]) == (9, 1, 7)
    for slot in ("Adam", "Adam_1", "batch_gradients", "easgd_center"):
        assert np.abs(values[f"network/weights/{slot}"]).max() > 0


def test_a_training_goes_on_with_everything_that_its_checkpoint_holds(went_on):
    assert (went_on.result.global_step, went_on.result.steps) == (WRITER.LAST, WRITER.LAST - WRITER.FIRST)
    restored = f"INFO: Restoring parameters from {went_on.files / 'log_dir' / FIRST}"
    assert went_on.said.count(restored) == 1
    assert not [line for line in went_on.said if "initial values" in line or "starts from its beginning" in line]
    (warning,) = [line for line in went_on.said if line.startswith("WARNING")]
    assert warning.startswith("WARNING: 1 of 16 steps were skipped"), "the one that the earlier version has skipped"


def test_it_goes_on_in_the_input_with_the_losses_and_the_log_of_the_earlier_version(went_on):
    expected = EXPECTED["later"]
    _check_seen(went_on.seen, expected)
    assert went_on.result.metrics == pytest.approx(expected["metrics"], rel=1e-5)
    said = [line for line in went_on.said if " step: " in line]
    assert _without_numbers(said) == _without_numbers(expected["said"])
    for line, other in zip(said, expected["said"], strict=True):
        numbers, others = (NUMBER.findall(re.sub(r"sample/sec: \S+", "", text)) for text in (line, other))
        np.testing.assert_allclose(np.float64(numbers), np.float64(others), atol=1.01e-3)


@pytest.mark.parametrize("step", [WRITER.LATER, WRITER.LAST])
def test_its_later_checkpoints_are_those_of_the_earlier_version(went_on, step):
    name = f"model.ckpt-{step}"
    _check_same(went_on.files / "log_dir" / name, FILES / "later" / name)


def test_it_ends_with_the_best_weights_which_the_earlier_version_had_kept(went_on):
    """None of the later evaluations is better than that of step 7."""
    log_dir = went_on.files / "log_dir"
    restored = f"INFO: Restoring parameters from {log_dir / 'best' / BEST}"
    assert went_on.said.count(restored) == 1
    best, later = values_of(FILES / "log_dir" / "best"), values_of(log_dir / f"model.ckpt-{WRITER.LATER}")
    for name, value in values_of(went_on.result.checkpoint).items():
        if name.startswith("network/"):
            np.testing.assert_array_equal(value, best[name], err_msg=name)
    assert best["network/weights"].tolist() != later["network/weights"].tolist()


@pytest.mark.slow
def test_it_goes_on_on_two_devices_as_it_did_in_the_earlier_version(files):
    seen = WRITER.train_on_two_devices(files, files / "log_dir")
    _check_seen(seen, EXPECTED["later_on_two_devices"])
    name = f"model.ckpt-{WRITER.ON_TWO_DEVICES}"
    _check_same(files / "log_dir" / name, FILES / "later_on_two_devices" / name)
    assert WRITER.described(files / "log_dir") == EXPECTED["variables"] | ADDED


def test_another_training_begins_with_its_weights_and_none_of_its_memory(files, tmp_path):
    result, _ = WRITER.train(files, tmp_path / "other", WRITER.FIRST, checkpoint_path=files / "log_dir")
    assert result.steps == 0
    assert WRITER.described(tmp_path / "other") == EXPECTED["variables"] | ADDED
    old, new = values_of(FILES / "log_dir"), values_of(tmp_path / "other")
    anew = {name for name in old if name.startswith(("mox/", "hooks/"))}
    for name in old.keys() - anew:
        np.testing.assert_array_equal(new[name], old[name], err_msg=name)
    assert all(new[name] == 0 for name in anew if name.endswith(("evaluations", "evaluations_1", "positions", "steps")))
    assert new["mox/loss_scale"] == 2.0**15


# ---- evaluating and serving


@pytest.mark.parametrize("name", ["log_dir", "best"])
def test_its_checkpoint_is_evaluated_with_the_same_means(files, name):
    folder = files / "log_dir" / "best" if name == "best" else files / "log_dir"
    assert WRITER.evaluate(files, folder) == pytest.approx(EXPECTED["evaluated"][name], rel=1e-5)


def test_its_exported_model_answers_as_before():
    found = WRITER.serve(FILES / "export")
    assert found.keys() == EXPECTED["served"].keys()
    for name, values in EXPECTED["served"].items():
        np.testing.assert_allclose(found[name], values, **NEAR, err_msg=name)


# ---- the counts of mox-tfrecord


def test_the_counts_of_records_are_read_and_not_made_anew(went_on):
    before, after = went_on.counts
    assert before == after


@pytest.mark.parametrize("known", [True, False], ids=["with the counts", "without them"])
def test_the_counts_are_used_in_the_place_of_the_headers_of_the_files(files, known):
    """The first header of the second file is damaged: who reads it finds 7 records, who need not leaves out 1."""
    second = files / "records" / "tiny-00001-of-00002.tfrecord"
    content = bytearray(second.read_bytes())
    content[8] ^= 1  # of the checksum of the length
    second.write_bytes(content)
    os.utime(second, ns=(WRITER.TIME, WRITER.TIME))
    if not known:
        (files / COUNTS).unlink()
    counted = []

    def input_fn(mode):  # noqa: ARG001
        meta = mox.ImageClassificationTFRecordMetadata(files / "records", "*.tfrecord")
        counted.append(meta.num_samples)
        return mox.ImageClassificationTFRecordDataset(
            meta, image_size=WRITER.SIZE, shuffle=False, num_epochs=1, on_bad_record="skip"
        ).get(["image"])

    result = mox.run(
        input_fn=input_fn,
        model_fn=lambda inputs, mode: mox.ModelSpec(  # noqa: ARG005
            log_info={"mean": tf.reduce_mean(tf.cast(inputs[0], tf.float32))}
        ),
        run_mode=mox.ModeKeys.EVAL,
        batch_size=WRITER.BATCH,
        log_dir=files / "log_dir",
    )
    assert (counted, result.samples) == (([13], 12) if known else ([7], 7))


# ---- writing


def test_a_training_begun_now_writes_the_checkpoints_of_the_earlier_version(begun):
    log_dir = begun.files / "log_dir"
    _check_seen(begun.seen, EXPECTED["first"])
    _check_same(log_dir / FIRST, FILES / "log_dir" / FIRST)
    _check_same(log_dir / "best" / BEST, FILES / "log_dir" / "best" / BEST)
    written = {str(path.relative_to(FILES / "log_dir")) for path in (FILES / "log_dir").rglob("*")}
    now = {str(path.relative_to(log_dir)) for path in log_dir.rglob("*") if "events.out" not in path.name}
    others = {f"model.ckpt-{step}.{end}" for step in (0, 2, 4, 6, 8) for end in ("index", "data-00000-of-00001")}
    exported = {name for name in now if name.split("/")[0] == "1"}
    assert now - others - exported - {"eval", "history.jsonl", "runs.json"} == written
    first_line = (FILES / "log_dir" / "checkpoint").read_text(encoding="utf-8").splitlines()[0]
    assert (log_dir / "checkpoint").read_text(encoding="utf-8").splitlines()[0] == first_line


def test_an_export_made_now_has_the_files_names_and_answers_of_the_earlier_version(begun):
    now, then = Path(begun.result.export_path), FILES / "export"
    assert now == begun.files / "log_dir" / "1"
    files = [{str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()} for top in (now, then)]
    assert files[0] - {"assets.extra/mox.json"} == files[1]  # what `mox predict` reads, and nobody else
    variables = [WRITER.described(folder / "variables" / "variables") for folder in (now, then)]
    assert variables[0].keys() == variables[1].keys()
    assert sorted(variables[0].values()) == sorted(variables[1].values())  # their order is no function of the model
    signatures = [tf.saved_model.load(str(folder)).signatures for folder in (now, then)]
    assert sorted(signatures[0]) == sorted(signatures[1])
    for name, signature in signatures[1].items():
        assert signatures[0][name].structured_input_signature == signature.structured_input_signature
        assert signatures[0][name].structured_outputs == signature.structured_outputs
    for name, values in EXPECTED["served"].items():
        np.testing.assert_allclose(WRITER.serve(now)[name], values, **NEAR, err_msg=name)


def test_counts_made_now_are_those_of_the_earlier_version(begun):
    with np.load(begun.files / COUNTS) as now, np.load(FILES / COUNTS) as then:
        assert sorted(now) == sorted(then)
        for name in then:
            assert now[name].dtype.kind == then[name].dtype.kind, name
            if name != "paths":
                np.testing.assert_array_equal(now[name], then[name], err_msg=name)
                assert now[name].dtype == then[name].dtype, name
        assert [Path(os.fsdecode(path)).relative_to(begun.files) for path in now["paths"].tolist()] == [
            Path(os.fsdecode(path)).relative_to("FILES") for path in then["paths"].tolist()
        ]


def test_records_written_now_have_the_content_of_the_earlier_version(tmp_path):
    """Features of a record stand in an order that differs from process to process, which means nothing."""

    def read(folder):
        records = {
            path.name: [tf.train.Example.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
            for path in folder.glob("*.tfrecord")
        }
        return records, (folder / "labels.txt").read_bytes()

    WRITER.write_records(FILES, tmp_path)
    assert read(tmp_path) == read(FILES / "records")
