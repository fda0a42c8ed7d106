"""Kinds of effects in `model_fn`: initial values that are put in once, updates of each step, what runs when fetched.

Expected: a loss that is the sum of the weights moves each by 1 a step with SGD(1), from the pretrained 3 and 4 on.
"""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_hooks.evaluation import LogEvaluationMetricHook

PRETRAINED = np.array([[3.0], [4.0]], np.float32)
v1 = tf.compat.v1


def dense():
    return keras.Sequential([keras.Input([2]), keras.layers.Dense(1, use_bias=False, name="head")], name="net")


def renamed():
    return keras.Sequential([keras.Input([2]), keras.layers.Dense(1, use_bias=False, name="mine")], name="own")


PRETRAINED_NET = dense()
PRETRAINED_NET.set_weights([PRETRAINED])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The weights in each format that can be read."""
    folder = tmp_path_factory.mktemp("pretrained")
    model = dense()
    model.set_weights([PRETRAINED])
    model.save_weights(folder / "net.weights.h5")
    model.save(folder / "net.keras")
    tf.train.Checkpoint(model=model).write(str(folder / "net.of_tf2"))
    tf.raw_ops.SaveV2(
        prefix=str(folder / "net.ckpt"),
        tensor_names=["old/kernel"],
        shape_and_slices=[""],
        tensors=[tf.constant(PRETRAINED)],
    )
    return folder


def by_set_weights(x, _):
    model = dense()
    model.set_weights([PRETRAINED])
    return model(x), model.weights[0]


def by_load_weights(x, folder):
    model = dense()
    model.load_weights(folder / "net.weights.h5")
    return model(x), model.weights[0]


def by_load_model(x, folder):
    model = keras.models.load_model(folder / "net.keras")
    return model(x), model.weights[0]


def by_copies_of_a_loaded_model(x, folder):
    loaded, model = keras.models.load_model(folder / "net.keras"), renamed()
    for variable, pretrained in zip(model.variables, loaded.variables, strict=True):
        variable.assign(pretrained)
    return model(x), model.weights[0]


def by_set_weights_of_variables(x, _):
    model = renamed()
    model.set_weights(PRETRAINED_NET.variables)
    return model(x), model.weights[0]


def by_tf1_assign_of_a_variable(x, _):
    kernel = v1.get_variable("kernel", [2, 1])
    v1.assign(kernel, PRETRAINED_NET.weights[0])
    return x @ kernel, kernel


def by_a_function_of_python(x, _):
    kernel = v1.get_variable("kernel", [2, 1])
    kernel.assign(tf.numpy_function(lambda: PRETRAINED, [], tf.float32))
    return x @ kernel, kernel


def by_the_weights_argument(x, _):
    layer = keras.layers.Embedding(2, 1, weights=[PRETRAINED], name="head")
    return x @ layer(tf.constant([0, 1])), layer.embeddings


def by_assigning_a_keras_variable(x, _):
    layer = keras.layers.Dense(1, use_bias=False, name="head")
    layer.build([None, 2])
    layer.kernel.assign(PRETRAINED)
    return layer(x), layer.kernel


def by_tf1_assign(x, _):
    kernel = v1.get_variable("head/kernel", [2, 1])
    v1.assign(kernel, tf.constant(PRETRAINED))
    return x @ kernel, kernel


def by_a_method_of_the_variable(x, _):
    kernel = v1.get_variable("head/kernel", [2, 1])
    kernel.assign(PRETRAINED + 0.0)
    return x @ kernel, kernel


def by_init_from_checkpoint(x, folder):
    kernel = v1.get_variable("head/kernel", [2, 1])
    v1.train.init_from_checkpoint(str(folder / "net.ckpt"), {"old/kernel": kernel})
    return x @ kernel, kernel


def by_get_weights(x, _):
    other = keras.Sequential([keras.Input([2]), keras.layers.Dense(1, use_bias=False, name="head")], name="other")
    other.set_weights([PRETRAINED / 2])
    model = dense()
    model.set_weights([2 * each for each in other.get_weights()])
    return model(x), model.weights[0]


def by_a_checkpoint_of_tf2(x, folder):
    model = dense()
    model.set_weights([PRETRAINED + 1])  # read comes later, and has the last word
    tf.train.Checkpoint(model=model).read(str(folder / "net.of_tf2")).assert_consumed()
    return model(x), model.weights[0]


WAYS = [
    by_set_weights,
    by_load_weights,
    by_load_model,
    by_the_weights_argument,
    by_assigning_a_keras_variable,
    by_tf1_assign,
    by_a_method_of_the_variable,
    by_init_from_checkpoint,
    by_get_weights,
    by_a_checkpoint_of_tf2,
    by_copies_of_a_loaded_model,
    by_set_weights_of_variables,
    by_tf1_assign_of_a_variable,
    by_a_function_of_python,
]


def ones(mode):
    data = tf.data.Dataset.from_tensors(tf.ones([2]))
    return data.repeat() if mode == mox.ModeKeys.TRAIN else data.repeat(3)


def run(model_fn, mode=mox.ModeKeys.TRAIN, steps=2, input_fn=ones, **options):
    return mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=(lambda: keras.optimizers.SGD(1.0)) if mode == mox.ModeKeys.TRAIN else None,
        run_mode=mode,
        batch_size=1,
        output_every_n_steps=1,
        max_number_of_steps=steps,
        log_every_n_steps=1,
        **options,
    )


@pytest.mark.parametrize("way", WAYS)
def test_training_begins_from_pretrained_weights_and_all_else_sees_the_checkpoint(way, files, tmp_path, caplog):
    def model_fn(inputs, _):
        output, kernel = way(inputs[0], files)
        total = tf.reduce_sum(tf.convert_to_tensor(kernel))
        hook = LogEvaluationMetricHook({"total": total}, 1, 1, 1)
        return mox.ModelSpec(
            loss=tf.reduce_sum(output),
            log_info={"total": total},
            output_info={"output": output},
            export_spec=mox.ExportSpec({"x": inputs[0]}, {"output": output, "kernel": tf.convert_to_tensor(kernel)}),
            hooks=[hook],
        )

    serving = {"export_model": mox.ExportKeys.TF_SERVING}
    with caplog.at_level("INFO"):
        trained = run(model_fn, log_dir=tmp_path, inter_mode=mox.ModeKeys.EVAL, **serving)
    # 7 before the first step, 2 less after each: validations come after a step, log lines show what it began with.
    assert [f"[VALIDATION METRICS] step: {n} total: {5 - 2 * n}.000" for n in (0, 1)] == [
        each.getMessage() for each in caplog.records if "VALIDATION" in each.getMessage()
    ]
    evaluated = run(model_fn, mox.ModeKeys.EVAL, 0, log_dir=tmp_path, **serving)
    assert evaluated.metrics == {"total": 3.0}
    for exported in (trained.export_path, evaluated.export_path):
        found = tf.saved_model.load(exported).signatures["serving_default"](x=tf.constant([[1.0, 10.0]]))
        assert found["output"].numpy().tolist() == [[21.0]]
        assert found["kernel"].numpy().tolist() == (PRETRAINED - 2).tolist()
    predicted = []
    run(model_fn, mox.ModeKeys.PREDICT, 1, log_dir=tmp_path, output_fn=predicted.extend)
    assert predicted[0]["output"].tolist() == [[3.0]]
    assert run(model_fn, steps=3, log_dir=tmp_path, inter_mode=mox.ModeKeys.EVAL).metrics == {"total": 3.0}


def test_an_assignment_of_tf1_runs_when_a_hook_fetches_it(tmp_path, caplog):
    def model_fn(inputs, _):
        weight = v1.get_variable("weight", initializer=10.0)
        target = v1.get_variable("target", initializer=0.0, trainable=False)
        copy = v1.assign(target, weight)

        class Copying(mox.AggregativeSessionRunHook):
            support_aggregation = support_sync_workers = run_inter_mode = lambda self: False  # noqa: ARG005

            def after_run(self, run_context, run_values):
                del run_values
                if run_context.step == 1:
                    run_context.session.run(copy)

        return mox.ModelSpec(loss=weight * inputs[0][0, 0], log_info={"target": target}, hooks=[Copying()])

    with caplog.at_level("INFO"):
        run(model_fn, steps=4, log_dir=tmp_path)
    shown = [each.getMessage().rpartition(" ")[2] for each in caplog.records if "sample/sec" in each.getMessage()]
    assert shown == ["0.000", "0.000", "8.000", "8.000"]  # 10, less 1 for each of two steps
    assert "Assignments by tf.compat.v1.assign (test_effects.py:" in caplog.text


def test_an_assignment_runs_in_each_step_where_update_ops_or_the_loss_say_so(tmp_path):
    def model_fn(inputs, _):
        weight = v1.get_variable("weight", initializer=10.0)
        by_collection = v1.get_variable("by_collection", initializer=0.0, trainable=False)
        by_loss = v1.get_variable("by_loss", initializer=0.0, trainable=False)
        by_method = v1.get_variable("by_method", initializer=0.0, trainable=False)
        v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, v1.assign_add(by_collection, 1.0))
        by_method.assign_add(1.0)
        with tf.control_dependencies([v1.assign_add(by_loss, 1.0)]):
            loss = weight * inputs[0][0, 0]
        return mox.ModelSpec(loss=loss)

    run(model_fn, steps=3, log_dir=tmp_path)
    reader = tf.train.load_checkpoint(str(tmp_path))
    assert [reader.get_tensor(name) for name in ("by_collection", "by_loss", "by_method")] == [3.0, 3.0, 3.0]


def _assigned_and_got():
    model = dense()
    model.weights[0].value.assign(PRETRAINED)
    return model.get_weights()


OF_NO_STEP = {
    "numpy": (lambda: np.array(dense().weights[0]), "'net/head/kernel' has no value yet .*with tf.init_scope"),
    "numpy of TF": (lambda: v1.get_variable("w", [1]).numpy(), "'w' has no value yet .*with tf.init_scope"),
    "load": (lambda: v1.get_variable("w", [1]).load([1.0]), "Variable.load in model_fn .*checkpoint_path"),
    "Saver": (
        lambda: v1.train.Saver([v1.get_variable("w", [1])]).restore(None, "x"),
        "Saver.restore in model_fn .*checkpoint_path",
    ),
    "assigned before": (_assigned_and_got, "'net/head/kernel' the value from before an assignment"),
}


@pytest.mark.parametrize("what", OF_NO_STEP)
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_what_would_read_or_load_a_variable_in_no_step_is_refused_with_what_to_write(what):
    call, words = OF_NO_STEP[what]
    with pytest.raises(mox.UsageError, match=words):
        run(lambda inputs, mode: call())  # noqa: ARG005


class Counter(keras.layers.Layer):
    """Counts its calls in any mode, as Keras lets it."""

    def build(self, shape):
        del shape
        self.calls = self.add_weight(shape=[], initializer="zeros", trainable=False, name="calls")

    def call(self, x):
        self.calls.assign_add(1.0)
        return x


def test_evaluations_leave_the_model_as_it_is(tmp_path, caplog):
    """Of a weight w the average is w at first, and 0.5 average + 0.5 w with the w of the beginning of each step."""

    def model_fn(inputs, mode):
        weight = v1.get_variable("weight", initializer=10.0)
        count = v1.get_variable("count", initializer=0.0, trainable=False)
        average = tf.train.ExponentialMovingAverage(0.5)
        v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, average.apply([weight]))
        count.assign_add(1.0)
        x = Counter(name="counter")(inputs[0][0, 0])
        mean = average.average(weight)
        used = weight if mode == mox.ModeKeys.TRAIN else mean
        info = {"mean": mean, "count": count}
        return mox.ModelSpec(
            loss=used * x,
            log_info=info,
            output_info=info,
            hooks=[LogEvaluationMetricHook(info, 1, 1, 3)],
            export_spec=mox.ExportSpec({"x": inputs[0]}, {"y": used * x, "count": count.read_value()}),
        )

    serving = {"export_model": mox.ExportKeys.TF_SERVING}
    trained = run(model_fn, steps=3, log_dir=tmp_path, inter_mode=mox.ModeKeys.EVAL, **serving)
    reader = tf.train.load_checkpoint(str(tmp_path))
    # The weights were 10, 9 and 8: 10, then 9.5, then 8.75.
    moved = {"count": 3.0, "weight/ExponentialMovingAverage": 8.75, "counter/calls": 3.0, "weight": 7.0}
    assert {name: reader.get_tensor(name) for name in moved} == moved
    with caplog.at_level("INFO"):
        evaluated = run(model_fn, mox.ModeKeys.EVAL, 3, log_dir=tmp_path)
    assert evaluated.metrics == {"mean": 8.75, "count": 3.0}
    assert "Assignments to variables of the model (test_effects.py:" in caplog.text
    predicted = []
    run(model_fn, mox.ModeKeys.PREDICT, 3, log_dir=tmp_path, output_fn=predicted.extend)
    assert [(each["mean"], each["count"]) for each in predicted] == [(8.75, 3.0)] * 3
    serve = tf.saved_model.load(trained.export_path).signatures["serving_default"]
    for _ in range(2):
        assert {name: float(value) for name, value in serve(x=tf.ones([1, 2])).items()} == {"y": 8.75, "count": 3.0}


def test_an_assignment_against_the_training_is_named_unless_update_ops_say_so(tmp_path, caplog):
    def model_fn(inputs, _):
        loss = 0.0
        for name in ("shrunk", "drawn", "meant"):
            weight = v1.get_variable(name, initializer=8.0)
            value = tf.random.normal([]) if name == "drawn" else weight * 0.5
            assigned = weight.assign(value)  # the line
            if name == "meant":
                v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, assigned)
            loss += weight * inputs[0][0, 0]
        with tf.init_scope():
            once = v1.get_variable("once", initializer=8.0)
            once.assign(once * 0.5)
        return mox.ModelSpec(loss=loss + once)

    with caplog.at_level("INFO"):
        run(model_fn, steps=2, log_dir=tmp_path)
    (warning,) = [each.getMessage() for each in caplog.records if "beside the optimizer" in each.getMessage()]
    line = next(
        number for number, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "# the line" in text
    )
    assert f"({Path(__file__).name}:{line})" in warning
    assert "tf.init_scope()" in warning
    reader = tf.train.load_checkpoint(str(tmp_path))
    # Halved, then 1 less by the optimizer, twice.
    assert [reader.get_tensor(name) for name in ("shrunk", "meant", "once")] == [0.5, 0.5, 2.0]


@pytest.mark.parametrize("first", [True, False])
def test_a_metric_that_is_reset_in_model_fn_counts_over_the_set(first, tmp_path, caplog):
    def model_fn(inputs, _):
        weight = v1.get_variable("weight", initializer=1.0)
        mean = keras.metrics.Mean(name="mean")
        if first:
            mean.reset_state()
        mean.update_state(inputs[0][:, 0])
        if not first:
            mean.result()
            mean.reset_state()
        return mox.ModelSpec(loss=weight * inputs[0][0, 0], log_info={"mean": mean})

    def numbers(mode):
        data = tf.data.Dataset.from_tensor_slices([[1.0], [2.0], [6.0]])
        return data.repeat() if mode == mox.ModeKeys.TRAIN else data

    with caplog.at_level("INFO"):
        run(model_fn, steps=1, log_dir=tmp_path, input_fn=numbers)
    assert "Metrics are reset in model_fn (test_effects.py:" in caplog.text
    assert run(model_fn, mox.ModeKeys.EVAL, 0, log_dir=tmp_path, input_fn=numbers).metrics == {"mean": 3.0}
