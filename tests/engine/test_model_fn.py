"""`model_fn`: how often it is called, what it may return, and what its losses move."""

import fnmatch
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox


def _run(regression, model_fn, run_mode=mox.ModeKeys.TRAIN, **options):
    return mox.run(
        **{
            "input_fn": regression.input_fn,
            "model_fn": model_fn,
            "optimizer_fn": regression.sgd,
            "run_mode": run_mode,
            "batch_size": 8,
            "max_number_of_steps": 2,
            **options,
        }
    )


def _scope(name, value, inputs):
    """A weight in a variable scope, multiplied by the number one."""
    with tf.compat.v1.variable_scope(name):
        return tf.compat.v1.get_variable("w", initializer=value) * tf.reduce_mean(inputs[0] * 0 + 1)


def test_it_is_called_once_a_mode_whatever_the_number_of_steps(regression, every_step):
    calls = []

    def model_fn(inputs, mode, **kwargs):
        assert kwargs == {}
        calls.append((mode, type(inputs), [tuple(tensor.shape) for tensor in inputs]))
        spec = regression.model_fn(inputs, mode)
        return mox.ModelSpec(loss=spec.loss, hooks=[every_step()])

    _run(regression, model_fn, max_number_of_steps=9)
    assert calls == [("TRAIN", list, [(8, 3), (8,)])]


def test_the_mode_may_be_called_run_mode(regression):
    def model_fn(inputs, run_mode):
        return regression.model_fn(inputs, run_mode)

    assert _run(regression, model_fn).steps == 2


@pytest.mark.parametrize(
    ("run_mode", "missing"),
    [("TRAIN", "loss"), ("EVAL", "log_info"), ("PREDICT", "output_info")],
)
@pytest.mark.parametrize("empty", [False, True])
def test_what_the_mode_needs_is_asked_for_by_name(run_mode, missing, empty, regression, tmp_path):
    _run(regression, regression.model_fn, log_dir=tmp_path)

    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        fields = {"loss": spec.loss, "log_info": spec.log_info, "output_info": spec.output_info}
        del fields[missing]
        return mox.ModelSpec(**fields, **({missing: {}} if empty and missing != "loss" else {}))

    with pytest.raises(mox.UsageError) as refusal:
        _run(regression, model_fn, run_mode, log_dir=tmp_path, output_fn=print, output_every_n_steps=1)
    assert str(refusal.value) == (
        f"model_fn returned a ModelSpec without {missing} in mode {run_mode}, which needs it: "
        f"pass ModelSpec({missing}=...)."
    )


@pytest.mark.parametrize("returned", [None, 1.0, (1, 2)])
def test_what_is_no_model_spec_is_refused(returned, regression):
    with pytest.raises(mox.UsageError) as refusal:
        _run(regression, lambda inputs, mode: returned)  # noqa: ARG005
    assert str(refusal.value) == f"model_fn returned {returned!r} in mode TRAIN. It returns a mox.ModelSpec(...)."


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            lambda loss: {"loss": loss, "log_info": {"loss": loss, "per_sample": tf.zeros([8])}},
            "ModelSpec log_info['per_sample'] is a float32 tensor of shape (8,). It must be a scalar number: ",
        ),
        (
            lambda loss: {"loss": loss, "log_info": {"name": tf.constant("x")}},
            "ModelSpec log_info['name'] is a string tensor of shape (). It must be a scalar number: ",
        ),
        (
            lambda loss: {"loss": tf.stack([loss, loss])},
            "ModelSpec loss is a float32 tensor of shape (2,). It must be a scalar number: ",
        ),
        (
            lambda loss: {"loss": [loss, tf.stack([loss, loss])]},
            "ModelSpec loss[1] is a float32 tensor of shape (2,). It must be a scalar number: ",
        ),
    ],
)
def test_what_is_no_number_is_refused_by_name(fields, text, regression):
    def model_fn(inputs, mode):
        return mox.ModelSpec(**fields(regression.model_fn(inputs, mode).loss))

    with pytest.raises(mox.UsageError) as refusal:
        _run(regression, model_fn)
    assert str(refusal.value) == f"{text}use tf.reduce_mean, for instance."


