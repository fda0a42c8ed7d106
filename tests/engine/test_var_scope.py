"""Mixed precision: float32 variables under a half-precision computation, by `mox.var_scope` and by Keras's policy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox

HALVES = [tf.float16, tf.bfloat16]


def _train(model_fn, log_dir=None, steps=1, **options):
    return mox.run(
        **{
            "input_fn": lambda mode: tf.constant([1.0, -2.0, 0.5]),  # noqa: ARG005
            "model_fn": model_fn,
            "optimizer_fn": lambda: tf.compat.v1.train.MomentumOptimizer(0.1, 0.9),
            "run_mode": mox.ModeKeys.TRAIN,
            "batch_size": 2,
            "log_dir": log_dir,
            "max_number_of_steps": steps,
            **options,
        }
    )


def _look(body, **options):
    """What a function gives inside of model_fn; a weight beside it lets the run train."""
    seen = []

    def model_fn(inputs, mode):
        del mode
        seen.append(body(inputs[0]))
        return mox.ModelSpec(loss=tf.compat.v1.get_variable("beside", []))

    _train(model_fn, **options)
    return seen[0]


def test_the_manuals_lines_print_a_cast_and_keep_a_float32_variable():
    def body(_):
        with mox.var_scope(force_dtype=tf.float32):
            a = tf.compat.v1.get_variable("a", shape=[], dtype=tf.float16)
        return repr(a), str(a), repr(tf.compat.v1.global_variables()[0]), a.dtype

    a, printed, variable, dtype = _look(body)
    assert printed == 'Tensor("Cast:0", shape=(), dtype=float16)'
    assert a == "<tf.Tensor 'Cast:0' shape=() dtype=float16>"
    assert variable == "<tf.Variable 'a:0' shape=() dtype=float32>"
    assert dtype == tf.float16


@pytest.mark.parametrize("asked", [tf.float32, tf.int64, tf.bool])
def test_what_needs_no_cast_is_the_variable_itself(asked):
    def body(_):
        with mox.var_scope(force_dtype=tf.float32):
            return tf.compat.v1.get_variable(
                "a", [2], asked, initializer=tf.compat.v1.zeros_initializer(), trainable=False
            )

    variable = _look(body)
    assert isinstance(variable, tf.Variable)
    assert variable.dtype == asked


@pytest.mark.parametrize(
    "value", [lambda: np.float16([0.1, 3.0]), lambda: tf.constant([0.1, 3.0], tf.float16)], ids=["numpy", "tensor"]
)
def test_an_initial_value_decides_about_the_type_as_ever(value, variables, tmp_path):
    def body(_):
        with mox.var_scope(force_dtype=tf.float32):
            return tf.compat.v1.get_variable("a", initializer=value()).dtype

    assert _look(body, log_dir=tmp_path) == tf.float16
    found = variables(tmp_path / "model.ckpt-0")["a"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.float32(np.float16([0.1, 3.0])))


@pytest.mark.parametrize("half", HALVES, ids=lambda dtype: dtype.name)
def test_gradients_and_slots_are_those_of_the_float32_variable(half, variables, tmp_path):
    def model_fn(inputs, mode):
        del mode
        with mox.var_scope(force_dtype=tf.float32):
            w = tf.compat.v1.get_variable("w", [3], half, initializer=tf.compat.v1.ones_initializer())
        return mox.ModelSpec(loss=tf.cast(tf.reduce_sum(w * tf.cast(inputs[0][0], half)), tf.float32))

    found = variables(_train(model_fn, tmp_path, steps=2).checkpoint)
    assert found["w"].dtype == found["w/Momentum"].dtype == np.float32
    # The gradient is the input; the steps are 0.1 and 0.1 * 1.9 of it. Half precision would miss these by more.
    np.testing.assert_allclose(found["w"], 1 - 0.29 * np.float32([1.0, -2.0, 0.5]), rtol=1e-6)


def test_reuse_gives_one_variable_and_a_regularizer_sees_it_once():
    def body(_):
        regularizer = keras.regularizers.L2(0.5)
        for reuse in (None, True, tf.compat.v1.AUTO_REUSE):
            with tf.compat.v1.variable_scope("s", reuse=reuse), mox.var_scope(force_dtype=tf.float32):
                options = {"initializer": tf.compat.v1.ones_initializer(), "regularizer": regularizer}
                w = tf.compat.v1.get_variable("w", [2, 3], tf.float16, **options)
                assert w.dtype == tf.float16
        losses = mox.get_collection(tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES)
        return [loss.dtype for loss in losses], [v.name for v in tf.compat.v1.trainable_variables()]

    assert _look(body) == ([tf.float16], ["s/w:0"])


@pytest.mark.parametrize("half", HALVES, ids=lambda dtype: dtype.name)
def test_the_loss_of_half_precision_logits_and_the_losses_of_regularizers_add_up(half, variables, tmp_path):
    begin = np.float32([1e-3, 2.0, 3.0])  # the square of the first is nothing in float16 beside the others

    def regularizer(weight):
        return 0.5 * tf.reduce_sum(weight**2)

    def model_fn(inputs, mode):
        del mode
        with mox.var_scope(force_dtype=tf.float32):
            outer = tf.compat.v1.variable_scope("scope", regularizer=regularizer)
            with outer:  # by the scope, by the variable, by none
                options = {"dtype": half, "initializer": lambda *_, **__: tf.constant(begin)}
                weights = [
                    tf.compat.v1.get_variable("a", [3], **options),
                    tf.compat.v1.get_variable("b", [3], regularizer=lambda w: tf.reduce_sum(abs(w)), **options),
                    tf.compat.v1.get_variable("c", [3], regularizer=lambda w: None, **options),  # noqa: ARG005
                ]
        logits = tf.add_n(weights) * tf.cast(inputs[0], half)
        losses = mox.get_collection(tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES)
        assert losses == tf.compat.v1.losses.get_regularization_losses()
        assert [loss.dtype for loss in losses] == [half, half]
        return mox.ModelSpec(loss=tf.add_n([tf.reduce_mean(logits) * 0, *losses]))

    options = {"optimizer_fn": lambda: tf.compat.v1.train.GradientDescentOptimizer(0.5)}
    found = variables(_train(model_fn, tmp_path, steps=1, **options).checkpoint)
    # The gradient of the squares is the weight, that of the absolute values 1; all of it in float32.
    np.testing.assert_allclose(found["scope/a"], 0.5 * begin, rtol=1e-6)
    np.testing.assert_allclose(found["scope/b"], begin - 0.5, rtol=1e-6)
    np.testing.assert_array_equal(found["scope/c"], begin)


@pytest.mark.parametrize("half", HALVES, ids=lambda dtype: dtype.name)
def test_the_total_loss_of_several_types_is_of_the_widest(half, variables, tmp_path):
    def model_fn(inputs, mode):
        del mode
        losses = tf.compat.v1.losses
        with mox.var_scope(force_dtype=tf.float32):
            a = tf.compat.v1.get_variable(
                "a", [], half, initializer=tf.compat.v1.ones_initializer(), regularizer=lambda a: 0.25 * a**2
            )
        b = tf.compat.v1.get_variable("b", initializer=1.0, regularizer=lambda b: 0.125 * b**2)
        losses.add_loss(a * 2)
        total = [losses.get_total_loss(add_regularization_losses=False)]
        losses.add_loss(b * 2.0**-12)  # nothing beside 2 in half precision
        total += [losses.get_total_loss(), losses.get_regularization_loss()]
        assert [each.dtype for each in total] == [half, tf.float32, tf.float32]
        return mox.ModelSpec(loss=total[1] + 0 * inputs[0][0, 0], log_info={"loss": total[1]})

    options = {"optimizer_fn": lambda: tf.compat.v1.train.GradientDescentOptimizer(0.5)}
    result = _train(model_fn, tmp_path, steps=1, **options)
    assert result.metrics["loss"] == 2 + 0.25 + 0.125 + 2.0**-12
    found = variables(result.checkpoint)
    assert (found["a"], found["b"]) == (1 - 0.5 * 2.5, 1 - 0.5 * (0.25 + 2.0**-12))


def test_scopes_outside_and_inside_keep_their_names_getters_and_initializers():
    def body(_):
        noted = []

        def noting(getter, name, *args, **kwargs):
            noted.append((name, kwargs["dtype"]))
            return getter(name, *args, **kwargs)

        ones = tf.compat.v1.ones_initializer()
        with tf.compat.v1.variable_scope("a", initializer=ones, custom_getter=noting):
            with mox.var_scope(force_dtype=tf.float32), tf.compat.v1.variable_scope("b"):
                inside = tf.compat.v1.get_variable("w", [], tf.float16)
            outside = tf.compat.v1.get_variable("v", [], tf.float16)
        names = [variable.name for variable in tf.compat.v1.global_variables()]
        return noted, names, inside.name, outside.dtype.base_dtype

    noted, names, inside, outside = _look(body)
    assert noted == [("a/b/w", tf.float32), ("a/v", tf.float16)]
    assert names == ["a/b/w:0", "a/v:0"]
    assert inside == "Cast:0"  # made outside of all name scopes, as variables are
    assert outside == tf.float16


def test_without_a_type_nothing_is_forced():
    def body(_):
        with mox.var_scope():
            return tf.compat.v1.get_variable("a", [], tf.float16)

    assert isinstance(_look(body), tf.Variable)


@pytest.mark.parametrize("dtype", [tf.int32, "half of it", 3.5])
def test_what_is_no_floating_point_type_is_refused(dtype):
    with pytest.raises(mox.UsageError) as refusal, mox.var_scope(force_dtype=dtype):
        pass
    assert str(refusal.value) == (f"force_dtype is {dtype!r}, which must be a floating-point type such as tf.float32.")


@pytest.mark.filterwarnings("ignore:`layer.apply` is deprecated")  # slim calls it
@pytest.mark.parametrize("half", HALVES, ids=lambda dtype: dtype.name)
def test_layers_of_slim_keep_float32_variables(half, variables, tmp_path):
    tf_slim = pytest.importorskip("tf_slim")

    def model_fn(inputs, mode):
        images = tf.reshape(tf.cast(inputs[0], half), [2, 1, 3, 1])
        with mox.var_scope(force_dtype=tf.float32):
            net = tf_slim.conv2d(images, 4, 3, weights_regularizer=tf_slim.l2_regularizer(0.1), scope="conv")
            net = tf_slim.fully_connected(tf.reshape(net, [2, 12]), 1, scope="fc")
        assert net.dtype == half
        losses = mox.get_collection(tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES)
        assert [loss.dtype for loss in losses] == [half]  # slim regularizes what it is given: the cast
        assert mode == mox.ModeKeys.TRAIN
        return mox.ModelSpec(loss=tf.add_n([tf.cast(each, tf.float32) for each in (tf.reduce_mean(net), *losses)]))

    found = variables(_train(model_fn, tmp_path, steps=2).checkpoint)
    weights = {name: value.dtype for name, value in found.items() if name.startswith(("conv/", "fc/"))}
    assert set(weights.values()) == {np.dtype(np.float32)}
    assert {"conv/weights", "conv/biases", "fc/weights", "fc/biases"} < set(weights)


@pytest.mark.parametrize("half", HALVES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("globally", [False, True])
def test_layers_of_keras_keep_float32_variables_by_their_policy(half, globally, variables, tmp_path):
    def model_fn(inputs, mode):
        before, policy = keras.config.dtype_policy(), f"mixed_{half.name}"
        if globally:
            keras.config.set_dtype_policy(policy)
        try:
            options = {} if globally else {"dtype": policy}
            net = keras.layers.Dense(4, **options)(inputs[0])
            net = keras.layers.BatchNormalization(**options)(net, training=mode == mox.ModeKeys.TRAIN)
            assert net.dtype == half
            net = keras.layers.Dense(1, **options)(net)
        finally:
            keras.config.set_dtype_policy(before)
        assert net.dtype == half
        return mox.ModelSpec(loss=tf.reduce_mean(tf.cast(net, tf.float32)))

    found = variables(_train(model_fn, tmp_path, steps=2).checkpoint)
    dtypes = {value.dtype for name, value in found.items() if name.startswith(("dense", "batch_normalization"))}
    assert dtypes == {np.dtype(np.float32)}
    assert len(found) >= 8
