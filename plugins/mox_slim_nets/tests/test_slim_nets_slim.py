"""The networks that tf_slim has, against it: its checkpoints restore by name and give its results."""

import numpy as np
import pytest
import tensorflow as tf

from mox_slim_nets import classic, inception_v1, inception_v2, inception_v3
from original_slim import import_tf_slim, load, run_restored

KEYS = tf.compat.v1.GraphKeys
CLASSES, WEIGHT_DECAY = 7, 1e-4

# For each network: its module, and a size of images at which slim gives logits.
NETWORKS = {
    "alexnet_v2": (classic, 224),
    "overfeat": (classic, 231),
    "vgg_a": (classic, 224),
    "vgg_16": (classic, 224),
    "vgg_19": (classic, 224),
    "inception_v1": (inception_v1, 224),
    "inception_v2": (inception_v2, 64),
    "inception_v3": (inception_v3, 139),
}
SAMPLE = {"alexnet_v2", "inception_v1"}


@pytest.fixture(scope="module")
def slim():
    return import_tf_slim()


def build_slim(slim, name, images):
    from tf_slim.nets import alexnet, inception, overfeat, vgg

    module = {"alexnet_v2": alexnet, "overfeat": overfeat}.get(name, inception if "inception" in name else vgg)
    family = "vgg" if module is vgg else name
    with slim.arg_scope(getattr(module, f"{family}_arg_scope")(weight_decay=WEIGHT_DECAY)):
        return getattr(module, name)(images, CLASSES, is_training=False)


def run_slim(slim, name, images, checkpoint):
    """Build slim's network as in evaluation with random variables, save it, and return what it computes."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.set_random_seed(1)
        _, end_points = build_slim(slim, name, tf.constant(images))
        variables = tf.compat.v1.global_variables()
        session.run(tf.compat.v1.global_variables_initializer())
        random = np.random.default_rng(2)
        load({v.ref(): values_of(v, random) for v in variables}, session)
        tf.compat.v1.train.Saver(variables).save(session, checkpoint, write_meta_graph=False)
        return results(session, end_points)


def values_of(variable, random):
    """Averages, offsets and biases that are not 0 and 1, and kernels that let something through many layers."""
    shape = variable.shape.as_list()
    if "eights" not in variable.op.name:
        return random.uniform(0.5, 1.5, shape)
    return random.standard_normal(shape, np.float32) * np.sqrt(2 / np.prod(shape[:-1]))


def results(session, end_points):
    losses = session.run(tf.compat.v1.get_collection(KEYS.REGULARIZATION_LOSSES))
    return session.run(end_points), losses


@pytest.mark.filterwarnings("ignore")  # slim's and tf_keras' own
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SAMPLE else pytest.mark.networks) for name in NETWORKS]
)
def test_a_slim_checkpoint_restores_by_name_and_gives_slims_results(slim, name, tmp_path):
    size = NETWORKS[name][1]
    images = np.random.default_rng(0).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    checkpoint = str(tmp_path / "model.ckpt")
    theirs, their_losses = run_slim(slim, name, images, checkpoint)
    make = getattr(NETWORKS[name][0], name)
    network = make(run_mode="EVAL", num_classes=CLASSES, weight_decay=WEIGHT_DECAY, preprocess_fn=None)
    logits, ours, losses = run_restored(network, images, checkpoint, results)

    key = next(key for key in theirs if key.endswith(("/fc8", "Logits")) and "Aux" not in key and "Pre" not in key)
    spread = np.ptp(theirs[key], axis=0).max()
    assert spread > 1e-2 * np.abs(theirs[key]).max()  # of two images: more than the last biases is seen in them
    np.testing.assert_allclose(logits, theirs[key], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(ours[key], logits)
    assert theirs.keys() <= ours.keys()
    assert ours.keys() - theirs.keys() <= {"global_pool", "PreLogits"}
    for point, value in theirs.items():
        assert ours[point].shape == value.shape, point
        np.testing.assert_allclose(
            ours[point], value, rtol=1e-3, atol=1e-4 * max(1, np.abs(value).max()), err_msg=point
        )
    assert len(losses) == len(their_losses)
    np.testing.assert_allclose(sorted(losses), sorted(their_losses), rtol=1e-5)