def test_log_info_takes_numbers_of_every_kind(regression):
    def model_fn(inputs, mode):
        return mox.ModelSpec(
            loss=regression.model_fn(inputs, mode).loss,
            log_info={
                "half": tf.constant(0.5, tf.float16),
                "double": tf.constant(0.1, tf.float64),
                "big": tf.constant(2**40 + 1, tf.int64),
                "true": tf.constant(True),
                "plain": 3,
            },
        )

    metrics = _run(regression, model_fn).metrics
    assert metrics == {"half": 0.5, "double": 0.1, "big": 2**40 + 1, "true": 1.0, "plain": 3.0}


def test_an_error_in_model_fn_is_the_users_own(regression):
    def model_fn(inputs, mode):
        del inputs, mode
        raise ZeroDivisionError("of the user")

    with pytest.raises(ZeroDivisionError, match="of the user"):
        _run(regression, model_fn)


def test_an_assertion_in_the_model_ends_the_run_with_its_words(regression):
    def model_fn(inputs, mode):
        tf.debugging.assert_less(tf.shape(inputs[0])[0], 4, message="batches are too big")
        return regression.model_fn(inputs, mode)

    with pytest.raises(tf.errors.InvalidArgumentError, match="batches are too big"):
        _run(regression, model_fn, input_fn=lambda mode: regression.input_fn(mode).batch(8), batch_size=None)


def test_two_losses_each_move_their_scopes_from_the_same_weights(regression, variables, tmp_path):
    def model_fn(inputs, mode):
        del mode
        a, b = _scope("a", 1.0, inputs), _scope("b", 2.0, inputs)
        # Losses of both weights: what a loss does to the other's scope must not happen.
        return mox.ModelSpec(loss=[a * b, a * b * b], var_scopes=[["a"], ["b"]], log_info={"ab": a * b})

    result = _run(regression, model_fn, log_dir=tmp_path, max_number_of_steps=1)
    found = variables(result.checkpoint)
    assert found["a/w"] == pytest.approx(1 - 0.1 * 2)  # d(ab)/da = b = 2
    assert found["b/w"] == pytest.approx(2 - 0.1 * 2 * 1 * 2)  # d(abb)/db = 2ab = 4, with the a of before the step


def test_a_list_of_optimizers_has_one_for_each_loss(regression, variables, tmp_path):
    def model_fn(inputs, mode):
        del mode
        a, b = _scope("a", 1.0, inputs), _scope("b", 1.0, inputs)
        return mox.ModelSpec(loss=[a, b], var_scopes=[["a"], ["b"]])

    rates = [lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1), lambda: keras.optimizers.SGD(0.01)]
    result = _run(regression, model_fn, log_dir=tmp_path, optimizer_fn=rates, max_number_of_steps=3)
    found = variables(result.checkpoint)
    assert (found["a/w"], found["b/w"]) == (pytest.approx(1 - 3 * 0.1), pytest.approx(1 - 3 * 0.01))


