"""Networks of TF-slim in `model_fn`, beside the same in a session of TF1; what slim asks of collections."""

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.engine.tf_patches.tf1_layers import slim_layers

pytestmark = pytest.mark.filterwarnings("ignore:`layer.apply` is deprecated")  # slim calls it

KEYS = tf.compat.v1.GraphKeys
CLASSES, SIZE, BATCH, STEPS, RATE = 5, 32, 4, 2, 0.05
IMAGES = np.random.default_rng(0).uniform(-1, 1, [BATCH * STEPS, SIZE, SIZE, 3]).astype(np.float32)
LABELS = (np.arange(BATCH * STEPS) % CLASSES).astype(np.int32)


def _inception_v1(slim, images, training):
    from tf_slim.nets import inception

    batch_norm = slim.arg_scope([slim.batch_norm], is_training=training)
    with slim.arg_scope(inception.inception_v1_arg_scope(weight_decay=0.01)), batch_norm:
        net, _ = inception.inception_v1_base(images, final_endpoint="Mixed_3c")
        return slim.fully_connected(tf.reduce_mean(net, [1, 2]), CLASSES, activation_fn=None, scope="Logits")


def _mobilenet_v1(slim, images, training):
    """As the MobileNet of slim's model zoo is built: depthwise layers without filters, each with a pointwise one."""
    batch_norm = {"center": True, "scale": True, "decay": 0.9, "is_training": training}
    separable = slim.arg_scope([slim.separable_conv2d], weights_regularizer=None)
    regularized = slim.arg_scope(
        [slim.conv2d, slim.separable_conv2d],
        weights_initializer=slim.xavier_initializer(),
        activation_fn=tf.nn.relu6,
        normalizer_fn=slim.batch_norm,
        normalizer_params=batch_norm,
        weights_regularizer=slim.l2_regularizer(0.01),
    )
    with tf.compat.v1.variable_scope("MobilenetV1"), regularized, separable:
        net = slim.conv2d(images, 8, [3, 3], stride=2, scope="Conv2d_0")
        for number, (stride, depth) in enumerate([(1, 16), (2, 32)], start=1):
            net = slim.separable_conv2d(
                net, None, [3, 3], depth_multiplier=1, stride=stride, scope=f"Conv2d_{number}_depthwise"
            )
            net = slim.conv2d(net, depth, [1, 1], scope=f"Conv2d_{number}_pointwise")
        net = slim.avg_pool2d(net, [8, 8], padding="VALID", scope="AvgPool_1a")
        net = slim.conv2d(net, CLASSES, [1, 1], activation_fn=None, normalizer_fn=None, scope="Conv2d_1c_1x1")
    return tf.squeeze(net, [1, 2])


def _loss(network, images, labels, training, losses):
    import tf_slim

    logits = network(tf_slim, images, training)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return tf.reduce_mean(entropy) + tf.add_n(losses(KEYS.REGULARIZATION_LOSSES))


def _optimizer():
    return tf.compat.v1.train.MomentumOptimizer(RATE, 0.9)


def _train_in_a_session(network, folder):
    """Train by TF1 alone from new weights, which are saved; the weights and the loss of the first batch after it."""
    with slim_layers(), tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.set_random_seed(1)
        images = tf.compat.v1.placeholder(tf.float32, [BATCH, SIZE, SIZE, 3])
        labels = tf.compat.v1.placeholder(tf.int32, [BATCH])
        loss = _loss(network, images, labels, True, tf.compat.v1.get_collection)
        with tf.control_dependencies(tf.compat.v1.get_collection(KEYS.UPDATE_OPS)):
            train = _optimizer().minimize(loss)
        weights = tf.compat.v1.model_variables()
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver(weights).save(session, str(folder / "model.ckpt"), write_meta_graph=False)
        for step in range(STEPS):
            part = slice(step * BATCH, (step + 1) * BATCH)
            session.run(train, {images: IMAGES[part], labels: LABELS[part]})
        trained = session.run({each.op.name: each for each in weights})
        tf.compat.v1.get_variable_scope().reuse_variables()
        first = {images: IMAGES[:BATCH], labels: LABELS[:BATCH]}
        with tf.compat.v1.variable_scope(tf.compat.v1.get_variable_scope(), reuse=True):
            before = len(tf.compat.v1.get_collection(KEYS.REGULARIZATION_LOSSES))
            again = _loss(network, images, labels, False, tf.compat.v1.get_collection)
            assert len(tf.compat.v1.get_collection(KEYS.REGULARIZATION_LOSSES)) == before  # those of the same weights
        return trained, session.run(again, first)


