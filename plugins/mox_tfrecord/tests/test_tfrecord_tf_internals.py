"""What mox-tfrecord changes inside TensorFlow, and takes back: a new TensorFlow tells here what it has changed."""

import importlib
import threading
import warnings

import pytest
import tensorflow as tf

import mox_core as mox
from mox_tfrecord.tf_internals import MOVED_OPS, is_of_slim, ops_of_slim


@pytest.fixture
def slim_decoder():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it imports warns
        from tf_slim.data import tfexample_decoder
    return tfexample_decoder


def there():
    """Which of the places hold an operation."""
    return [name in vars(importlib.import_module(module)) for module, name, _ in MOVED_OPS]


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, name, _ in MOVED_OPS])
def test_slim_calls_an_operation_where_tensorflow_no_longer_has_it(slim_decoder, module, name):
    try:
        namespace = importlib.import_module(module)
    except ImportError:
        pytest.fail(f"TensorFlow renamed {module}, where handlers of tf_slim look for {name}")
    assert not hasattr(namespace, name), (
        f"TensorFlow has {module}.{name} again: take it out of MOVED_OPS in mox_tfrecord/tf_internals.py"
    )
    assert getattr(slim_decoder, module.rpartition(".")[2]) is namespace, (
        f"tf_slim no longer calls {name} in {module}: see MOVED_OPS in mox_tfrecord/tf_internals.py"
    )
    with ops_of_slim():
        assert hasattr(namespace, name)


def test_only_handlers_of_slim_are_taken_for_them(slim_decoder):
    class Derived(slim_decoder.Tensor):
        """One's own, of slim."""

    assert is_of_slim(slim_decoder.Image()), "tf_slim renamed its package: see is_of_slim in mox_tfrecord/tf_internals"
    assert is_of_slim(Derived("x"))
    assert not is_of_slim(mox.tfexample_decoder.Tensor("x"))


def test_threads_that_read_at_once_do_not_take_the_operations_from_one_another():
    both_want_it, seen = threading.Barrier(2), []

    def read():
        both_want_it.wait()
        for _ in range(100):
            with ops_of_slim(), ops_of_slim():
                seen.append(all(there()))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 200
    assert not any(there())


def test_a_run_leaves_tensorflow_as_it_was(slim_decoder, write):
    folder, seen = write([4]), []

    class Watching(slim_decoder.Tensor):
        def tensors_to_item(self, keys_to_tensors):
            seen.append(all(there()))
            return super().tensors_to_item(keys_to_tensors)

    def input_fn(_mode):
        dataset = mox.get_tfrecord(
            folder,
            "*.tfrecord",
            keys_to_features={"x": tf.io.FixedLenFeature([], tf.int64)},
            items_to_handlers={"x": Watching("x", shape=[])},
            shuffle=False,
        )
        return dataset.get(["x"])

    def model_fn(inputs, _mode):
        mean = tf.reduce_mean(tf.cast(inputs[0], tf.float32))
        return mox.ModelSpec(loss=mean * tf.compat.v1.get_variable("weight", []), log_info={"x": mean})

    result = mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=2,
        max_number_of_steps=2,
    )
    assert result.metrics["x"] == 2.5
    assert seen
    assert all(seen)
    assert not any(there())