def test_two_optimizers_of_one_kind_keep_their_own_slots(regression, variables, tmp_path):
    def model_fn(inputs, mode):
        del mode
        a, b = _scope("a", 1.0, inputs), _scope("b", 1.0, inputs)
        return mox.ModelSpec(loss=[a, 2 * b], var_scopes=[["a"], ["b"]])

    kinds = {
        "v1": [
            lambda: tf.compat.v1.train.AdamOptimizer(0.1, beta1=0.9),
            lambda: tf.compat.v1.train.AdamOptimizer(0.1, beta1=0.5),
        ],
        "Keras": [lambda: keras.optimizers.Adam(0.1, beta_1=0.9), lambda: keras.optimizers.Adam(0.1, beta_1=0.5)],
    }
    for kind, optimizer_fn in kinds.items():
        result = _run(regression, model_fn, log_dir=tmp_path / kind, optimizer_fn=optimizer_fn, max_number_of_steps=3)
        found = variables(result.checkpoint)
        # A constant gradient g: Adam goes by the learning rate in each step, its first moment is g * (1 - beta1 ** 3).
        assert (found["a/w"], found["b/w"]) == (pytest.approx(0.7, abs=1e-4), pytest.approx(0.7, abs=1e-4)), kind
        moments = [1 * (1 - 0.9**3), 2 * (1 - 0.5**3)]
        names = ["a/w/Adam", "b/w/Adam"] if kind == "v1" else ["adam/a_w*_momentum", "adam*/b_w*_momentum"]
        names = [fnmatch.filter(found, name)[0] for name in names]  # versions of Keras write them in other ways
        assert [found[name] for name in names] == [pytest.approx(moment, rel=1e-4) for moment in moments], sorted(found)


def test_one_loss_with_var_scopes_moves_only_those(regression, variables, tmp_path):
    def model_fn(inputs, mode):
        del mode
        parts = [_scope(name, 1.0, inputs) for name in ("net", "network", "net/inner")]
        return mox.ModelSpec(loss=tf.add_n(parts), var_scopes=["net"])

    found = variables(_run(regression, model_fn, log_dir=tmp_path, max_number_of_steps=1).checkpoint)
    assert found["net/w"] == found["net/inner/w"] == pytest.approx(0.9)
    assert found["network/w"] == 1.0


@pytest.mark.parametrize(
    ("spec", "optimizers", "text"),
    [
        (
            lambda a, b: {"loss": [a, b]},
            3,
            "there are 2 losses and 3 functions in optimizer_fn: give one, or one for each loss.",
        ),
        (
            lambda a, b: {"loss": a + b, "var_scopes": ["c"]},
            1,
            "loss: there is no trainable variable in the variable scopes ['c']. Scopes with variables: a, b.",
        ),
        (
            lambda a, b: {"loss": a + 0 * b, "log_info": {"cost": a}, "var_scopes": ["b"]},
            1,
            None,
        ),
        (
            lambda a, b: {"loss": a, "log_info": {"cost": a, "b": b}, "var_scopes": ["b"]},
            1,
            "cost does not depend on any of its variables (b/w:0): its gradient is nothing everywhere.",
        ),
    ],
    ids=["optimizers", "scope", "zero is a gradient", "no gradient"],
)
def test_what_cannot_be_trained_is_said(spec, optimizers, text, regression):
    def model_fn(inputs, mode):
        del mode
        return mox.ModelSpec(**spec(_scope("a", 1.0, inputs), _scope("b", 1.0, inputs)))

    optimizer_fn = [regression.sgd] * optimizers
    if text is None:
        assert _run(regression, model_fn, optimizer_fn=optimizer_fn).steps == 2
        return
    with pytest.raises(mox.UsageError) as refusal:
        _run(regression, model_fn, optimizer_fn=optimizer_fn)
    assert str(refusal.value) == text


def test_collections_are_those_of_this_call(regression):
    seen = []

    def model_fn(inputs, mode):
        regularizer = tf.keras.regularizers.L2(0.5)
        tf.compat.v1.get_variable("w", initializer=[1.0, 2.0], regularizer=regularizer)
        regularization = mox.get_collection(tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES)
        spec = regression.model_fn(inputs, mode)
        seen.append((len(regularization), [v.name for v in mox.get_collection("trainable_variables")]))
        loss = spec.loss + tf.add_n(regularization)
        return mox.ModelSpec(loss=loss, log_info={"regularization": tf.add_n(regularization)})

    for _ in range(2):
        metrics = _run(regression, model_fn, max_number_of_steps=1).metrics
        assert metrics == {"regularization": pytest.approx(0.5 * (1 + 4))}
    assert seen == [(1, ["w:0", "weights:0", "bias:0"])] * 2


