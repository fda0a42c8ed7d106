"""The structure of inputs: what `input_fn` gives as a dict, a tuple, ragged or sparse arrives in `model_fn` as that."""

import collections
import json

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.testing.reading import read

Point = collections.namedtuple("Point", ["x", "y"])  # noqa: PYI024  (the plain kind, as TF1-style programs have it)

AGES, LABELS = np.arange(8, dtype=np.float32), np.arange(8) * 10
NAMES = np.array([f"n{number}" for number in range(8)])
ROWS = [[1.0], [1.0, 2.0], [], [3.0], [4.0, 5.0], [6.0], [7.0]]
MATRIX = np.where(np.arange(35).reshape(7, 5) % 3 == 0, np.arange(35).reshape(7, 5), 0).astype(np.float32)


def _slices(structure):
    return lambda mode: tf.data.Dataset.from_tensor_slices(structure)  # noqa: ARG005


def _run(input_fn, values_of, *, mode=mox.ModeKeys.EVAL, log_dir=None, batch_size=4, **options):
    """What `values_of(inputs)` is as means over the samples, or at the last step of TRAIN; and the inputs."""
    seen = []

    def model_fn(inputs, mode):
        seen.append(inputs)
        weight = tf.compat.v1.get_variable("weight", initializer=1.0)
        values = {name: tf.cast(value, tf.float32) for name, value in values_of(inputs).items()}
        spec = mox.ExportSpec(inputs[0], {"y": weight * inputs[0]["age"]}) if mode == mox.ModeKeys.EXPORT else None
        return mox.ModelSpec(loss=weight * 0.0, log_info=values, export_spec=spec)

    job = {"input_fn": input_fn, "model_fn": model_fn, "batch_size": batch_size, "log_dir": log_dir, **options}
    if mode == mox.ModeKeys.TRAIN:
        job |= {"optimizer_fn": lambda: tf.compat.v1.train.GradientDescentOptimizer(0.0)}
    return mox.run(run_mode=mode, **job), seen[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a checkpoint for EVAL."""
    folder = tmp_path_factory.mktemp("trained")
    _run(_slices(AGES), lambda inputs: {"x": inputs[0][0]}, mode=mox.ModeKeys.TRAIN, log_dir=folder)
    return folder


def test_a_dict_in_a_tuple_arrives_as_a_dict(trained):
    def values_of(inputs):
        return {"age": tf.reduce_mean(inputs[0]["age"]), "label": tf.reduce_mean(tf.cast(inputs[1], tf.float32))}

    result, inputs = _run(_slices(({"name": NAMES, "age": AGES}, LABELS)), values_of, log_dir=trained)
    assert isinstance(inputs, list)
    assert [type(each) for each in inputs[:1]] == [dict]
    assert list(inputs[0]) == ["name", "age"]  # in their order
    assert result.metrics == {"age": AGES.mean(), "label": LABELS.mean()}


@pytest.mark.parametrize(
    ("structure", "parts"),
    [
        ({"b": AGES, "a": LABELS}, lambda inputs: [inputs[0]["b"], inputs[0]["a"]]),
        (Point(AGES, LABELS), lambda inputs: inputs),
        (({"q": AGES}, (LABELS, NAMES)), lambda inputs: [inputs[0]["q"], inputs[1][0]]),
        ((Point(AGES, LABELS), NAMES), lambda inputs: [inputs[0].x, inputs[0].y]),
        ((({"deep": ({"er": AGES},)},), LABELS), lambda inputs: [inputs[0][0]["deep"][0]["er"], inputs[1]]),
    ],
    ids=["a dict alone", "a namedtuple alone", "nested", "a namedtuple inside", "deep"],
)
def test_any_nest_arrives_as_it_is(structure, parts, trained):
    def values_of(inputs):
        age, label = parts(inputs)
        return {"age": tf.reduce_mean(age), "label": tf.reduce_mean(tf.cast(label, tf.float32))}

    result, _ = _run(_slices(structure), values_of, log_dir=trained)
    assert result.metrics == {"age": AGES.mean(), "label": LABELS.mean()}


@pytest.mark.parametrize("mode", [mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL])
@pytest.mark.parametrize(
    ("structure", "kind", "total"),
    [
        (tf.ragged.constant(ROWS), tf.RaggedTensor, lambda rows: tf.reduce_sum(rows.flat_values)),
        (
            tf.ragged.constant([[[1]] * len(row) for row in ROWS], ragged_rank=1, inner_shape=(1,)),
            tf.RaggedTensor,
            lambda rows: tf.reduce_sum(rows.flat_values),
        ),
        (tf.sparse.from_dense(MATRIX), tf.SparseTensor, tf.sparse.reduce_sum),
    ],
    ids=["ragged", "ragged integers", "sparse"],
)
def test_what_is_ragged_or_sparse_arrives_as_that_and_its_samples_are_counted(structure, kind, total, mode, trained):
    def values_of(inputs):
        size = inputs[0].shape[0] or tf.shape(inputs[0], tf.int64)[0]
        return {"total": total(inputs[0]), "size": size}

    folder = trained if mode == mox.ModeKeys.EVAL else None
    result, inputs = _run(_slices(structure), values_of, mode=mode, log_dir=folder)
    assert isinstance(inputs[0], kind)
    whole = np.array([sum(row) for row in ROWS]) if structure.dtype == tf.float32 else np.array(list(map(len, ROWS)))
    whole = MATRIX.sum(1) if kind is tf.SparseTensor else whole
    first, rest = whole[:4].sum(), whole[4:].sum()
    if mode == mox.ModeKeys.TRAIN:  # a rest of three is no whole batch
        assert (result.steps, result.samples, result.metrics) == (1, 4, {"total": first, "size": 4})
        assert inputs[0].shape[0] == 4
    else:
        assert (result.steps, result.samples) == (2, 7)
        assert result.metrics == pytest.approx({"total": (4 * first + 3 * rest) / 7, "size": (16 + 9) / 7})


def test_batches_that_are_ragged_already_arrive_as_they_are(trained):
    def input_fn(mode):
        del mode
        rows = tf.data.Dataset.from_generator(lambda: ROWS, output_signature=tf.TensorSpec([None], tf.float32))
        return rows.ragged_batch(7)

    result, inputs = _run(input_fn, lambda inputs: {"x": tf.reduce_sum(inputs[0])}, log_dir=trained, batch_size=None)
    assert isinstance(inputs[0], tf.RaggedTensor)
    assert (result.samples, result.metrics) == (7, {"x": 29.0})


def test_tensors_that_input_fn_returns_keep_their_structure_too(trained):
    def input_fn(mode):
        del mode
        number = mox.get_next(tf.data.Dataset.range(6))
        row = tf.RaggedTensor.from_row_lengths(tf.range(number), [number])
        sparse = tf.sparse.from_dense(tf.one_hot(number, 6))
        return {"number": number, "rows": row}, [sparse, (number + 1,)], np.float32(0.5)

    def values_of(inputs):
        features, (sparse, (after,)), half = inputs
        assert isinstance(inputs[1], list)
        assert isinstance(features["rows"], tf.RaggedTensor)
        place = tf.reduce_sum(tf.sparse.to_dense(sparse) * tf.range(6.0), 1)
        return {
            "number": tf.reduce_mean(tf.cast(features["number"], tf.float32)),
            "length": tf.reduce_mean(tf.cast(features["rows"].merge_dims(1, 2).row_lengths(), tf.float32)),
            "place": tf.reduce_mean(place),
            "after": tf.reduce_mean(tf.cast(after, tf.float32)),
            "half": tf.reduce_mean(half),
        }

    result, _ = _run(input_fn, values_of, log_dir=trained)
    assert result.metrics == {"number": 2.5, "length": 2.5, "place": 2.5, "after": 3.5, "half": 0.5}
    result, _ = _run(lambda mode: input_fn(mode)[0], lambda inputs: {"x": inputs[0]["number"][0]}, log_dir=trained)
    assert result.samples == 6  # a dict alone is one input


def test_sequences_of_integers_are_filled_up_wherever_they_stand(trained):
    def input_fn(mode):
        del mode
        numbers = tf.data.Dataset.range(1, 5)
        return numbers.map(lambda n: ({"word": tf.range(n), "number": n}, n))

    values_of = lambda inputs: {"width": tf.shape(inputs[0]["word"])[1], "sum": tf.reduce_sum(inputs[0]["word"])}  # noqa: E731
    assert _run(input_fn, values_of, log_dir=trained)[0].metrics == {"width": 4.0, "sum": 0 + 1 + 3 + 6}


@pytest.mark.parametrize(
    ("input_fn", "words"),
    [
        (lambda mode: _slices(AGES)(mode).map(lambda x: (x, None)), r"None for inputs\[1\] in mode TRAIN.*map\(lambda"),
        (
            lambda mode: _slices(AGES)(mode).map(lambda x: ({"a": x, "b": None}, x)),
            r"None for inputs\[0\]\['b'\] in mode TRAIN",
        ),
        (lambda mode: _slices(AGES)(mode).window(2), r"inputs\[0\] is itself a dataset.*flat_map\(lambda window:"),
        (
            lambda mode: _slices(AGES)(mode).map(lambda x: (x, tf.experimental.Optional.from_value(x))),
            r"inputs\[1\] is a \w*Optional\w* in mode TRAIN.*take the tensors out of it",
        ),
    ],
    ids=["None", "None in a dict", "window", "optional"],
)
def test_what_no_step_can_be_fed_is_refused_with_its_place(input_fn, words):
    with pytest.raises(mox.UsageError, match=words):
        _run(input_fn, lambda inputs: {"x": inputs[0]}, mode=mox.ModeKeys.TRAIN)


def test_an_exported_model_has_the_names_of_a_dict(tmp_path):
    input_fn = _slices({"age": AGES, "year": LABELS})
    values_of = lambda inputs: {"x": inputs[0]["age"][0]}  # noqa: E731
    options = {"mode": mox.ModeKeys.TRAIN, "log_dir": tmp_path, "export_model": mox.ExportKeys.TF_SERVING}
    result, _ = _run(input_fn, values_of, **options)
    serve = tf.saved_model.load(result.export_path).signatures["serving_default"]
    assert {name: spec.shape.as_list() for name, spec in serve.structured_input_signature[1].items()} == {
        "age": [None],
        "year": [None],
    }
    served = serve(age=tf.constant([1.0, 2.0, 3.0]), year=tf.zeros([3], tf.int64))
    assert served["y"].numpy().tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("inputs_of", "words"),
    [
        (lambda inputs: {"rows": inputs[1]}, r"inputs_dict\['rows'\] is .*of a RaggedTensor, values\.flat_values and"),
        (lambda inputs: {"all": inputs[0]}, r"use those of this dict, age, name\."),
    ],
    ids=["ragged", "a dict as one"],
)
def test_what_is_no_tensor_cannot_be_exported(inputs_of, words, tmp_path):
    with pytest.raises(mox.UsageError, match=words):
        _exported(inputs_of, tmp_path)


@pytest.mark.parametrize(
    ("inputs_of", "name", "place"),
    [
        (
            lambda inputs: {"values": inputs[1].flat_values, "splits": inputs[1].row_splits},
            "inputs_0_age",
            "inputs[0]['age']",
        ),
        (
            lambda inputs: {"age": inputs[0]["age"], "values": inputs[1].flat_values},
            "inputs_1_nested_row_splits_0",
            "inputs[1].nested_row_splits[0]",
        ),
    ],
    ids=["a part", "row splits"],
)
def test_what_an_export_lacks_is_a_further_input_named_by_its_place(inputs_of, name, place, tmp_path, said):
    serve = tf.saved_model.load(_exported(inputs_of, tmp_path).export_path).signatures["serving_default"]
    assert any(f"depend on {place} of model_fn, which is not among its inputs" in line for line in said.lines)
    given = {"values": [1.0, 2.0, 3.0], "splits": np.array([0, 1, 3]), "age": [10.0, 20.0]}
    given[name] = given["age" if name.endswith("age") else "splits"]
    asked = serve.structured_input_signature[1]
    served = serve(**{each: tf.constant(given[each], spec.dtype) for each, spec in asked.items()})
    assert name in asked
    assert served["y"].numpy().tolist() == [11.0, 25.0]


def _exported(inputs_of, log_dir):
    def model_fn(inputs, mode):
        del mode
        weight = tf.compat.v1.get_variable("weight", initializer=1.0)
        outputs = {"y": weight * inputs[0]["age"] + tf.reduce_sum(inputs[1], 1)}
        return mox.ModelSpec(loss=weight, export_spec=mox.ExportSpec(inputs_of(inputs), outputs))

    return mox.run(
        input_fn=_slices(({"age": AGES[:7], "name": NAMES[:7]}, tf.ragged.constant(ROWS))),
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.0),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=2,
        log_dir=log_dir,
        export_model=mox.ExportKeys.TF_SERVING,
    )


def test_the_testing_kit_reads_inputs_in_their_structure():
    (first, _) = read(_slices(({"age": AGES[:7]}, tf.ragged.constant(ROWS))), mox.ModeKeys.EVAL, batch_size=4)
    features, rows = first.values
    assert features["age"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert rows.to_list() == ROWS[:4]


ON_TWO_REPLICAS = """
import json, sys
import mox_core as mox
mox.set_flag("num_gpus", 2)
mox.set_flag("clone_on_cpu", True)
import numpy as np
import tensorflow as tf

rows = [[1.0] * n for n in (1, 2, 0, 3, 4, 1, 2)]
matrix = np.arange(14, dtype=np.float32).reshape(7, 2)
mode = sys.argv[1]

def input_fn(mode):
    data = tf.data.Dataset.from_tensor_slices(
        ({"rows": tf.ragged.constant(rows), "number": np.arange(7.0, dtype="f")}, tf.sparse.from_dense(matrix)))
    return data.repeat() if mode == mox.ModeKeys.TRAIN else data

def model_fn(inputs, mode):
    (features, sparse) = inputs
    weight = tf.compat.v1.get_variable("weight", initializer=1.0)
    mean = lambda x: tf.reduce_mean(tf.cast(x, tf.float32))
    return mox.ModelSpec(loss=weight * mean(features["number"]), log_info={
        "length": mean(features["rows"].row_lengths()),
        "number": mean(features["number"]),
        "sparse": mean(tf.sparse.reduce_sum(sparse, 1)),
    })

job = dict(input_fn=input_fn, model_fn=model_fn, batch_size=2, log_dir=sys.argv[1])
mox.set_flag("log_first_clone", False)
trained = mox.run(run_mode="TRAIN", max_number_of_steps=1, optimizer_fn=mox.get_optimizer_fn("sgd", 1.0), **job)
evaluated = mox.run(run_mode="EVAL", **job)
weight = tf.train.load_checkpoint(trained.checkpoint).get_tensor("weight")
print(json.dumps([trained.metrics, float(weight), evaluated.metrics, evaluated.samples]))
"""


def test_two_replicas_share_batches_of_any_structure(run_python, tmp_path):
    trained, weight, evaluated, samples = json.loads(
        run_python(ON_TWO_REPLICAS, tmp_path / "log").stdout.splitlines()[-1]
    )
    assert trained == {"length": 6 / 4, "number": 6 / 4, "sparse": (1 + 5 + 9 + 13) / 4}
    assert weight == 1.0 - 6 / 4
    assert samples == 7
    assert evaluated == pytest.approx({"length": 13 / 7, "number": 21 / 7, "sparse": 91 / 7})


def _spec_of_numbers(mode):
    numbers = tf.data.Dataset.range(6)
    number = mox.get_next(numbers.repeat() if mode == mox.ModeKeys.TRAIN else numbers)
    inputs = mox.InputSpec(split_to_device=True)
    inputs.new_input([number, 10 * number])
    inputs.new_input({"square": number**2})
    return inputs


def test_an_input_spec_arrives_with_its_inputs_in_batches_and_exports(tmp_path, said):
    def model_fn(inputs, mode):
        number, tens = inputs.get_input(0)
        ((squares),) = inputs.get_input(1)
        weight = tf.compat.v1.get_variable("weight", initializer=1.0)
        log = {"number": number, "tens": tens, "square": squares["square"]}
        return mox.ModelSpec(
            loss=weight * tf.reduce_mean(tf.cast(number, tf.float32)),
            log_info={name: tf.reduce_mean(tf.cast(each, tf.float32)) for name, each in log.items()},
            export_spec=mox.ExportSpec({"tens": tens}, {"y": number + tens}) if mode == mox.ModeKeys.EXPORT else None,
        )

    job = {"input_fn": _spec_of_numbers, "model_fn": model_fn, "batch_size": 4, "log_dir": tmp_path}
    sgd = mox.get_optimizer_fn("sgd", 1.0)
    trained = mox.run(run_mode=mox.ModeKeys.TRAIN, max_number_of_steps=2, optimizer_fn=sgd, **job)
    assert trained.metrics == {"number": 2.5, "tens": 25.0, "square": (16 + 25 + 0 + 1) / 4}
    found = mox.run(run_mode=mox.ModeKeys.EVAL, export_model=mox.ExportKeys.TF_SERVING, **job)
    assert (found.samples, found.metrics) == (6, pytest.approx({"number": 2.5, "tens": 25.0, "square": 55 / 6}))
    serve = tf.saved_model.load(found.export_path).signatures["serving_default"]
    assert any("depend on inputs.get_input(0)[0] of model_fn" in line for line in said.lines)
    tensors = {name: tf.constant([value], tf.int64) for name, value in (("tens", 30), ("inputs_get_input_0_0", 3))}
    assert serve(**tensors)["y"].numpy().tolist() == [33]


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (
            lambda _: None,
            "input_fn returned mox.InputSpec(split_to_device=False) with 0 inputs in mode EVAL: add what it ",
        ),
        (lambda inputs: inputs.new_input([]), "InputSpec: new_input was given no tensors."),
        (
            lambda inputs: inputs.new_input(tf.data.Dataset.range(3)),
            "InputSpec: new_input was given a dataset, and takes tensors: write ",
        ),
        (lambda inputs: inputs.new_input([None]), "input_fn gives None for inputs.get_input(0)[0] in mode EVAL"),
        (lambda inputs: inputs.get_input(1), "InputSpec: there is no input 1; there are 0, numbered from 0."),
        (lambda _: mox.InputSpec("yes"), "InputSpec: split_to_device is 'yes'; it must be True or False."),
    ],
)
def test_what_no_input_spec_holds_is_refused(fill, words, trained):
    def input_fn(mode):
        del mode
        inputs = mox.InputSpec()
        fill(inputs)
        return inputs

    with pytest.raises(mox.UsageError) as refusal:
        _run(input_fn, lambda _: {}, log_dir=trained)
    assert str(refusal.value).startswith(words)


SPLIT_OVER_TWO = """
import json, sys
import mox_core as mox
mox.set_flag("num_gpus", 2)
mox.set_flag("clone_on_cpu", True)
mox.set_flag("log_first_clone", False)
import tensorflow as tf

SIZES = []

def input_fn(mode, split=True, make=lambda data: data, samples=6):
    data = tf.data.Dataset.range(samples)
    number = mox.get_next(make(data.repeat() if mode == mox.ModeKeys.TRAIN else data))
    inputs = mox.InputSpec(split_to_device=split)
    inputs.new_input([number, tf.cast(number, tf.float32)])
    return inputs

def model_fn(inputs, mode):
    number, as_float = inputs.get_input(0)
    SIZES.append(number.shape[0])
    weight = tf.compat.v1.get_variable("weight", initializer=1.0)
    mean = tf.reduce_mean(as_float)
    return mox.ModelSpec(loss=weight * mean, log_info={"mean": mean}, output_info={"number": number})

def train(name, steps, **options):
    result = mox.run(model_fn=model_fn, optimizer_fn=mox.get_optimizer_fn("sgd", 1.0), run_mode="TRAIN",
        max_number_of_steps=steps, log_dir=f"{sys.argv[1]}/{name}", **options)
    return float(tf.train.load_checkpoint(result.checkpoint).get_tensor("weight"))

def refused(**options):
    try:
        train("refused", 1, **options)
    except mox.MoxError as error:
        return f"{type(error).__name__}: {error}"

told = {"first": train("split", 1, input_fn=input_fn, batch_size=4)}
told |= {"resumed": train("split", 3, input_fn=input_fn, batch_size=4), "shapes": SIZES[:2]}
told["own"] = train("own", 1, input_fn=lambda mode: input_fn(mode, split=False), batch_size=4)
batched = lambda size: lambda mode: input_fn(mode, make=lambda data: data.batch(size))
told["batched"] = train("batched", 3, input_fn=batched(4), auto_batch=False, batch_size=4)
told["odd"] = refused(input_fn=input_fn, batch_size=3)
told["odd batches"] = refused(input_fn=batched(3), auto_batch=False)
told["scalar"] = refused(input_fn=input_fn)
outputs = []
job = {"input_fn": lambda mode: input_fn(mode, samples=5), "model_fn": model_fn, "batch_size": 4}
evaluated = mox.run(run_mode="EVAL", log_dir=f"{sys.argv[1]}/split", **job)
told |= {"mean": evaluated.metrics["mean"], "samples": evaluated.samples}
folder = f"{sys.argv[1]}/split"
mox.run(run_mode="PREDICT", checkpoint_path=folder, output_every_n_steps=1, output_fn=outputs.extend, **job)
told["outputs"] = [each["number"].tolist() for each in outputs]
print(json.dumps(told))
"""


def test_two_replicas_share_each_batch_of_an_input_spec_that_is_split(run_python, tmp_path):
    told = json.loads(run_python(SPLIT_OVER_TWO, tmp_path, timeout=120).stdout.splitlines()[-1])
    # Batches of 4 of 0..5, again and again: the gradient of the weight is the mean of a batch.
    assert told["first"] == 1.0 - (0 + 1 + 2 + 3) / 4
    assert told["resumed"] == told["batched"] == 1.0 - 1.5 - (4 + 5 + 0 + 1) / 4 - (2 + 3 + 4 + 5) / 4
    assert told["shapes"] == [2, 2]
    assert told["own"] == 1.0 - (0 + 1 + 2 + 3 + 4 + 5 + 0 + 1) / 8
    assert (told["mean"], told["samples"]) == (2.0, 5)  # of the last batch, one sample is left and one replica has none
    assert told["outputs"] == [[0, 1], [2, 3], [4]]
    assert told["odd"] == (
        "UsageError: a batch of 3 (inputs.get_input(0)[0]) cannot be split over 2 devices (split_to_device): make it a "
        "multiple of 2, or leave split_to_device out."
    )
    assert "a batch cannot be split over 2 devices (split_to_device)" in told["odd batches"]
    assert told["scalar"].startswith("UsageError: inputs.get_input(0)[0] is a scalar, which cannot be split over 2")
