"""What is common to optimizers around optimizers."""

import keras
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.engine.optimizer.wrappers import OptimizerWrapper


@pytest.mark.parametrize("optimizer", [mox.get_optimizer_fn("sgd", 0.1), keras.optimizers.SGD, None, 0.1])
def test_what_is_no_optimizer_is_not_wrapped(optimizer):
    with pytest.raises(mox.UsageError) as refusal:
        OptimizerWrapper(optimizer)
    assert str(refusal.value) == (
        f"OptimizerWrapper was put around {optimizer!r}; it must be an optimizer: "
        "what mox.get_optimizer_fn(...) returns still has to be called, mox.get_optimizer_fn(...)()."
    )


def test_a_keras_optimizer_made_outside_is_found_under_its_wrappers(regression, tmp_path):
    outside = keras.optimizers.SGD(0.1, momentum=0.9)
    with pytest.raises(mox.UsageError, match=r"^optimizer_fn returned an optimizer that was made outside of it "):
        mox.run(
            input_fn=regression.input_fn,
            model_fn=regression.model_fn,
            optimizer_fn=lambda: OptimizerWrapper(OptimizerWrapper(outside)),
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=8,
            log_dir=tmp_path,
            max_number_of_steps=2,
        )


@pytest.mark.parametrize("make", [lambda: keras.optimizers.SGD(0.1), lambda: tf.compat.v1.train.AdamOptimizer(0.1)])
def test_one_made_inside_trains_as_without_a_wrapper(make, regression, variables, tmp_path):
    found = []
    for wrap in (lambda optimizer: optimizer, OptimizerWrapper):
        result = mox.run(
            input_fn=regression.input_fn,
            model_fn=regression.model_fn,
            optimizer_fn=lambda wrap=wrap: wrap(make()),
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=8,
            log_dir=tmp_path / wrap.__name__.strip("<>"),
            max_number_of_steps=3,
        )
        found.append(variables(result.checkpoint))
    plain, wrapped = found
    assert {name: value.tolist() for name, value in plain.items()} == {
        name: value.tolist() for name, value in wrapped.items()
    }
