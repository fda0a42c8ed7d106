"""Export (the manual's chapter 4.4): versions, shapes, and what is refused before training."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox


class Exporter:
    """A user's own exporter: keeps what it is given, and writes one file."""

    def __init__(self):
        self.model = None

    def __call__(self, model, directory):
        assert list(Path(directory).iterdir()) == []
        self.model = model
        Path(directory, "model.txt").write_text("exported", encoding="utf-8")


@pytest.fixture
def train(regression, tmp_path):
    """Trains two steps and exports; `export_spec` makes the ExportSpec from (inputs, predictions, mode)."""

    def train(export_spec=None, *, steps=2, **options):
        def model_fn(inputs, mode):
            spec = regression.model_fn(inputs, mode)
            if export_spec is None:
                return spec
            made = export_spec(inputs, spec.output_info["predictions"], mode)
            return mox.ModelSpec(loss=spec.loss, log_info=spec.log_info, export_spec=made)

        arguments = {
            "input_fn": regression.input_fn,
            "model_fn": model_fn,
            "optimizer_fn": regression.sgd,
            "run_mode": mox.ModeKeys.TRAIN,
            "batch_size": 8,
            "log_dir": tmp_path / "log",
            "max_number_of_steps": steps,
            "export_model": Exporter(),
        }
        return mox.run(**arguments | options)

    return train


def _versioned(version):
    return lambda inputs, predictions, mode: mox.ExportSpec({"x": inputs[0]}, {"y": predictions}, version)  # noqa: ARG005


def _folders(log_dir):
    return sorted(path.name for path in log_dir.iterdir() if path.is_dir())


def test_versions_count_from_one(train, tmp_path):
    assert train().export_path == str(tmp_path / "log" / "1")
    assert train(steps=3).export_path == str(tmp_path / "log" / "2")
    assert _folders(tmp_path / "log") == ["1", "2"]


def test_the_next_version_is_one_more_than_the_highest(train, tmp_path):
    for name in ("1", "2", "99", "model", "100b", "²"):
        (tmp_path / "log" / name).mkdir(parents=True)
    assert train().export_path == str(tmp_path / "log" / "100")


@pytest.mark.parametrize("version", [7, 0, "model", "v1.0"])
def test_a_version_may_be_a_number_or_a_word(train, tmp_path, version):
    assert train(_versioned(version)).export_path == str(tmp_path / "log" / str(version))
    assert (tmp_path / "log" / str(version) / "model.txt").read_text(encoding="utf-8") == "exported"


def test_a_log_line_names_the_exported_model_and_comes_last(train, tmp_path, said):
    train()
    assert said.lines[-1] == f"INFO:tensorflow:Exported model written to: {tmp_path / 'log' / '1'}"


def test_a_version_that_exists_is_refused_before_a_step_and_nothing_is_written(train, tmp_path, said):
    log_dir = tmp_path / "log"
    (log_dir / "1").mkdir(parents=True)
    (log_dir / "5").mkdir()
    with pytest.raises(mox.UsageError) as refusal:
        train(_versioned(1))
    assert str(refusal.value) == (
        "Export directory already exists. Please specify a different export directory: "
        f"{log_dir / '1'}. Pass another version to mox.ExportSpec, or version=-1 for the next number (6)."
    )
    assert sorted(log_dir.iterdir()) == [log_dir / "1", log_dir / "5"]
    assert said.lines == []


def test_a_refused_run_leaves_no_log_dir(train, tmp_path):
    def bad_model_fn(inputs, mode):
        raise KeyError(len(inputs), mode)

    with pytest.raises(KeyError):
        train(model_fn=bad_model_fn)
    assert list(tmp_path.iterdir()) == []


def test_with_auto_batch_the_batch_dimension_is_open(train):
    shapes = {}

    def export_spec(inputs, predictions, mode):
        shapes[mode] = [tensor.shape.as_list() for tensor in (*inputs, predictions)]
        return mox.ExportSpec({"x": inputs[0], "unused": inputs[1]}, {"y": predictions})

    exporter = Exporter()
    train(export_spec, export_model=exporter)
    assert shapes == {"TRAIN": [[8, 3], [8], [8]], "EXPORT": [[None, 3], [None], [None]]}
    assert exporter.model.inputs == {
        "x": tf.TensorSpec([None, 3], tf.float32, "x"),
        "unused": tf.TensorSpec([None], tf.float32, "unused"),
    }
    assert exporter.model.outputs == {"y": tf.TensorSpec([None], tf.float32, "y")}


