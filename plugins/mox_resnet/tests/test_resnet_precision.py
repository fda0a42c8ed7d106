"""Half precision: in which type networks compute, keep their variables and train."""

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_resnet import networks

KEYS = tf.compat.v1.GraphKeys
HALVES = [tf.float16, tf.bfloat16]
STATISTICS = ("/gamma", "/beta", "/moving_mean", "/moving_variance")
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.float32)
LABELS = np.arange(8) % 2


def _input_fn(mode):
    del mode
    return tf.data.Dataset.from_tensors((IMAGES, LABELS)).repeat()


def _train(network, dtype, *, forced, steps, log_dir, seen):
    def model_fn(inputs, mode):
        images, labels = inputs
        build = getattr(networks, network)(run_mode=mode, num_classes=2, weight_decay=1e-4)
        with mox.var_scope(force_dtype=tf.float32 if forced else None):
            logits, end_points = build(tf.cast(images, dtype))
        losses = mox.get_collection(KEYS.REGULARIZATION_LOSSES)
        seen.update(
            logits=logits.dtype,
            end_points={tensor.dtype for tensor in end_points.values()},
            regularization=(len(losses), {loss.dtype for loss in losses}),
        )
        entropy = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
        return mox.ModelSpec(loss=entropy + tf.add_n(losses), log_info={"entropy": entropy})

    tf.random.set_seed(1)
    return mox.run(
        input_fn=_input_fn,
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.01),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=None,
        max_number_of_steps=steps,
        log_dir=log_dir,
    )


def _variables(prefix, network):
    reader = tf.train.load_checkpoint(str(prefix))
    names = reader.get_variable_to_dtype_map()
    return {name: (names[name], reader.get_tensor(name)) for name in names if name.startswith(network)}


@pytest.mark.parametrize("network", ["resnet_v1_20", pytest.param("resnet_v1_50", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", HALVES, ids=lambda dtype: dtype.name)
def test_training_under_var_scope_computes_in_half_and_keeps_everything_in_float32(network, dtype, tmp_path):
    seen = {}
    result = _train(network, dtype, forced=True, steps=2, log_dir=tmp_path, seen=seen)
    before, after = _variables(tmp_path / "model.ckpt-0", network), _variables(result.checkpoint, network)
    kernels = [name for name in before if name.endswith("/weights")]
    assert seen == {
        "logits": dtype,
        "end_points": {dtype},
        "regularization": (len(kernels), {dtype}),
    }
    assert {kind for kind, _ in after.values()} == {tf.float32}
    for name, (_, value) in after.items():
        assert np.isfinite(value).all(), name
    moved = {name for name, (_, value) in after.items() if not np.array_equal(value, before[name][1])}
    assert {name for name in after if name.endswith(("/weights", "/moving_mean", "/moving_variance"))} <= moved
    assert np.isfinite(result.metrics["entropy"])


@pytest.mark.parametrize("dtype", HALVES, ids=lambda dtype: dtype.name)
def test_without_var_scope_variables_have_the_type_of_the_images_but_statistics_do_not(dtype, tmp_path):
    seen = {}
    result = _train("resnet_v1_20", dtype, forced=False, steps=2, log_dir=tmp_path, seen=seen)
    assert seen["logits"] == dtype
    assert seen["regularization"][1] == {dtype}
    for name, (kind, value) in _variables(result.checkpoint, "resnet_v1_20").items():
        assert kind == (tf.float32 if name.endswith(STATISTICS) else dtype), name
        assert np.isfinite(value.astype(np.float32)).all(), name


@pytest.mark.parametrize(("dtype", "close"), [(tf.float16, 0.01), (tf.bfloat16, 0.05)])
def test_half_precision_training_is_near_that_of_float32(dtype, close, tmp_path):
    losses = []
    for kind in (tf.float32, dtype):
        result = _train("resnet_v1_20", kind, forced=True, steps=5, log_dir=tmp_path / kind.name, seen={})
        losses.append(result.metrics["entropy"])
    # Steps of half precision: 2 ** -11 and 2 ** -8, through twenty layers.
    assert losses[1] == pytest.approx(losses[0], rel=close)
