"""The trackers, with a file store of MLflow, W&B's offline mode and files: what others than mox read there."""

import csv
import json
import struct
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import tensorflow as tf
import wandb
from wandb.proto import wandb_internal_pb2

import mox_core as mox
from mox_core.testing import PluginContract, TrackerContract

TRAIN, EVAL = mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL
BLOCK = 1 << 15
HEADER = 7  # of a file of W&B, and of each part of a record in it


def wandb_records(path):
    """Yield the records of a file in the format of LevelDB's log: in blocks, whole (1) or in parts up to a last (4)."""
    data, place, parts = Path(path).read_bytes(), HEADER, b""
    while place + HEADER <= len(data):
        if BLOCK - place % BLOCK < HEADER:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        parts += data[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def of_wandb():
    """Return what stands in the offline runs of this folder, in their order, when W&B has written all."""
    wandb.teardown()
    found = {"ids": [], "rows": [], "summary": {}, "config": {}, "codes": [], "models": []}
    for path in sorted(Path("wandb").glob("offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        found["ids"].append(path.stem.removeprefix("run-"))
        for record in wandb_records(path):
            kind = record.WhichOneof("record_type")
            if kind == "history":
                found["rows"].append(items(record.history.item))
            elif kind == "summary":
                found["summary"] |= items(record.summary.update)
            elif kind in ("run", "config"):
                found["config"] |= items((record.run.config if kind == "run" else record.config).update)
            elif kind == "exit":
                found["codes"].append(record.exit.exit_code)
            elif kind == "artifact":
                paths = [content.path for content in record.artifact.manifest.contents]
                found["models"].append((record.artifact.type, paths))
    return found


def items(updates):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in updates}


def wandb_numbers():
    """Return step, mode and values of each number."""
    return [
        (row["global_step"], key.partition("/")[0].upper(), {key.partition("/")[2]: value})
        for row in of_wandb()["rows"]
        for key, value in row.items()
        if "/" in key
    ]


def csv_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def the_run(**tags):
    """Return the one run of MLflow."""
    wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    (found,) = mlflow.MlflowClient().search_runs(["0"], filter_string=wanted)
    return found


def mlflow_numbers(run):
    client = mlflow.MlflowClient()
    return [
        (metric.step, key.partition("/")[0].upper(), {key.partition("/")[2]: metric.value})
        for key in run.data.metrics
        for metric in client.get_metric_history(run.info.run_id, key)
    ]


@pytest.fixture(autouse=True)
def _own_places(tmp_path, monkeypatch):
    """Keeps runs in a folder of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    yield
    wandb.teardown()  # it remembers the folder


class TestPlugin(PluginContract):
    plugin_name = "trackers"


class TestCsv(TrackerContract):
    tracker = "csv"

    def read(self, run):
        return [
            (int(row.pop("step")), row.pop("mode"), {name: float(text) for name, text in row.items() if text})
            for row in csv_rows(run.folder / "metrics.csv")
        ]


class TestMlflow(TrackerContract):
    tracker = "mlflow"

    def read(self, run):
        return mlflow_numbers(the_run(**{"mox.id": run.id}))


class TestWandb(TrackerContract):
    tracker = "wandb"

    def read(self, run):
        assert set(of_wandb()["ids"]) == {run.id}
        return wandb_numbers()


def run(steps, mode=TRAIN, **options):
    class Validates(mox.Hook):
        run_inter_mode = lambda _self: True  # noqa: E731

        def __init__(self, monitor_info):
            super().__init__()
            self.monitor_info = monitor_info

        def after_run(self, run_context, run_values):
            del run_values
            if run_context.step % 2:
                run_context.run_inter_mode(1)

    def model_fn(inputs, mode):
        del mode
        weight = tf.compat.v1.get_variable("weight", initializer=0.0)
        loss = tf.reduce_mean((inputs[0] * 3.0 - weight) ** 2)
        distance = 3.0 - weight + 0.0 * loss
        return mox.ModelSpec(
            loss=loss,
            log_info={"[loss]": loss},
            hooks=[Validates({"distance": distance})],
            export_spec=mox.ExportSpec({"x": inputs[0]}, {"y": inputs[0] * weight}),
        )

    return mox.run(
        input_fn=lambda _mode: tf.ones([]),
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.25),
        run_mode=mode,
        inter_mode=EVAL if mode == TRAIN else None,
        batch_size=2,
        max_number_of_steps=steps,
        log_every_n_steps=1,
        **options,
    )


def test_a_training_that_is_resumed_is_one_run_in_each_tracker(tmp_path):
    def export(model, directory):
        del model
        Path(directory, "model.txt").write_text("a model", encoding="utf-8")

    mox.set_flag("trackers", "wandb")  # as --trackers=wandb
    try:
        for steps in (2, 4):
            run(steps, log_dir=tmp_path / "log", export_model=export, trackers=["csv", "mlflow"])
    finally:
        mox.set_flag("trackers", "")
    # (3 - w)**2 with w going half of the way in each step, by hand; validated after the steps 1 and 3
    losses, distances = [9.0, 2.25, 0.5625, 0.140625], [0.75, 0.1875]

    rows = csv_rows(tmp_path / "log" / "metrics.csv")
    assert [row["mode"] for row in rows] == ["TRAIN", "VALIDATION", "TRAIN", "TRAIN", "VALIDATION", "TRAIN"]
    assert [(row["step"], float(row["[loss]"])) for row in rows if row["mode"] == "TRAIN"] == [
        (str(step), loss) for step, loss in enumerate(losses)
    ]
    assert [float(row["distance"]) for row in rows if row["mode"] == "VALIDATION"] == distances
    told = {row["name"]: row["value"] for row in csv_rows(tmp_path / "log" / "run.csv")}
    assert (told["status"], told["max_number_of_steps"], told["flags/trackers"]) == ("finished", "4", "wandb")
    assert told["checkpoint"] == str(tmp_path / "log" / "model.ckpt-4")

    kept = the_run()
    assert (kept.info.run_name, kept.info.status) == ("log", "FINISHED")
    numbers = sorted((step, name, value) for step, _, each in mlflow_numbers(kept) for name, value in each.items())
    assert [(step, value) for step, name, value in numbers if name == "_loss_"] == list(enumerate(losses))
    assert [(step, value) for step, name, value in numbers if name == "distance"] == [(1, 0.75), (3, 0.1875)]
    assert (kept.data.params["batch_size"], kept.data.params["flags/num_gpus"]) == ("2", "1")
    assert (kept.data.params["max_number_of_steps"], kept.data.tags["resumed/max_number_of_steps"]) == ("2", "4")
    assert kept.data.tags["versions/tensorflow"] == tf.__version__
    assert kept.data.tags["checkpoint"] == str(tmp_path / "log" / "model.ckpt-4")
    files = {path.name: path for path in (tmp_path / "mlruns").glob("**/export/*/model.txt")}
    assert files["model.txt"].read_text(encoding="utf-8") == "a model"

    found = of_wandb()
    assert found["ids"] == [told["id"]] * 2
    assert [(row["_step"], row["train/[loss]"]) for row in found["rows"]] == list(enumerate(losses))
    assert [row["validation/distance"] for row in found["rows"][1::2]] == distances
    assert (found["config"]["batch_size"], found["config"]["flags"]["num_gpus"]) == (2, 1)
    assert found["config"]["versions"]["tensorflow"] == tf.__version__
    assert found["summary"]["checkpoint"] == str(tmp_path / "log" / "model.ckpt-4")
    assert (found["summary"]["status"], found["codes"]) == ("finished", [0, 0])
    assert found["models"] == [("model", ["model.txt"])] * 2

    run(1, mode=EVAL, log_dir=tmp_path / "log", trackers=["csv"])
    (row,) = csv_rows(tmp_path / "log" / "eval-4.csv")
    assert (row["step"], row["mode"], float(row["[loss]"])) == ("4", "EVAL", pytest.approx(9 * 0.25**4))
    assert csv_rows(tmp_path / "log" / "metrics.csv") == rows


def test_each_format_of_an_export_is_kept(tmp_path):
    def txt(model, directory):
        del model
        Path(directory, "model.txt").write_text("a model", encoding="utf-8")

    run(1, log_dir=tmp_path / "log", export_model=[txt, mox.ExportKeys.FROZEN_PB], trackers=["csv", "mlflow", "wandb"])
    told = [row["value"] for row in csv_rows(tmp_path / "log" / "run.csv") if row["name"] == "export"]
    assert len(set(told)) == 2
    assert the_run().data.tags["export"] == of_wandb()["summary"]["export"] == ", ".join(told)
    places = {Path(path).relative_to(tmp_path / "log").as_posix() for path in told}
    kept = [path for path in (tmp_path / "mlruns").glob("**/artifacts/export/**/*") if path.is_file()]
    assert {path.parent.as_posix().partition("/artifacts/export/")[2] for path in kept} == places
    assert [kind for kind, _ in of_wandb()["models"]] == ["model"] * 2


def test_what_a_training_did_before_it_was_tracked_is_kept_too(tmp_path):
    run(2, log_dir=tmp_path / "log")
    run(3, log_dir=tmp_path / "log", trackers=["csv", "mlflow", "wandb"])
    assert [row["step"] for row in csv_rows(tmp_path / "log" / "metrics.csv") if row["mode"] == "TRAIN"] == list("012")
    assert sorted(step for step, _, each in mlflow_numbers(the_run()) if "_loss_" in each) == [0, 1, 2]
    assert [row["_step"] for row in of_wandb()["rows"]] == [0, 1, 2]


def test_runs_that_a_script_has_begun_are_the_scripts_to_end(tmp_path):
    with mlflow.start_run(run_name="of the script") as begun, wandb.init(name="of the script") as own:
        run(2, log_dir=tmp_path / "log", trackers=["mlflow", "wandb"])
        assert mlflow.active_run().info.run_id == begun.info.run_id
        assert mlflow.MlflowClient().get_run(begun.info.run_id).info.status == "RUNNING"
        own.log({"after": 1})
    assert the_run().data.metrics["train/_loss_"] == 2.25
    assert of_wandb()["ids"] == [own.id]
    assert [row for row in of_wandb()["rows"] if "after" in row]


def test_without_a_log_dir_the_files_are_left_out_and_the_others_work(caplog):
    run(1, trackers=["csv", "mlflow"])
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    why = "it writes into log_dir, and the run has none: pass log_dir to mox.run"
    assert said == [f"the tracker 'csv' is left out of the rest of the run: {why}"]
    assert the_run().info.status == "FINISHED"


@pytest.mark.parametrize(("name", "package"), [("mlflow", "mlflow-skinny (or mlflow)"), ("wandb", "wandb")])
def test_without_the_package_a_sentence_says_what_to_install(name, package, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, name, None)
    run(1, trackers=[name])
    assert (
        f"the tracker '{name}' is left out of the rest of the run: {name} is not installed: pip install {package}"
        in (record.getMessage() for record in caplog.records)
    )


def test_a_server_that_refuses_ends_no_run(monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "false")  # MLflow refuses its file store then
    assert run(1, trackers=["mlflow"]).global_step == 1
    assert "the tracker 'mlflow' is left out of the rest of the run: MlflowException: " in caplog.text


def test_neither_package_is_imported_before_a_run_wants_it():
    program = (
        "import sys; import mox_trackers.csv_files, mox_trackers.mlflow_runs, mox_trackers.wandb_runs;"
        "print(*({'mlflow', 'wandb', 'tensorflow', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