@pytest.mark.parametrize("options", [{"auto_batch": False}, {"batch_size": None}], ids=str)
def test_without_auto_batch_shapes_are_the_trainings(train, regression, options):
    exporter = Exporter()

    def batched_input_fn(mode):
        return regression.input_fn(mode).batch(5, drop_remainder=True)

    train(input_fn=batched_input_fn, export_model=exporter, **options)
    assert exporter.model.inputs == {"features": tf.TensorSpec([5, 3], tf.float32, "features")}
    assert exporter.model.outputs == {"predictions": tf.TensorSpec([5], tf.float32, "predictions")}


def test_a_users_exporter_gets_a_function_with_the_trained_weights(train, regression):
    exporter = Exporter()
    train(export_model=exporter, steps=6)
    expected = regression.train(6, batch_size=8, rate=0.1)
    features = regression.features[:3]
    got = exporter.model.function(features=tf.constant(features))
    assert list(got) == ["predictions"]
    np.testing.assert_allclose(got["predictions"], features @ expected.weights + expected.bias, rtol=1e-5)
    assert sorted(variable.name for variable in exporter.model.variables) == ["bias:0", "weights:0"]


@pytest.mark.parametrize("run_mode", [mox.ModeKeys.EVAL, mox.ModeKeys.PREDICT])
def test_evaluation_and_prediction_export_too(train, regression, tmp_path, run_mode):
    train(export_model=False, steps=4)
    exporter = Exporter()
    result = train(
        run_mode=run_mode,
        optimizer_fn=None,
        log_dir=tmp_path / "other",
        checkpoint_path=tmp_path / "log",
        export_model=exporter,
        output_fn=lambda outputs: None,  # noqa: ARG005
        output_every_n_steps=1,
    )
    assert result.export_path == str(tmp_path / "other" / "1")
    weights = {variable.name: variable.numpy() for variable in exporter.model.variables}
    np.testing.assert_allclose(weights["weights:0"], regression.train(4, batch_size=8, rate=0.1).weights, rtol=1e-5)


def test_an_exporter_that_fails_leaves_nothing_and_training_is_kept(train, tmp_path):
    def failing(model, directory):
        Exporter()(model, directory)
        raise OSError("disk full")

    with pytest.raises(OSError, match=r"^disk full$"):
        train(export_model=failing)
    log_dir = tmp_path / "log"
    assert _folders(log_dir) == []
    assert [path for path in log_dir.iterdir() if path.name.startswith(".")] == []
    assert (log_dir / "model.ckpt-2.index").exists()
    # What is missing is made by the next run, which has nothing left to train.
    result = train()
    assert (result.steps, result.export_path) == (0, str(log_dir / "1"))


def test_what_a_killed_export_left_is_swept(train, tmp_path):
    leftover = tmp_path / "log" / ".unfinished-export-1"
    leftover.mkdir(parents=True)
    (leftover / "saved_model.pb").touch()
    train()
    assert not leftover.exists()


def _refused(train, export_spec, tmp_path):
    with pytest.raises(mox.UsageError) as refusal:
        train(export_spec)
    assert list(tmp_path.iterdir()) == [], "refused before training, nothing is written"
    return str(refusal.value)


def _behind_a_check(inputs, predictions, _mode):
    with tf.control_dependencies([tf.debugging.assert_less(inputs[1], 100.0)]):
        return mox.ExportSpec({"x": inputs[0]}, {"y": tf.identity(predictions)})


def _scaled(inputs, predictions, mode):
    scale = tf.compat.v1.placeholder(tf.float32, [], name="the/scale") if mode == mox.ModeKeys.EXPORT else 1.0
    return mox.ExportSpec({"x": inputs[0]}, {"y": scale * predictions})


X = np.float32([[1, 2, 3], [4, 5, 6]])
LABELS = np.float32([7, 8])