@pytest.mark.parametrize("network", [_inception_v1, _mobilenet_v1])
def test_networks_of_slim_are_restored_and_trained_as_in_a_session(network, variables, tmp_path):
    expected, expected_loss = _train_in_a_session(network, tmp_path)

    def run(run_mode, **options):
        def model_fn(inputs, mode):
            loss = _loss(network, *inputs, mode == mox.ModeKeys.TRAIN, mox.get_collection)
            return mox.ModelSpec(loss=loss, log_info={"loss": loss})

        return mox.run(
            input_fn=lambda mode: tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)),  # noqa: ARG005
            model_fn=model_fn,
            optimizer_fn=_optimizer,
            run_mode=run_mode,
            batch_size=BATCH,
            log_dir=tmp_path / "run",
            **options,
        )

    found = variables(run(mox.ModeKeys.TRAIN, checkpoint_path=tmp_path).checkpoint)
    assert len([name for name in expected if name.endswith("/weights")]) >= 4
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    loss = run(mox.ModeKeys.EVAL, max_number_of_steps=1).metrics["loss"]
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-3)


LATE = """
import sys
import mox_core as mox, numpy as np, tensorflow as tf

def model_fn(inputs, mode):
    import tf_slim
    net = tf_slim.fully_connected(inputs[0], 3, normalizer_fn=tf_slim.batch_norm)
    return mox.ModelSpec(loss=tf.reduce_mean(net))

assert "tf_slim" not in sys.modules
for steps in (1, 2):
    result = mox.run(input_fn=lambda mode: tf.constant([1.0, 2.0]), model_fn=model_fn, run_mode="TRAIN", batch_size=2,
                     optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1), max_number_of_steps=steps)
    finder = any("mox" in type(each).__module__ for each in sys.meta_path)
    print(result.global_step, finder, "tf_keras.legacy_tf_layers" in sys.modules)
"""


def test_slim_may_be_imported_in_model_fn_alone(run_python):
    assert run_python(LATE).stdout.splitlines()[-2:] == ["1 False False", "2 False False"]


def test_a_variable_is_in_a_collection_by_identity_and_may_be_in_a_set_or_a_dict():
    seen = {}

    def model_fn(inputs, mode):  # noqa: ARG001
        first, second, third = (tf.compat.v1.get_variable(name, [2]) for name in ("first", "second", "third"))
        tf.compat.v1.add_to_collection("mine", first)
        tf.compat.v1.add_to_collection("mine", second)
        for get in (tf.compat.v1.get_collection, mox.get_collection):
            assert [each in get("mine") for each in (first, second, third)] == [True, True, False]
        assert third in tf.compat.v1.trainable_variables()
        assert tf.constant([1.0, 1.0]) not in tf.compat.v1.get_collection("mine")
        kept = set(tf.compat.v1.trainable_variables()) - {first}
        seen["kept"] = sorted(each.name for each in kept)
        seen["rates"] = [{first: 1, second: 2}[each] for each in (second, first)]
        seen["equal"] = first == second  # as ever in TF2: element by element
        return mox.ModelSpec(loss=tf.reduce_sum(first))

    mox.run(
        input_fn=lambda mode: tf.constant([1.0]),  # noqa: ARG005
        model_fn=model_fn,
        optimizer_fn=_optimizer,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=1,
        max_number_of_steps=1,
    )
    assert (seen["kept"], seen["rates"], seen["equal"].dtype) == (["second:0", "third:0"], [2, 1], tf.bool)
