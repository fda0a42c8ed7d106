"""A variable's name is its identity: the same in every mode, run and process, whatever was made before."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox


def _v1(inputs):
    with tf.compat.v1.variable_scope("net"):
        weights = tf.compat.v1.get_variable("weights", [3, 2])
        with tf.compat.v1.variable_scope("inner"):
            bias = tf.compat.v1.get_variable("bias", [2], initializer=tf.compat.v1.zeros_initializer())
    return inputs @ weights + bias


def _keras(inputs):
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(4)(inputs))
    return keras.layers.Dense(2)(keras.layers.Dropout(0.5)(hidden, training=True))


def _functional(inputs):
    entry = keras.Input([3])
    hidden = keras.layers.Dense(4, name="hidden")(entry)
    return keras.Model(entry, keras.layers.Dense(2)(hidden))(inputs)


def _subclassed(inputs):
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.cell = keras.layers.Dense(4), keras.layers.LSTM(2)

        def call(self, images):
            return self.cell(self.first(images)[:, tf.newaxis])

    return Net()(inputs)


def _mixed(inputs):
    with tf.compat.v1.variable_scope("net"):
        hidden = _keras(inputs)
    scale = tf.Variable([1.0, 1.0], name="scale")
    again = tf.Variable([0.0, 0.0], name="scale")
    return _v1(inputs) + hidden * scale + again


NETWORKS = {
    _v1: {"net/weights", "net/inner/bias"},
    _keras: {
        "dense/kernel",
        "dense/bias",
        *(f"batch_normalization/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")),
        "seed_generator/seed_generator_state",
        "dense_1/kernel",
        "dense_1/bias",
    },
    _functional: {"hidden/kernel", "hidden/bias", "dense/kernel", "dense/bias"},
    _subclassed: {
        "net/dense/kernel",
        "net/dense/bias",
        # Without the random state that the cell makes and does not draw from.
        *(f"net/lstm/lstm_cell/{name}" for name in ("kernel", "recurrent_kernel", "bias")),
    },
}
NETWORKS[_mixed] = NETWORKS[_v1] | {f"net/{name}" for name in NETWORKS[_keras]} | {"scale", "scale_1"}
OF_MOX = {"global_step", "mox/input_positions", "mox/seed"}


def _input_fn(mode):
    del mode
    return tf.constant([1.0, -2.0, 0.5])


def _model_fn(network, modes=None):
    def model_fn(inputs, mode):
        if modes is not None:
            modes.append(mode)
        logits = network(inputs[0])
        loss = tf.reduce_mean((logits - 1) ** 2)
        export_spec = mox.ExportSpec({"x": inputs[0]}, {"logits": logits})
        return mox.ModelSpec(loss=loss, log_info={"loss": loss}, output_info={"x": logits}, export_spec=export_spec)

    return model_fn


def _train(model_fn, log_dir, steps=2, **options):
    return mox.run(
        input_fn=_input_fn,
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=2,
        log_dir=log_dir,
        max_number_of_steps=steps,
        **options,
    )


def _evaluate(model_fn, log_dir, **options):
    return mox.run(
        input_fn=_input_fn,
        model_fn=model_fn,
        run_mode=mox.ModeKeys.EVAL,
        batch_size=2,
        log_dir=log_dir,
        max_number_of_steps=1,
        **options,
    )


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__.strip("_"))
def test_names_are_the_same_in_every_mode_and_run(network, variables, tmp_path):
    def exporter(model, directory):
        del directory
        exported.update(variable.name for variable in model.variables)

    exported, modes = set(), []
    first = _train(_model_fn(network, modes), tmp_path / "first", export_model=exporter)
    assert modes == [mox.ModeKeys.TRAIN, mox.ModeKeys.EXPORT]
    assert set(variables(first.checkpoint)) == NETWORKS[network] | OF_MOX
    assert {name.removesuffix(":0") for name in exported} <= NETWORKS[network]
    assert any("kernel" in name or "weights" in name for name in exported)

    # Keras counts layers for the whole process, TensorFlow adds suffixes of its own.
    keras.Sequential([keras.layers.Dense(1), keras.layers.Dense(1), keras.layers.BatchNormalization()]).build([1, 3])
    tf.Variable(0.0, name="scale")
    second = _train(_model_fn(network), tmp_path / "second")
    assert set(variables(second.checkpoint)) == NETWORKS[network] | OF_MOX

    # EVAL finds every variable under its name, or refuses.
    result = _evaluate(_model_fn(network), tmp_path / "second")
    assert result.global_step == 2
    if network in (_v1, _functional, _subclassed):  # the others normalize and drop
        again = _evaluate(_model_fn(network), tmp_path / "second")
        assert again.metrics == result.metrics


def test_the_counters_of_keras_go_on_after_a_run_where_they_were_before_it(tmp_path):
    before = int(keras.layers.Dense(1).name.partition("_")[2] or 0)
    _train(_model_fn(_keras), tmp_path)
    assert keras.layers.Dense(1).name == f"dense_{before + 1}"


def test_a_second_run_in_the_process_starts_clean(variables, tmp_path):
    def at_the_start(log_dir, seed):
        tf.random.set_seed(seed)
        _train(_model_fn(_mixed), log_dir)
        return variables(log_dir / "model.ckpt-0")

    first, second = at_the_start(tmp_path / "a", 5), at_the_start(tmp_path / "b", 5)
    assert set(first) == set(second)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
    assert first["global_step"] == 0
    other = at_the_start(tmp_path / "c", 6)
    assert not np.array_equal(first["net/weights"], other["net/weights"])


@pytest.mark.parametrize(
    ("initializer", "value"),
    [
        (lambda: tf.zeros([2, 3]), np.zeros([2, 3])),
        (lambda: tf.constant([[1.0, 2.0]]), [[1.0, 2.0]]),
        (lambda: [3.0, 4.0], [3.0, 4.0]),
        (lambda: np.float32([5.0]), [5.0]),
        (lambda: tf.linspace(0.0, 1.0, 3) * tf.reduce_sum(tf.ones([4])), [0.0, 2.0, 4.0]),
        (lambda: tf.cond(tf.reduce_sum(tf.ones([3])) > 2, lambda: tf.fill([1], 7.0), lambda: tf.zeros([1])), [7.0]),
        (tf.function(lambda: tf.range(3.0) + 1), [1.0, 2.0, 3.0]),
    ],
    ids=["zeros", "constant", "list", "numpy", "computed", "cond", "tf.function"],
)
def test_a_variable_begins_with_what_its_initializer_gives(initializer, value, variables, tmp_path):
    def model_fn(inputs, mode):
        del inputs, mode
        variable = tf.compat.v1.get_variable("v", initializer=initializer())
        return mox.ModelSpec(loss=tf.reduce_sum(variable) * 0.0)

    _train(model_fn, tmp_path, steps=1)
    np.testing.assert_allclose(variables(tmp_path / "model.ckpt-0")["v"], value)


def test_a_random_tensor_is_an_initial_value_that_stays(variables, tmp_path):
    def model_fn(inputs, mode):
        del inputs, mode
        one = tf.compat.v1.get_variable("one", initializer=tf.random.normal([500], mean=3.0))
        two = tf.Variable(tf.random.normal([500], mean=3.0), name="two")
        return mox.ModelSpec(loss=tf.reduce_sum(one * two) * 0.0)

    _train(model_fn, tmp_path, steps=4)
    begin, end = variables(tmp_path / "model.ckpt-0"), variables(tmp_path / "model.ckpt-4")
    for name in ("one", "two"):
        np.testing.assert_array_equal(begin[name], end[name])
        assert abs(begin[name].mean() - 3) < 0.2  # four standard errors
        assert 0.85 < begin[name].std() < 1.15
    assert not np.array_equal(begin["one"], begin["two"])


def test_a_variable_may_begin_with_the_value_of_another(variables, tmp_path):
    def model_fn(inputs, mode):
        del inputs, mode
        first = tf.compat.v1.get_variable("first", initializer=tf.random.normal([3]))
        second = tf.compat.v1.get_variable("second", initializer=first.read_value() * 2)
        return mox.ModelSpec(loss=tf.reduce_sum(first * second))

    _train(model_fn, tmp_path, steps=1)
    found = variables(tmp_path / "model.ckpt-0")
    np.testing.assert_array_equal(found["second"], 2 * found["first"])


def test_an_initial_value_from_input_data_is_refused(tmp_path):
    def model_fn(inputs, mode):
        del mode
        mean = tf.compat.v1.get_variable("mean", initializer=tf.reduce_mean(inputs[0], axis=0))
        return mox.ModelSpec(loss=tf.reduce_sum(mean))

    with pytest.raises(
        mox.UsageError, match=r"the initial value of variable 'mean' is computed from input data .* which"
    ):
        _train(model_fn, tmp_path)


def test_the_beginning_of_a_variable_does_not_depend_on_what_was_made_before_it(variables, tmp_path):
    def begin(log_dir, *, more):
        def network(inputs):
            if more:
                tf.compat.v1.get_variable("another", [3, 2])
            return _v1(inputs) + keras.layers.Dense(2, name="head")(inputs)

        tf.random.set_seed(3)
        _train(_model_fn(network), log_dir, steps=1)
        return variables(log_dir / "model.ckpt-0")

    few, many = begin(tmp_path / "few", more=False), begin(tmp_path / "many", more=True)
    np.testing.assert_array_equal(few["net/weights"], many["net/weights"])
    np.testing.assert_array_equal(few["head/kernel"], many["head/kernel"])


def test_reuse_gives_the_same_variable(variables, tmp_path):
    def model_fn(inputs, mode):
        del inputs, mode
        with tf.compat.v1.variable_scope("s"):
            one = tf.compat.v1.get_variable("v", initializer=1.0)
        with tf.compat.v1.variable_scope("s", reuse=tf.compat.v1.AUTO_REUSE):
            same = tf.compat.v1.get_variable("v", [])
        assert one is same
        return mox.ModelSpec(loss=one * same)

    result = _train(model_fn, tmp_path, steps=1)
    assert variables(result.checkpoint)["s/v"] == pytest.approx(1 - 0.1 * 2)  # d(v * v) = 2v


def test_a_caching_device_changes_nothing(variables, tmp_path):
    def model_fn(inputs, mode):
        del inputs, mode
        with tf.compat.v1.variable_scope("s", caching_device=lambda op: op.device):  # as dynamic_rnn has it
            weight = tf.compat.v1.get_variable("v", initializer=1.0)
        return mox.ModelSpec(loss=weight * weight)

    result = _train(model_fn, tmp_path, steps=2)
    assert variables(result.checkpoint)["s/v"] == pytest.approx((1 - 0.1 * 2) ** 2)


def test_a_shape_that_differs_between_modes_is_refused(tmp_path):
    def model_fn(inputs, mode):
        size = 3 if mode == mox.ModeKeys.TRAIN else 4
        weights = tf.compat.v1.get_variable("weights", [size])
        loss = tf.reduce_sum(weights)
        return mox.ModelSpec(loss=loss, export_spec=mox.ExportSpec({"x": inputs[0]}, {"y": loss + inputs[0]}))

    with pytest.raises(mox.UsageError) as refusal:
        _train(model_fn, tmp_path, export_model=lambda model, directory: None)  # noqa: ARG005
    assert str(refusal.value) == (
        "variable 'weights' has shape (3,) in one mode and (4,) in another. "
        "The modes of a run share their variables by name: give both the same shape, or other names."
    )