def test_collections_are_refused_outside():
    with pytest.raises(mox.UsageError, match=r"^mox\.get_collection gives what model_fn has made: call it inside"):
        mox.get_collection("losses")


def test_tf_function_control_flow_and_map_work_inside(regression):
    @tf.function
    def squared(x):
        return x * x

    def model_fn(inputs, mode):
        features, targets = inputs
        spec = regression.model_fn(inputs, mode)
        rows = tf.map_fn(lambda row: tf.reduce_sum(squared(row)), features)
        doubled = tf.cond(tf.reduce_mean(targets) > 1e9, lambda: rows, lambda: rows * 2)
        counted = tf.while_loop(lambda n: n < 5, lambda n: (n + 1,), (tf.constant(0),))[0]
        return mox.ModelSpec(loss=spec.loss, log_info={"rows": tf.reduce_sum(doubled), "counted": counted})

    metrics = _run(regression, model_fn, max_number_of_steps=1).metrics
    features, _ = next(iter(regression.batches(1, 8)))
    assert metrics == {"rows": pytest.approx(2 * np.sum(features**2), rel=1e-5), "counted": 5}


def test_python_ops_in_the_model_run_once_a_step(regression):
    seen = []

    def model_fn(inputs, mode):
        noted = tf.py_function(
            lambda step: seen.append(int(step)) or 0.0, [tf.compat.v1.train.get_global_step()], tf.float32
        )
        noted.set_shape([])
        return mox.ModelSpec(loss=regression.model_fn(inputs, mode).loss + noted)

    _run(regression, model_fn, max_number_of_steps=40)
    assert seen == list(range(40))


def test_a_variable_is_read_before_the_step_for_the_log_and_after_it_for_hooks(regression, every_step):
    seen, put_out = [], []

    def model_fn(inputs, mode, hooked):
        step = tf.compat.v1.train.get_or_create_global_step()
        spec = regression.model_fn(inputs, mode)
        hook = every_step(lambda now, results, _context: seen.append((now, *map(int, results))), [step, step * 2])
        info = {"step": step}
        return mox.ModelSpec(loss=spec.loss, log_info=info, output_info=info, hooks=[hook] if hooked else [])

    for hooked in (True, False):
        options = {"output_fn": put_out.extend, "output_every_n_steps": 2}
        result = _run(regression, partial(model_fn, hooked=hooked), max_number_of_steps=4, **options)
        assert result.metrics == {"step": 3.0}
    assert seen == [(step, step + 1, 2 * step) for step in range(4)]
    assert [int(values["step"]) for values in put_out] == [0, 1, 2, 3] * 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda w: tf.cast(w, tf.int32), r"ModelSpec loss is a int32 tensor, and whole numbers have no gradient"),
        (lambda w: w > 0, r"ModelSpec loss is a bool tensor, and whole numbers have no gradient: nothing could be"),
        (lambda w: [w, tf.cast(w, tf.int64)], r"ModelSpec loss\[1\] is a int64 tensor, and whole numbers"),
        (
            lambda w: tf.complex(w, w),
            r"ModelSpec loss is a complex64 tensor of shape \(\)\. It must be a scalar number",
        ),
        (
            lambda w: tf.stack([w, w]),
            r"ModelSpec loss is a float32 tensor of shape \(2,\)\. It must be a scalar number",
        ),
    ],
)
def test_a_loss_that_cannot_be_trained_is_refused_for_its_reason(make, words, regression):
    def model_fn(inputs, mode):
        del inputs, mode
        return mox.ModelSpec(loss=make(tf.compat.v1.get_variable("w", initializer=1.0)))

    with pytest.raises(mox.UsageError, match=words):
        mox.run(
            input_fn=regression.input_fn,
            model_fn=model_fn,
            optimizer_fn=regression.sgd,
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=8,
            max_number_of_steps=1,
        )