@pytest.mark.parametrize(
    ("export_spec", "name", "meaning", "fed", "expected"),
    [
        (lambda i, _p, _m: mox.ExportSpec({"x": i[0]}, {"y": i[1]}), "inputs_1", "inputs[1]", LABELS, LABELS),
        (
            lambda i, _p, _m: mox.ExportSpec({"inputs_1": i[0]}, {"y": i[1] * 2}),
            "inputs_1_",
            "inputs[1]",
            LABELS,
            LABELS * 2,
        ),
        (_behind_a_check, "inputs_1", "inputs[1]", LABELS, None),
        (_scaled, "the_scale", "the placeholder 'the/scale'", np.float32(0), np.float32([0, 0])),
    ],
    ids=["an input itself", "a name that is taken", "a check of its value", "a placeholder"],
)
def test_what_outputs_need_besides_is_a_further_input_and_a_warning_names_it(
    train, said, export_spec, name, meaning, fed, expected
):
    exporter = Exporter()
    assert train(export_spec, export_model=exporter).export_path is not None
    listed = next(iter(exporter.model.inputs))
    warning = (
        f"WARNING:tensorflow:The outputs of ExportSpec (y) depend on {meaning} of model_fn, which is not among its "
        f"inputs ({listed}): the exported model has a further input {name!r} for it, which has to be fed as the others "
        "are. Add it to inputs_dict under a name of yours, or export outputs without it."
    )
    assert [line for line in said.lines if line.startswith("WARNING")] == [warning]
    assert list(exporter.model.inputs) == [listed, name]
    outputs = exporter.model.function(**{listed: tf.constant(X), name: tf.constant(fed)})
    if expected is None:
        with pytest.raises(tf.errors.InvalidArgumentError, match="assertion failed"):
            exporter.model.function(**{listed: tf.constant(X), name: tf.constant(fed + 100)})
    else:
        np.testing.assert_array_equal(outputs["y"], expected)


def test_half_of_an_input_does_not_stand_for_all_of_it(train, tmp_path):
    def export_spec(inputs, _predictions, _mode):
        first, rest = tf.split(inputs[0], [1, 2], axis=1)
        return mox.ExportSpec({"first": first}, {"y": first + rest})

    assert _refused(train, export_spec, tmp_path) == (
        "the outputs of ExportSpec (y) depend on inputs[0] of model_fn, and its input 'first' is a part of what one "
        "operation makes of that: put the whole into inputs_dict in the place of 'first'."
    )


@pytest.mark.parametrize("which", ["inputs", "outputs"])
def test_tensors_of_another_call_are_refused(train, tmp_path, which):
    kept = []

    def export_spec(inputs, predictions, _mode):
        kept.append((inputs[0], predictions))  # the first call is that of TRAIN
        x = kept[0][0] if which == "inputs" else inputs[0]
        y = kept[0][1] if which == "outputs" else predictions
        return mox.ExportSpec({"x": x}, {"y": y})

    text = _refused(train, export_spec, tmp_path)
    name = {"inputs": "inputs_dict['x']", "outputs": "outputs_dict['y']"}[which]
    assert text.startswith(f"ExportSpec {name} is <tf.Tensor ")
    assert text.endswith(", which is no tensor that model_fn made in this call.")


def test_numbers_are_no_tensors_of_the_model(train, tmp_path):
    text = _refused(train, lambda inputs, *_: mox.ExportSpec({"x": inputs[0]}, {"y": 3}), tmp_path)
    assert text == "ExportSpec outputs_dict['y'] is 3, which is no tensor that model_fn made in this call."


@pytest.mark.parametrize("name", ["images:0", "my images", "a/b", "1st", "class", "x-y", "输入"])
def test_input_names_that_no_function_can_have_are_refused_before_training(train, tmp_path, name):
    text = _refused(train, lambda inputs, y, _: mox.ExportSpec({name: inputs[0]}, {"y": y}), tmp_path)
    assert text == (
        f"ExportSpec inputs_dict has the name {name!r}; inputs of an exported model are arguments of a function: "
        "their names hold letters, digits and underscores, begin with a letter, and are no keyword of Python."
    )


def test_one_tensor_under_two_input_names_is_refused(train, tmp_path):
    text = _refused(train, lambda inputs, y, _: mox.ExportSpec({"a": inputs[0], "b": inputs[0]}, {"y": y}), tmp_path)
    assert text == "ExportSpec inputs_dict['b'] is the tensor of inputs_dict['a']: leave one of them out."


