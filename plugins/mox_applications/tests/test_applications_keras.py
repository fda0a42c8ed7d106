"""The networks against the models of keras.applications, built plainly: weights by name, predictions, parameters."""

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_applications.families import APPLICATIONS
from mox_core.commands.network_size import count
from mox_core.errors import UsageError

CLASSES = 7

MODULES = (
    *("convnext", "densenet", "efficientnet", "efficientnet_v2", "inception_resnet_v2", "inception_v3", "mobilenet"),
    *("mobilenet_v2", "nasnet", "resnet", "resnet_v2", "vgg16", "vgg19", "xception"),
)


def model_of(name, size=None, classes=CLASSES, **options):
    """The model in a new state of Keras, as a new process has it."""
    keras.utils.clear_session()
    network = APPLICATIONS[name]
    make = getattr(keras.applications, network.function)
    size = size or network.size
    return make(weights=None, classes=classes, classifier_activation=None, input_shape=(size, size, 3), **options)


def prepared(name, images):
    """Images after the family's own `preprocess_input`; MobileNetV3 has none."""
    function = APPLICATIONS[name].function
    homes = [importlib.import_module(f"keras.applications.{each}") for each in MODULES]
    home = next((each for each in homes if hasattr(each, function)), None)
    return home.preprocess_input(images.copy()) if home else images


def randomize(model, seed=0):
    """Give all weights that are 0 or 1 other values, so that each of them counts."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if "kernel" not in weight.path and "normalization/" not in weight.path:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))


def save(model, prefix):
    """Write the weights under the paths of Keras, as one of TensorFlow's checkpoints."""
    names = [weight.path for weight in model.weights]
    values = [weight.numpy() for weight in model.weights]
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=values)
    return str(prefix)


def logits_of(name, images, checkpoint, *, found=None, num_classes=CLASSES, **options):
    """The logits of a network of mox in PREDICT, with the weights of a checkpoint."""

    def model_fn(inputs, mode):
        logits, end_points = mox.get_model_fn(name, run_mode=mode, num_classes=num_classes, **options)(inputs[0])
        if found is not None:
            found.update(end_points)
        return mox.ModelSpec(output_info={"logits": tf.cast(logits, tf.float32)})

    return predicted(model_fn, images, checkpoint)["logits"]


def predicted(model_fn, images, checkpoint):
    windows = []
    mox.run(
        input_fn=lambda mode: tf.data.Dataset.from_tensors((images,)),  # noqa: ARG005
        model_fn=model_fn,
        run_mode=mox.ModeKeys.PREDICT,
        batch_size=None,
        checkpoint_path=checkpoint,
        output_fn=windows.extend,
        output_every_n_steps=1,
    )
    return windows[0]


def in_one_model(networks, **scopes):
    """A model_fn of a teacher and a student, each with a scope where `scopes` has one."""

    def model_fn(inputs, mode):
        logits = {}
        for role, (name, options) in networks.items():
            build = mox.get_model_fn(name, mode, CLASSES, name_scope=scopes.get(role), **options)
            logits[role], _ = build(inputs[0])
        return mox.ModelSpec(output_info=logits)

    return model_fn


def parameters_of(model):
    trainable = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    return int(trainable), int(sum(np.prod(weight.shape) for weight in model.weights) - trainable)


SAMPLE = ("mobilenet_v3_small",)
FAMILIES = ("convnext_tiny", "densenet_121", "efficientnet_b0", "efficientnet_v2_b0")
FAMILIES += ("inception_resnet_v2", "inception_v3", "mobilenet", "mobilenet_v2", "nasnet_mobile", "resnet_50")
FAMILIES += ("resnet_50_v2", "vgg_16", "xception")


@pytest.mark.parametrize("name", [*SAMPLE, *(pytest.param(each, marks=pytest.mark.networks) for each in FAMILIES)])
def test_weights_of_keras_restore_by_name_and_give_its_predictions(name, tmp_path):
    size = APPLICATIONS[name].family.smallest
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, 3)).astype(np.float32)
    keras.layers.Conv2D(2, 1), keras.layers.BatchNormalization()  # names are not to depend on what was made before
    model = model_of(name, size)
    randomize(model)
    checkpoint = save(model, tmp_path / "model.ckpt-1")
    expected = model(prepared(name, images), training=False).numpy()
    assert expected.std() > 0.01
    found = logits_of(f"applications/{name}", images, checkpoint)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


SOME = ("vgg_19",)
OTHERS = sorted(set(APPLICATIONS) - set(SOME))


@pytest.mark.parametrize("name", [*SOME, *(pytest.param(each, marks=pytest.mark.networks) for each in OTHERS)])
def test_the_numbers_of_parameters_are_those_of_keras(name):
    size = 32 if APPLICATIONS[name].family.smallest == 32 else 75
    expected = parameters_of(model_of(name, size, classes=1000))
    keras.utils.clear_session()
    assert count(f"applications/{name}", num_classes=1000, image_size=size) == expected


TWINS = {
    "one network": [("mobilenet", {"alpha": 0.25}), ("mobilenet", {"alpha": 0.25})],
    "two widths": [("mobilenet", {"alpha": 0.5}), ("mobilenet", {"alpha": 0.25})],
    "two of a family": [("mobilenet_v3_large", {"minimalistic": True}), ("mobilenet_v3_small", {"minimalistic": True})],
    # Keras only numbers the layers of these.
    "layers without names": [("applications/inception_v3", {}), ("applications/inception_v3", {})],
}
SAMPLE_OF_TWINS = ("two widths",)
CASES = [pytest.param(each, marks=[] if each in SAMPLE_OF_TWINS else pytest.mark.networks) for each in TWINS]


@pytest.mark.parametrize("case", CASES)
def test_two_networks_in_one_model_are_restored_each_from_its_own_file(case, tmp_path):
    networks = dict(zip(("teacher", "student"), TWINS[case], strict=True))
    size = 75 if case == "layers without names" else 32
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, 3)).astype(np.float32)
    files, expected = {}, {}
    for seed, (role, (name, options)) in enumerate(networks.items()):
        plain = name.removeprefix("applications/")
        model = model_of(plain, size, **options)
        randomize(model, seed)
        files[f"{role}/"] = str(tmp_path / f"{role}.weights.h5")
        model.save_weights(files[f"{role}/"])
        expected[role] = model(prepared(plain, images), training=False).numpy()
    scopes = {"teacher": "teacher", "student": "student"}
    found = predicted(in_one_model(networks, **scopes), images, files)
    assert np.abs(found["teacher"] - found["student"]).max() > 0.01
    for role, logits in expected.items():
        np.testing.assert_allclose(found[role], logits, rtol=1e-3, atol=1e-4 * np.abs(logits).max())
    with pytest.raises(UsageError, match=r"name_scope='teacher'"):
        predicted(in_one_model(networks), images, files)
