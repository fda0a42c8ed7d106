"""`mox weights`: a checkpoint of a network from a file of weights, what is told of it, and what a file holds."""

import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core import cli
from mox_core.serving.description import Classes, Description

PLUGIN = """
import keras
import tensorflow as tf
from mox_core.plugins import NetworkMeta, NetworkOffer, hookimpl

@hookimpl
def mox_networks():
    meta = NetworkMeta(default_image_size=8, default_labels_offset=0, default_logits_pattern="predictions")
    yield NetworkOffer("small", "mox_small.plugin:small", summary="two layers", meta=meta)
    yield NetworkOffer("mobilenet_v2", "mox_small.plugin:stem", summary="the ends of one", meta=meta)
    yield NetworkOffer("vgg_16", "mox_small.plugin:small", summary="another one of that name", meta=meta)

def layers(images, num_classes):
    net = keras.layers.Conv2D(4, 3, name="stem")(images)
    net = keras.layers.BatchNormalization(name="norm")(net)
    return keras.layers.Dense(num_classes, name="predictions")(keras.layers.GlobalAveragePooling2D()(net))

def small(*, run_mode, num_classes, **options):
    return lambda images: (layers(images, num_classes), {})

def stem(*, run_mode, num_classes, **options):
    def network(images):
        net = keras.layers.Conv2D(32, 3, strides=2, use_bias=False, name="Conv1")(images)
        net = tf.tile(tf.reduce_mean(net, [1, 2]), [1, 40])
        return keras.layers.Dense(num_classes, name="predictions")(net), {}
    return network
"""


@pytest.fixture
def small(fresh_plugins, install_fake):
    """A plugin with two networks; returns the function that makes the layers of one."""
    install_fake("mox-small", "small", PLUGIN)
    fresh_plugins()
    from mox_small.plugin import layers

    return layers


def keras_model(layers, classes=5, channels=3):
    inputs = keras.Input([8, 8, channels])
    model = keras.Model(inputs, layers(inputs, classes))
    random = np.random.default_rng(4)
    model.set_weights([random.uniform(0.2, 1, each.shape) for each in model.get_weights()])
    return model


@pytest.fixture
def mox_weights(capsys):
    """Runs `mox weights`, and returns its exit status, what it printed, and its errors."""

    def run(*arguments):
        status = cli.main(["weights", *map(str, arguments)])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def predict(checkpoint_path, images, classes):
    outputs = []

    def model_fn(inputs, mode):
        logits, _ = mox.get_model_fn("small", run_mode=mode, num_classes=classes)(inputs[0])
        return mox.ModelSpec(output_info={"logits": logits})

    mox.run(
        input_fn=lambda mode: tf.data.Dataset.from_tensor_slices(images),  # noqa: ARG005
        model_fn=model_fn,
        run_mode=mox.ModeKeys.PREDICT,
        batch_size=len(images),
        checkpoint_path=checkpoint_path,
        output_fn=outputs.extend,
        output_every_n_steps=1,
    )
    return outputs[0]["logits"]