def test_an_export_needs_an_export_spec(regression, train, tmp_path):
    def model_fn(inputs, mode):
        return mox.ModelSpec(loss=regression.model_fn(inputs, mode).loss)

    with pytest.raises(mox.UsageError) as refusal:
        train(model_fn=model_fn)
    assert str(refusal.value) == (
        "model_fn returned a ModelSpec without export_spec in mode EXPORT, which needs it: "
        "pass ModelSpec(export_spec=...)."
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_made_for_the_export_alone_may_be_its_input(train):
    def export_spec(_inputs, _predictions, mode):
        if mode != mox.ModeKeys.EXPORT:
            return None
        encoded = tf.compat.v1.placeholder(tf.string, [None], name="encoded")
        return mox.ExportSpec({"encoded": encoded}, {"y": tf.strings.length(encoded)})

    exporter = Exporter()
    train(export_spec, export_model=exporter)
    assert exporter.model.function(encoded=tf.constant(["a", "bcd"]))["y"].numpy().tolist() == [1, 3]


def test_an_exported_model_draws_random_numbers_anew_in_each_call(train):
    def export_spec(inputs, predictions, _mode):
        return mox.ExportSpec({"x": inputs[0]}, {"y": predictions + tf.random.uniform([1], 1.0, 2.0)})

    exporter = Exporter()
    train(export_spec, export_model=exporter)
    draw = partial(exporter.model.function, x=tf.zeros([1, 3]))
    first, second = float(draw()["y"][0]), float(draw()["y"][0])
    assert first != second


def test_an_exporter_may_refuse_a_model_before_training(train, tmp_path):
    class Picky(Exporter):
        def check(self, model):
            raise mox.UsageError(f"no {', '.join(model.outputs)} in this format.")

    with pytest.raises(mox.UsageError, match=r"^no predictions in this format\.$"):
        train(export_model=Picky())
    assert list(tmp_path.iterdir()) == []


def test_each_format_has_a_folder_and_a_count_of_its_own_and_one_run_may_write_several(train, tmp_path):
    log_dir = tmp_path / "log"
    first = train(export_model=["FROZEN_PB", "TF_SERVING"])
    assert first.export_paths == {"FROZEN_PB": str(log_dir / "frozen_pb" / "1"), "TF_SERVING": str(log_dir / "1")}
    assert first.export_path == first.export_paths["FROZEN_PB"], "the first one that was asked for"
    second = train(steps=3, export_model="export/TF_SERVING")
    assert second.export_paths == {"TF_SERVING": str(log_dir / "2")}
    third = train(steps=4, export_model=(mox.ExportKeys.TF_SERVING, mox.ExportKeys.FROZEN_PB))
    assert third.export_paths == {"TF_SERVING": str(log_dir / "3"), "FROZEN_PB": str(log_dir / "frozen_pb" / "2")}
    assert _folders(log_dir) == ["1", "2", "3", "frozen_pb"]
    assert _folders(log_dir / "frozen_pb") == ["1", "2"]
    for path, file in ((third.export_path, "saved_model.pb"), (first.export_path, "frozen_graph.pb")):
        assert Path(path, file).is_file()


def test_a_named_version_lies_in_the_folder_of_each_format_and_one_that_exists_stops_all(train, tmp_path, said):
    log_dir = tmp_path / "log"
    result = train(_versioned("model"), export_model=["FROZEN_PB", Exporter()])
    assert result.export_paths == {"FROZEN_PB": str(log_dir / "frozen_pb/model"), "Exporter": str(log_dir / "model")}
    (log_dir / "model" / "model.txt").unlink()
    (log_dir / "model").rmdir()
    said.lines.clear()
    with pytest.raises(mox.UsageError, match=f"directory: {log_dir}/frozen_pb/model"):
        train(_versioned("model"), steps=5, export_model=[Exporter(), "FROZEN_PB"])
    assert said.lines == []
    assert not (log_dir / "model").exists()


def test_all_formats_are_checked_before_training(train, tmp_path):
    class Picky(Exporter):
        def check(self, model):
            raise mox.UsageError(f"no {', '.join(model.outputs)} in this format.")

    with pytest.raises(mox.UsageError, match=r"^no predictions in this format\.$"):
        train(export_model=["FROZEN_PB", Picky()])
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_one_format_leaves_none(train, tmp_path):
    def export(model, directory):
        Path(directory, "half").touch()
        raise OSError(f"{len(model.outputs)} outputs, and no room")

    with pytest.raises(OSError, match="no room"):
        train(export_model=["FROZEN_PB", export])
    assert _folders(tmp_path / "log") == []


def test_a_version_called_like_the_folder_of_a_format_is_refused(train, tmp_path):
    assert _refused(train, lambda i, y, _: mox.ExportSpec({"x": i[0]}, {"y": y}, "tflite"), tmp_path) == (
        "version of ExportSpec is 'tflite', and that folder of log_dir has the exports of TFLITE: pass another one."
    )


def test_a_file_where_a_format_goes_is_refused_before_training(train, tmp_path):
    (tmp_path / "log").mkdir()
    place = tmp_path / "log" / "frozen_pb"
    place.touch()
    with pytest.raises(mox.UsageError) as refusal:
        train(export_model="FROZEN_PB")
    assert str(refusal.value) == (f"{str(place)!r} is a file, where the exports of FROZEN_PB go: give another log_dir.")
