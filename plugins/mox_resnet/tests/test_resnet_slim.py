"""mox-resnet against TF-slim, the implementation whose names and numbers it keeps."""

import numpy as np
import pytest
import tensorflow as tf

from mox_core import cli
from mox_resnet import networks
from original_slim import import_tf_slim, load, run_restored

CLASSES, SIZE, WEIGHT_DECAY = 7, 64, 1e-4


@pytest.fixture(scope="module")
def slim():
    tf_slim = import_tf_slim()
    from tf_slim.nets import resnet_v1, resnet_v2

    return {"resnet_v1_50": resnet_v1.resnet_v1_50, "resnet_v2_50": resnet_v2.resnet_v2_50, "tf_slim": tf_slim}


def run_slim(slim, name, images, checkpoint, *, training):
    """Build slim's network with random variables, save it, and return what it computes."""
    from tf_slim.nets import resnet_utils

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.set_random_seed(1)
        with slim["tf_slim"].arg_scope(resnet_utils.resnet_arg_scope(weight_decay=WEIGHT_DECAY)):
            _, end_points = slim[name](tf.constant(images), CLASSES, is_training=training)
        variables = tf.compat.v1.global_variables()
        session.run(tf.compat.v1.global_variables_initializer())
        random = np.random.default_rng(2)
        # Averages, scales, offsets and biases that are not 0 and 1.
        load({v.ref(): random.uniform(0.5, 1.5, v.shape) for v in variables if "/weights" not in v.op.name}, session)
        tf.compat.v1.train.Saver(variables).save(session, checkpoint, write_meta_graph=False)
        return results(session, end_points)


def results(session, end_points):
    keys = tf.compat.v1.GraphKeys
    losses = session.run(tf.compat.v1.get_collection(keys.REGULARIZATION_LOSSES))
    values = session.run(end_points)
    session.run(tf.compat.v1.get_collection(keys.UPDATE_OPS))
    averages = {v.op.name: v for v in tf.compat.v1.global_variables() if "/moving_" in v.op.name}
    return values, losses, session.run(averages)


@pytest.mark.filterwarnings("ignore")  # slim's and tf_keras' own
@pytest.mark.parametrize("name", ["resnet_v1_50", "resnet_v2_50"])
@pytest.mark.parametrize("run_mode", ["TRAIN", "EVAL"])
def test_a_slim_checkpoint_restores_by_name_and_gives_slims_results(slim, name, run_mode, tmp_path):
    images = np.random.default_rng(0).uniform(-100, 100, (4, SIZE, SIZE + 1, 3)).astype(np.float32)
    checkpoint = str(tmp_path / "model.ckpt")
    theirs, their_losses, their_averages = run_slim(slim, name, images, checkpoint, training=run_mode == "TRAIN")
    make = getattr(networks, name)
    network = make(run_mode=run_mode, num_classes=CLASSES, weight_decay=WEIGHT_DECAY, preprocess_fn=None)
    logits, ours, losses, averages = run_restored(network, images, checkpoint, results)

    their_logits = theirs[f"{name}/logits"][:, 0, 0]
    assert np.abs(their_logits).max() > 0.1
    np.testing.assert_allclose(logits, their_logits, rtol=1e-4, atol=1e-4)
    assert ours.keys() == theirs.keys() | {"global_pool", f"{name}/spatial_squeeze"}
    np.testing.assert_array_equal(ours[f"{name}/spatial_squeeze"], logits)
    np.testing.assert_allclose(ours["predictions"], theirs["predictions"][:, 0, 0], atol=1e-4)
    for key in theirs.keys() - {"predictions"}:
        np.testing.assert_allclose(
            ours[key], theirs[key], rtol=1e-3, atol=1e-3 * np.abs(theirs[key]).max(), err_msg=key
        )
    assert len(losses) == len(their_losses) == 54
    np.testing.assert_allclose(sorted(losses), sorted(their_losses), rtol=1e-5)
    for key, average in their_averages.items():
        np.testing.assert_allclose(averages[key], average, rtol=1e-3, atol=1e-4, err_msg=key)


@pytest.mark.filterwarnings("ignore")  # slim's and tf_keras' own
def test_mox_weights_imports_a_slim_checkpoint_with_the_number_of_its_classes(slim, tmp_path, capsys):
    images = np.zeros((1, SIZE, SIZE, 3), np.float32)
    prefix = str(tmp_path / "slim.ckpt")
    run_slim(slim, "resnet_v1_50", images, prefix, training=False)
    arguments = ["weights", "import", prefix, "--network", "resnet_v1_50", "--to", str(tmp_path / "ours.ckpt")]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/ours.ckpt: 267 of the 267 variables of resnet_v1_50, from {prefix} (a checkpoint)",
        f"  classes  {CLASSES}",
    ]
    theirs, ours = (tf.train.load_checkpoint(each) for each in (prefix, str(tmp_path / "ours.ckpt")))
    for name in theirs.get_variable_to_shape_map():
        np.testing.assert_array_equal(ours.get_tensor(name), theirs.get_tensor(name), err_msg=name)
