"""NetworkContract finds what is wrong with a network, and nothing in a good one."""

import pytest

from mox_core.testing import NetworkContract

SOURCE = """
import keras
import numpy as np
import tensorflow as tf

from mox_core.plugins import NetworkMeta, NetworkOffer, hookimpl

@hookimpl
def mox_networks():
    meta = NetworkMeta(default_image_size=4, default_labels_offset=0)
    yield NetworkOffer("kit_net", "kit.plugin:kit_net", summary="two dense layers", meta=meta)

def kit_net(*, run_mode, num_classes, **options):
    training = run_mode == "TRAIN"

    def network(images):
        net = tf.reshape(images / 255, [-1, 48])
        net = keras.layers.Dense(6, name="first")(net)
        net = keras.layers.BatchNormalization()(net, training=training)
        net = keras.layers.Dropout(0.5)(net, training=training)
        logits = keras.layers.Dense(num_classes, name="last")(net)
        return logits, {"features": net}

    return network
"""
DENSE = 'keras.layers.Dense(6, name="first")'
LAST = 'logits = keras.layers.Dense(num_classes, name="last")(net)'
RESULT = 'return logits, {"features": net}'
OUTPUTS, PARAMETERS, GRADIENTS, WEIGHTS, AVERAGES, SEED, ALONE, EXPORT = (
    "test_it_gives_logits_and_end_points",
    "test_it_has_the_published_number_of_parameters",
    "test_every_trainable_variable_has_a_gradient",
    "test_one_step_moves_the_weights",
    "test_train_moves_the_averages_of_batches",
    "test_the_same_seed_gives_the_same_numbers",
    "test_eval_and_predict_see_each_image_alone",
    "test_the_exported_model_gives_the_same_numbers",
)


@pytest.fixture
def contract():
    class Contract(NetworkContract):
        network = "kit_net"
        num_classes = 5
        parameters = (48 + 1) * 6 + 2 * 6 + (6 + 1) * 5

    return Contract


def test_a_good_network_passes(install, run_check, contract):
    install(SOURCE)
    run_check(contract)


def test_auxiliary_logits_have_a_part_in_the_loss(install, run_check, contract):
    auxiliary = 'return logits, {"AuxLogits": keras.layers.Dense(num_classes, name="aux")(net)}'
    install(SOURCE.replace(RESULT, auxiliary))
    run_check(contract, GRADIENTS)


@pytest.mark.parametrize(
    ("old", "new", "check", "words"),
    [
        (RESULT, "return [logits]", OUTPUTS, "returns (logits, end_points)"),
        (RESULT, "return logits[:, None, None], {}", OUTPUTS, "of shape (4, 1, 1, 5) in TRAIN; they must be (batch,"),
        (
            LAST,
            LAST.replace("num_classes", "7"),
            OUTPUTS,
            "of shape (4, 7) in TRAIN; they must be (batch, num_classes)",
        ),
        (RESULT, "return logits, [net]", OUTPUTS, "as end points in TRAIN; return a dict from names to tensors"),
        (RESULT, 'return logits, {"rate": 0.5}', OUTPUTS, "returns 0.5 as the end point 'rate' in TRAIN; end"),
        (RESULT, "raise ValueError('no images')", OUTPUTS, "a run of network 'kit_net' in TRAIN fails: ValueError: no"),
        (DENSE, DENSE.replace("6", "7"), PARAMETERS, "has 397 trainable parameters with 5 classes, and 341 are"),
        (
            LAST,
            f"{LAST}; tf.compat.v1.get_variable('forgotten', [3])",
            GRADIENTS,
            "does not depend on the trainable forgotten: use them for the logits, make them with trainable=False",
        ),
        (RESULT, RESULT.replace("logits", "0.0 * logits"), WEIGHTS, "leaves all weights of network 'kit_net' as they"),
        (
            "Normalization()(net, training=training)",
            "Normalization()(net, training=False)",
            AVERAGES,
            "leaves batch_normalization/moving_mean, batch_normalization/moving_variance of network 'kit_net' as they",
        ),
        (
            DENSE,
            'keras.layers.Dense(6, kernel_initializer=lambda shape, dtype: np.random.normal(size=shape), name="first")',
            SEED,
            "with one seed: draw initial values and noise by tf.random or Keras",
        ),
        (
            "Dropout(0.5)(net, training=training)",
            "Dropout(0.5)(net, training=True)",
            ALONE,
            "when it sees a batch again, with",
        ),
        (
            "Normalization()(net, training=training)",
            "Normalization()(net, training=True)",
            ALONE,
            "gives an image other logits when it is alone in its batch",
        ),
        (RESULT, "return logits * (2 if run_mode == 'EXPORT' else 1), {}", EXPORT, "treat EXPORT as PREDICT"),
    ],
)
def test_what_is_wrong_is_found(install, caught, contract, old, new, check, words):
    install(SOURCE, (old, new))
    caught(contract, check, words)


def test_without_a_published_number_it_tells_its_own(install, run_check, contract):
    install(SOURCE)
    contract.parameters = None
    with pytest.raises(pytest.skip.Exception, match="has 341 trainable parameters: give the published number"):
        run_check(contract, PARAMETERS)


def test_what_failed_once_is_not_tried_again_for_each_check(install, caught, contract):
    install(SOURCE, (RESULT, "raise ValueError('no images')"))
    caught(contract, OUTPUTS, "a run of network 'kit_net' in TRAIN fails: ValueError: no images")
    install(SOURCE)
    caught(contract, WEIGHTS, "a run of network 'kit_net' in TRAIN fails: ValueError: no images")