def test_a_file_becomes_a_checkpoint_with_the_number_of_its_classes(small, mox_weights, tmp_path):
    model, prefix = keras_model(small), tmp_path / "new" / "small.ckpt"
    model.save_weights(tmp_path / "small.weights.h5")
    status, out, _ = mox_weights("import", tmp_path / "small.weights.h5", "--network", "small", "--to", prefix)
    assert status == 0
    assert out.splitlines() == [
        f"{prefix}: 8 of the 8 variables of small, from {tmp_path}/small.weights.h5 (weights of Keras)",
        "  classes  5",
    ]
    images = np.random.default_rng(5).uniform(size=(3, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(predict(prefix, images, 5), model.predict(images, verbose=0), atol=1e-6)
    status, out, _ = mox_weights("show", prefix)
    lines = [line.split() for line in out.splitlines()]
    assert out.startswith(f"{prefix}: a checkpoint, 8 arrays, 153 parameters\n")  # 112 + 4 * 4 + 25
    assert ["stem/kernel", "(3,", "3,", "3,", "4)", "float32", "108"] in lines
    assert ["predictions/kernel", "(4,", "5)", "float32", "20"] in lines
    assert tf.train.load_checkpoint(str(prefix)).get_tensor("mox/num_classes") == 5
    status, _, err = mox_weights("import", tmp_path / "small.weights.h5", "--network", "small", "--to", prefix)
    assert (status, err) == (
        2,
        f"mox: error: --to is '{prefix}', and there is such a checkpoint. Take another name, or remove its files.\n",
    )


def test_a_file_for_grey_images_becomes_a_checkpoint_for_them(small, mox_weights, tmp_path):
    model = keras_model(small, classes=7, channels=1)
    model.save_weights(tmp_path / "grey.weights.h5")
    status, out, _ = mox_weights("import", tmp_path / "grey.weights.h5", "--network", "small", "--to", tmp_path / "g")
    assert (status, out.splitlines()[1:]) == (0, ["  classes  7"])
    images = np.random.default_rng(5).uniform(size=(3, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(predict(tmp_path / "g", images, 7), model.predict(images, verbose=0), atol=1e-6)


@pytest.mark.usefixtures("small")
def test_what_is_missing_and_what_is_not_used_is_named(mox_weights, tmp_path):
    inputs = keras.Input([8, 8, 3])
    net = keras.layers.Conv2D(4, 3, name="stem")(inputs)
    net = keras.layers.Dense(5, name="predictions")(keras.layers.GlobalAveragePooling2D()(net))
    keras.Model(inputs, [net, keras.layers.Dense(2, name="other")(net)]).save(tmp_path / "half.keras")
    status, out, _ = mox_weights("import", tmp_path / "half.keras", "--network", "small", "--to", tmp_path / "half")
    assert status == 1
    assert out.splitlines() == [
        f"{tmp_path}/half: 4 of the 8 variables of small, from {tmp_path}/half.keras (a model of Keras)",
        "  classes  5",
        "  missing  4, which the file does not have: norm/gamma, norm/beta, norm/moving_mean, norm/moving_variance",
        "  unused   2 of the file: other/0, other/1",
    ]
    assert "norm/gamma" not in dict(tf.train.list_variables(str(tmp_path / "half")))


def test_a_file_without_logits_is_whole_for_its_backbone(small, mox_weights, tmp_path):
    whole = keras_model(small)
    keras.Model(whole.inputs, whole.get_layer("norm").output).save_weights(tmp_path / "notop.weights.h5")
    status, out, _ = mox_weights(
        "import", tmp_path / "notop.weights.h5", "--network", "small", "--to", tmp_path / "net"
    )
    assert status == 0
    assert out.splitlines()[1:] == ["  logits  the file has none: predictions/kernel, predictions/bias"]
    assert "mox/num_classes" not in dict(tf.train.list_variables(str(tmp_path / "net")))


def test_other_shapes_and_other_networks_are_refused_and_nothing_is_written(small, mox_weights, tmp_path):
    keras_model(small).save_weights(tmp_path / "small.weights.h5")
    keras.Sequential([keras.Input([8, 8, 3]), keras.layers.Conv2D(6, 3, name="stem")]).save_weights(
        tmp_path / "wide.weights.h5"
    )
    keras.Sequential([keras.Input([3]), keras.layers.Dense(2, name="x")]).save_weights(tmp_path / "x.weights.h5")
    (tmp_path / "notes.txt").write_text("no weights")
    refused = {
        ("wide.weights.h5", "small"): "2 values of .*stem/kernel \\(network \\(3, 3, 3, 4\\), file \\(3, 3, 3, 6\\)\\)",
        (
            "x.weights.h5",
            "small",
        ): "has none of the variables of network 'small'. It has: x/0, x/1; the network has: stem/",
        (
            "notes.txt",
            "small",
        ): "is a file of no format that mox knows, or damaged. Known are weights and models of Keras",
        ("none.h5", "small"): f"^mox: error: FILE: there is no file '{tmp_path}/none.h5'\\.$",
        ("small", "small"): f"^mox: error: FILE '{tmp_path}/small' is neither .* mean '{tmp_path}/small.weights.h5'",
        ("small.weights.h5", "smal"): "unknown network 'smal'.\nDid you mean 'small'",
    }
    for (name, network), words in refused.items():
        status, out, err = mox_weights("import", tmp_path / name, "--network", network, "--to", tmp_path / "net")
        assert (status, out) == (2, "")
        assert re.search(words, err), err
    many = ("--num_classes", "7")
    status, _, err = mox_weights(
        "import", tmp_path / "small.weights.h5", "--network", "small", "--to", tmp_path / "net", *many
    )
    assert "with 7 classes: predictions/kernel (network (4, 7), file (4, 5))" in err
    notes = tmp_path / "notes.txt"
    status, _, err = mox_weights("import", tmp_path / "small.weights.h5", "--network", "small", "--to", notes)
    assert err.startswith(f"mox: error: --to is '{notes}', a file; it must be the prefix of a checkpoint")
    wider = keras.Sequential(
        [keras.Input([8, 8, 3]), keras.layers.Conv2D(6, 3, name="stem"), keras.layers.BatchNormalization(name="norm")]
    )
    wider.save_weights(tmp_path / "wider.weights.h5")
    status, _, err = mox_weights(
        "import", tmp_path / "wider.weights.h5", "--network", "small", "--to", tmp_path / "net"
    )
    assert err.startswith(f"mox: error: 6 values of '{tmp_path}/wider.weights.h5' have another shape")
    assert "this one with other options of mox.get_model_fn" in err
    assert not list(tmp_path.glob("net*"))


CHAINS = """
import keras
import tensorflow as tf
from mox_core.plugins import NetworkMeta, NetworkOffer, hookimpl

@hookimpl
def mox_networks():
    meta = NetworkMeta(default_image_size=8, default_labels_offset=0, default_logits_pattern="predictions")
    yield NetworkOffer("chain", "mox_PLUGIN.plugin:chain", summary="eleven layers", meta=meta)

def layers(images, num_classes):
    net = tf.reduce_mean(images, [1, 2])
    for number in range(11):
        net = keras.layers.Dense(3, name=f"PLUGIN_{number}")(net)
    return keras.layers.Dense(num_classes, name="predictions")(net)

def chain(*, run_mode, num_classes, **options):
    return lambda images: (layers(images, num_classes), {})
"""


@pytest.fixture
def chains(fresh_plugins, install_fake, tmp_path):
    """Two networks of one name, whose logits alone have the same names; returns a file of the second."""
    install_fake("mox-first", "first", CHAINS.replace("PLUGIN", "first"))
    install_fake(
        "mox-second", "second", CHAINS.replace("PLUGIN", "second").replace("meta=meta", "meta=meta, yields=True")
    )
    fresh_plugins()
    inputs = keras.Input([3])
    net = inputs
    for number in range(11):
        net = keras.layers.Dense(3, name=f"second_{number}")(net)
    path = tmp_path / "second.weights.h5"
    keras.Model(inputs, keras.layers.Dense(1000, name="predictions")(net)).save_weights(path)
    return path


def begin(path, mode=mox.ModeKeys.TRAIN):
    def model_fn(inputs, mode):
        logits, _ = mox.get_model_fn("chain", run_mode=mode, num_classes=1000)(inputs[0])
        return mox.ModelSpec(loss=tf.reduce_mean(logits), log_info={"mean": tf.reduce_mean(logits)})

    return mox.run(
        input_fn=lambda mode: tf.data.Dataset.from_tensors(tf.ones([8, 8, 3])).repeat(2),  # noqa: ARG005
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.0),
        run_mode=mode,
        batch_size=2,
        max_number_of_steps=1,
        checkpoint_path=path,
    )


def test_a_file_of_which_the_head_alone_fits_is_refused_and_the_network_that_it_fits_is_named(
    chains, mox_weights, tmp_path
):
    status, _, err = mox_weights("import", chains, "--network", "chain", "--to", tmp_path / "net")
    assert status == 2
    assert (
        f"'{chains}' (weights of Keras) has next to nothing of network 'chain': 2 of its 24 variables, "
        "predictions/kernel, predictions/bias. It is of another network, and has second_0/0, " in err
    )
    assert err.endswith(
        "It fits 'second/chain': --network second/chain, and mox.get_model_fn('second/chain', ...) in a run.\n"
    )
    assert not list(tmp_path.glob("net*"))
    other = "Another network is called 'chain' too, and it may be of that one: mox.get_model_fn('second/chain', ...)."
    with pytest.raises(mox.CheckpointError) as raised:
        begin(chains)
    assert "next to nothing of the model: 2 of its 24 variables, predictions/" in str(raised.value)
    assert f"{other} If that is meant, say so: --checkpoint_include_patterns=predictions/" in str(raised.value)
    with pytest.raises(mox.CheckpointError) as raised:
        begin(chains, mox.ModeKeys.EVAL)
    assert str(raised.value).startswith(f"22 variables of the model are not in checkpoint '{chains}': first_0/kernel")
    assert str(raised.value).endswith(other)
    assert "log_dir" not in str(raised.value)
    mox.set_flag("checkpoint_include_patterns", "predictions")
    try:
        assert begin(chains).steps == 1
    finally:
        mox.set_flag("checkpoint_include_patterns", "")


def test_an_exported_model_keeps_the_names_of_its_classes(small, mox_weights, tmp_path):
    folder = tmp_path / "exported"
    tf.saved_model.save(keras_model(small, 3), folder)
    names = ("daisy", "rose", "tulip")
    Description(classes=Classes(output="logits", names=names, scores="softmax")).write(str(folder))
    status, out, _ = mox_weights("import", folder, "--network", "small", "--to", tmp_path / "net")
    assert (status, out.splitlines()[1:]) == (0, ["  classes  3: daisy, rose, tulip"])
    assert tf.train.load_checkpoint(str(tmp_path / "net")).get_tensor("mox/labels").tolist() == [
        b"daisy",
        b"rose",
        b"tulip",
    ]
    assert mox_weights("show", tmp_path / "net")[1].endswith("3 classes: daisy, rose, tulip\n")
    assert mox_weights("show", folder)[1].endswith("3 classes: daisy, rose, tulip\n")
    predict(tmp_path / "net", np.zeros((1, 8, 8, 3), np.float32), 3)  # what it keeps besides disturbs no run


def test_the_newest_checkpoint_of_a_log_dir_is_shown_without_what_belongs_to_the_training(
    regression, mox_weights, tmp_path
):
    mox.run(
        input_fn=regression.input_fn,
        model_fn=regression.model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.MomentumOptimizer(0.1, 0.9),
        run_mode="TRAIN",
        batch_size=4,
        max_number_of_steps=2,
        log_dir=tmp_path,
    )
    status, out, _ = mox_weights("show", tmp_path)
    assert status == 0
    assert out.splitlines() == [
        f"{tmp_path}/model.ckpt-2: a checkpoint, 4 arrays, 8 parameters",
        "  name              shape  type     parameters",
        "  bias              ()     float32  1",
        "  bias/Momentum     ()     float32  1",
        "  weights           (3,)   float32  3",
        "  weights/Momentum  (3,)   float32  3",
    ]


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    """An empty folder where Keras keeps what it fetches, on a machine without a network."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path / "keras"))  # read when it is imported
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    (tmp_path / "keras" / "models").mkdir(parents=True)
    return tmp_path / "keras" / "models"


PUBLISHED = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"


@pytest.mark.usefixtures("small")
def test_imagenet_takes_the_file_that_keras_has_in_its_cache(keras_home, mox_weights, tmp_path, said, variables):
    import tf_keras

    whole = tf_keras.applications.MobileNetV2(weights=None)
    whole.save_weights(keras_home / PUBLISHED)
    index = {str(number): [f"n{number:08}", f"class_{number}"] for number in range(1000)}
    (keras_home / "imagenet_class_index.json").write_text(json.dumps(index))
    prefix = tmp_path / "net"
    status, out, _ = mox_weights("import", "imagenet", "--network", "mobilenet_v2", "--to", prefix)
    assert status == 0
    first, classes, unused = out.splitlines()
    source = "imagenet (the weights of keras.applications.MobileNetV2)"
    assert first == f"{prefix}: 3 of the 3 variables of mobilenet_v2, from {source}"
    assert classes.startswith("  classes  1000: class_0, class_1, ")
    assert unused.startswith("  unused   259 of the file: ")
    kernel = whole.get_layer("Conv1").get_weights()[0]
    np.testing.assert_array_equal(tf.train.load_checkpoint(str(prefix)).get_tensor("Conv1/kernel"), kernel)

    def model_fn(inputs, mode):
        logits, _ = mox.get_model_fn("mobilenet_v2", run_mode=mode, num_classes=1000)(inputs)
        return mox.ModelSpec(loss=tf.reduce_mean(logits))

    result = mox.run(
        input_fn=lambda mode: tf.ones([8, 8, 3]),  # noqa: ARG005
        model_fn=lambda inputs, mode: model_fn(inputs[0], mode),
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.0),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=2,
        max_number_of_steps=1,
        checkpoint_path="imagenet",
        log_dir=tmp_path / "log",
    )
    assert said.starting("'imagenet' (the weights of keras.applications.MobileNetV2): 3 of its 262 arrays belong to")
    np.testing.assert_array_equal(variables(result.checkpoint)["Conv1/kernel"], kernel)


@pytest.mark.usefixtures("small")
def test_imagenet_that_is_not_there_names_the_file_and_its_place(keras_home, mox_weights, tmp_path):
    status, _, err = mox_weights("import", "imagenet", "--network", "mobilenet_v2", "--to", tmp_path / "net")
    assert status == 2
    assert "the weights of 'mobilenet_v2' are not on this machine, and Keras could not fetch them: fetch http" in err
    assert err.endswith(f"{PUBLISHED} elsewhere and put the file in '{keras_home / PUBLISHED}'.\n")
    status, _, err = mox_weights("import", "imagenet", "--network", "small", "--to", tmp_path / "net")
    assert "keras.applications publishes no weights of a network 'small'. Pass the path" in err
    status, _, err = mox_weights("import", "imagenet", "--network", "vgg_16", "--to", tmp_path / "net")
    assert err == (
        "mox: error: 'imagenet' stands for what keras.applications publishes, and its VGG16 is another network than "
        "'vgg_16': it has 2 of the 8 variables. Pass the path of a file of weights instead.\n"
    )
    assert mox_weights("show", "imagenet")[2].startswith(
        "mox: error: 'imagenet' names the weights of a network: mox weights"
    )
