"""Weights of other programs as checkpoint_path: files that Keras and TensorFlow write, and what mox makes of them."""

import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.engine.checkpoint.origins import wanted_of
from mox_core.engine.checkpoint.reader import load
from mox_core.engine.weights.matching import fit

IMAGES = np.random.default_rng(0).uniform(size=(6, 8, 8, 3)).astype(np.float32)
LABELS = np.arange(6) % 3


class Block(keras.layers.Layer):
    """A layer of the user's own, with a weight of its own, layers in attributes and in a list."""

    def __init__(self, **options):
        super().__init__(**options)
        self.first = keras.layers.Dense(4)
        self.others = [keras.layers.Dense(4), keras.layers.Dense(4)]
        self.scale = self.add_weight(shape=(4,), name="scale")

    def call(self, inputs):
        net = self.first(inputs)
        for layer in self.others:
            net = layer(net)
        return net * self.scale


def layers(images, classes=3):
    """A network with all that makes names of variables differ: scopes, numbers, layers in layers, attention."""
    net = keras.layers.Conv2D(4, 3, name="stem")(images)
    net = keras.layers.BatchNormalization()(net)
    inner = keras.Sequential([keras.layers.Conv2D(4, 1), keras.layers.BatchNormalization()], name="inner")
    net = keras.layers.Reshape([36, 4])(inner(net))
    net = keras.layers.MultiHeadAttention(2, 4)(net, net)
    net = Block(name="block")(keras.layers.GlobalAveragePooling1D()(net))
    net = keras.layers.Dense(5, activation="relu")(net)
    return keras.layers.Dense(classes, name="head")(net)


def plain_layers(images, classes=3):
    net = keras.layers.Conv2D(4, 3)(images)
    net = keras.layers.BatchNormalization(scale=False)(net)
    net = keras.layers.DepthwiseConv2D(3)(net)
    net = keras.layers.GlobalAveragePooling2D()(net)
    return keras.layers.Dense(classes)(keras.layers.Dense(5)(net))


def made_by_keras(build, classes=3):
    """A model of Keras in a process that has counted other layers before, with weights other than initial ones."""
    keras.layers.Dense(1), keras.layers.Conv2D(1, 1), keras.layers.BatchNormalization()
    inputs = keras.Input([8, 8, 3])
    model = keras.Model(inputs, build(inputs, classes))
    random = np.random.default_rng(1)
    values = [random.uniform(0.2, 1, each.shape).astype(each.dtype) for each in model.get_weights()]
    model.set_weights(values)
    return model


def model_fn_of(build, classes=3):
    def model_fn(inputs, mode):
        del mode
        logits = build(inputs[0], classes)
        loss = tf.compat.v1.losses.sparse_softmax_cross_entropy(inputs[1], logits)
        return mox.ModelSpec(loss=loss, log_info={"loss": loss}, output_info={"logits": logits})

    return model_fn


def input_fn(mode):
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))
    return dataset.repeat() if mode == mox.ModeKeys.TRAIN else dataset


def predict(model_fn, checkpoint_path):
    outputs = []
    mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        run_mode=mox.ModeKeys.PREDICT,
        batch_size=6,
        checkpoint_path=checkpoint_path,
        output_fn=outputs.extend,
        output_every_n_steps=1,
    )
    return outputs[0]["logits"]


def train(model_fn, checkpoint_path, log_dir=None, rate=0.0):
    return mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(rate),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=6,
        max_number_of_steps=1,
        checkpoint_path=checkpoint_path,
        log_dir=log_dir,
    )


@pytest.fixture(scope="module")
def nested(tmp_path_factory):
    """The model with layers in layers, compiled and trained so that its files hold an optimizer, in files of Keras."""
    folder = tmp_path_factory.mktemp("nested")
    model = made_by_keras(layers)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.train_on_batch(IMAGES, LABELS)
    model.save_weights(folder / "net.weights.h5")
    model.save(folder / "net.keras")
    model.save(folder / "net.h5")
    return folder, model.predict(IMAGES, verbose=0)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A model without a name of its own anywhere, in files of TensorFlow."""
    folder = tmp_path_factory.mktemp("plain")
    model = made_by_keras(plain_layers)
    model.export(folder / "exported", verbose=False)
    tf.saved_model.save(model, folder / "saved")
    tf.train.Checkpoint(model=model).save(folder / "objects" / "net")
    model.save_weights(folder / "net.weights.h5")
    return folder, model.predict(IMAGES, verbose=0)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("net.weights.h5", "weights of Keras"),
        ("net.keras", "a model of Keras"),
        ("net.h5", "a model of Keras in HDF5"),
    ],
)
def test_files_of_keras_give_its_predictions(nested, name, kind, said):
    folder, expected = nested
    np.testing.assert_allclose(predict(model_fn_of(layers), folder / name), expected, atol=1e-6)
    (line,) = said.starting(f"'{folder / name}' ({kind}): 31 of its 31 arrays belong to the model's 31 variables")
    assert line.endswith("the numbers at the ends of names are others, and paired in their order.")


@pytest.mark.parametrize("name", ["exported", "saved", "objects", "objects/net-1", "net.weights.h5"])
def test_files_of_tensorflow_give_the_models_predictions(plain, name):
    folder, expected = plain
    np.testing.assert_allclose(predict(model_fn_of(plain_layers), folder / name), expected, atol=1e-6)


def test_a_ready_made_model_takes_a_file_too(nested):
    """Its variables come in the order of their paths: 'beta' before 'gamma'."""
    folder, expected = nested
    model = made_by_keras(layers)
    model.set_weights([np.zeros_like(each) for each in model.get_weights()])

    def model_fn(inputs, mode):
        del mode
        return mox.ModelSpec(output_info={"logits": model(inputs[0])})

    np.testing.assert_allclose(predict(model_fn, folder / "net.weights.h5"), expected, atol=1e-6)


def test_published_files_of_keras_two_have_the_values_that_keras_three_loads(tmp_path):
    """`tf_keras` writes them as `keras.applications` publishes them: by layers, 'depthwise_kernel:0' for a 'kernel'."""
    import tf_keras

    options = {"weights": None, "alpha": 0.35, "input_shape": (32, 32, 3), "classes": 10}
    old = tf_keras.applications.MobileNetV2(**options)
    random = np.random.default_rng(2)
    old.set_weights([random.normal(size=each.shape) for each in old.get_weights()])
    path = tmp_path / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_32.h5"
    old.save_weights(path)
    new = keras.applications.MobileNetV2(**{**options, "weights": path})
    found = fit(load(path).weights, wanted_of({each.path: each.value for each in new.variables}))
    assert len(found.values) == len(new.variables) == 262
    assert not found.unused
    for each in new.variables:
        np.testing.assert_array_equal(found.values[each.path], each.numpy(), err_msg=each.path)


def test_training_begins_with_the_weights_and_counts_from_0(nested, tmp_path, variables):
    folder, _ = nested
    result = train(model_fn_of(layers), folder / "net.keras", tmp_path)
    found = variables(result.checkpoint)
    with h5py.File(folder / "net.weights.h5") as file:
        np.testing.assert_array_equal(found["stem/kernel"], file["layers/conv2d/vars/0"])
        np.testing.assert_array_equal(found["block/dense_2/kernel"], file["layers/block/others/dense_1/vars/0"])
    assert result.global_step == 1


def test_other_classes_are_refused_by_name_and_left_out_by_a_pattern(nested, said, tmp_path, variables):
    folder, _ = nested
    more, path = model_fn_of(layers, classes=7), folder / "net.weights.h5"
    with pytest.raises(
        mox.CheckpointError,
        match=r"2 variables have another shape .*head/kernel \(model \(5, 7\), checkpoint \(5, 3\)\)",
    ):
        train(more, path)
    mox.set_flag("checkpoint_exclude_patterns", "^head/")
    try:
        found = variables(train(more, path, tmp_path).checkpoint)
    finally:
        mox.set_flag("checkpoint_exclude_patterns", "")
    assert found["head/kernel"].shape == (5, 7)
    assert said.starting("2 variables are left out by the flags and keep their initial values: head/kernel, head/bias")


def test_a_file_needs_no_seeds_of_layers_that_draw_numbers(nested, said, tmp_path):
    folder, _ = nested

    def noisy(images, classes):
        return keras.layers.Dropout(0.5)(layers(images, classes))

    train(model_fn_of(noisy), folder / "net.weights.h5", tmp_path)
    assert not [line for line in said.lines if "initial value" in line]
    assert predict(model_fn_of(noisy), folder / "net.weights.h5") is not None


def test_what_fits_half_is_told_in_training_and_refused_in_evaluation(nested, said, tmp_path):
    """A net with a layer more, and one that the file has and it has not."""
    folder, _ = nested

    def wider(images, classes):
        net = keras.layers.Conv2D(4, 3, name="stem")(images)
        net = keras.layers.Conv2D(2, 1, name="added")(net)
        return keras.layers.Dense(classes, name="head")(keras.layers.Dense(5, name="own")(keras.layers.Flatten()(net)))

    train(model_fn_of(wider), folder / "net.keras", tmp_path)
    missing = "added/kernel, added/bias, own/kernel, own/bias"
    assert (
        f"WARNING:tensorflow:4 variables are not in the checkpoint and keep their initial values: {missing}"
        in said.lines
    )
    assert said.starting("27 values of the checkpoint are not used: batch_normalization_")
    with pytest.raises(mox.CheckpointError, match=f"4 variables of the model are not in checkpoint .*: {missing}"):
        predict(model_fn_of(wider), folder / "net.keras")


def test_a_file_of_another_model_is_refused_with_what_it_has(regression, nested):
    folder, _ = nested
    with pytest.raises(mox.CheckpointError, match=r"has none of the model's variables. It has: batch_normalization_\d"):
        mox.run(
            input_fn=regression.input_fn,
            model_fn=regression.model_fn,
            optimizer_fn=regression.sgd,
            run_mode="TRAIN",
            batch_size=4,
            max_number_of_steps=1,
            checkpoint_path=folder / "net.weights.h5",
        )


def test_layers_that_only_numbers_tell_apart_are_not_paired_where_their_numbers_differ_in_count(tmp_path, said):
    """Which of three is the second of two, nobody knows: a file of a process that had made layers before."""
    keras.layers.Dense(1)
    inputs = keras.Input([8, 8, 3])
    net = keras.layers.Dense(4)(keras.layers.Dense(4)(keras.layers.Dense(4)(keras.layers.Flatten()(inputs))))
    first = keras.Model(inputs, keras.layers.Dense(3, name="head")(net))
    first.save_weights(tmp_path / "three.weights.h5")

    def two(images, classes):
        net = keras.layers.Dense(4)(keras.layers.Dense(4)(keras.layers.Flatten()(images)))
        return keras.layers.Dense(classes, name="head")(net)

    train(model_fn_of(two), tmp_path / "three.weights.h5")
    (line,) = [each for each in said.lines if "are not in the checkpoint and keep" in each]
    assert line.endswith("initial values: dense_1/kernel, dense_1/bias, dense/kernel, dense/bias")


def _shortened(path):
    path.write_bytes(path.read_bytes()[:3000])


def _no_model(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"of another program")


def _hdf5_of_others(path):
    with h5py.File(path, "w") as file:
        file["numbers"] = np.arange(3)


def _without_names(path):
    made_by_keras(plain_layers).save_weights(path)
    with h5py.File(path, "a") as file:
        file.visititems(lambda _, each: each.attrs.pop("name", None) and None)


def _linked(path):
    made_by_keras(plain_layers).save_weights(path)
    with h5py.File(path, "a") as file:
        group = file["layers/conv2d/vars"]
        del group["0"]
        group["0"] = h5py.ExternalLink("/etc/hostname", "x")


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("net.pt", _no_model, "is a zip archive and no model of Keras: it lacks 'config.json' or 'model.weights.h5'"),
        (
            "net.safetensors",
            lambda path: path.write_bytes(b"{}" * 999),
            "is a file of no format that mox knows, or damaged",
        ),
        ("data.h5", _hdf5_of_others, "is a file of HDF5, and holds no weights of Keras"),
        (
            "old.weights.h5",
            _without_names,
            "does not have the names of its layers .* an earlier Keras wrote it. Load it",
        ),
        ("linked.weights.h5", _linked, "has '0' in '/layers/conv2d/vars' by a link"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_kind(tmp_path, name, write, words):
    write(tmp_path / name)
    with pytest.raises(mox.CheckpointError, match=words):
        load(tmp_path / name)


@pytest.mark.parametrize("name", ["net.weights.h5", "net.keras", "net.h5"])
def test_a_file_that_is_cut_off_is_damaged(nested, tmp_path, name):
    (tmp_path / name).write_bytes((nested[0] / name).read_bytes()[:3000])
    with pytest.raises(mox.CheckpointError, match=f"'{tmp_path / name}' is damaged"):
        load(tmp_path / name)


def test_half_precision_is_read_as_it_was_written(tmp_path):
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(2, dtype="bfloat16")])
    model.save_weights(tmp_path / "net.weights.h5")
    (kernel, _) = load(tmp_path / "net.weights.h5").weights.arrays()
    assert kernel.value.dtype == tf.bfloat16.as_numpy_dtype
    np.testing.assert_array_equal(kernel.value, model.get_weights()[0])


def test_a_preset_folder_gives_backbone_and_head(tmp_path):
    """As keras_hub lays it out: the backbone in one file, the head of the task in another, beside its optimizer."""
    inputs = keras.Input([8, 8, 3])
    features = keras.layers.Conv2D(4, 3, name="conv1_conv")(inputs)
    features = keras.layers.BatchNormalization(name="conv1_bn")(features)
    backbone = keras.Model(inputs, features, name="res_net_backbone")
    pooled = keras.layers.GlobalAveragePooling2D(name="pooler")(backbone(inputs))
    head = keras.layers.Dense(3, name="predictions")
    classifier = keras.Model(inputs, head(pooled), name="image_classifier")
    random = np.random.default_rng(3)
    classifier.set_weights([random.uniform(0.2, 1, each.shape) for each in classifier.get_weights()])
    backbone.save_weights(tmp_path / "model.weights.h5")
    keras.Sequential([keras.Input([4]), head], name="image_classifier").save_weights(tmp_path / "task.weights.h5")
    (tmp_path / "config.json").write_text('{"class_name": "ResNetBackbone", "config": {}}')
    (tmp_path / "task.json").write_text('{"config": {"num_classes": 3, "labels": ["rose", "tulip", "daisy"]}}')

    def net(images, classes):
        features = keras.layers.BatchNormalization(name="conv1_bn")(
            keras.layers.Conv2D(4, 3, name="conv1_conv")(images)
        )
        return keras.layers.Dense(classes, name="predictions")(tf.reduce_mean(features, [1, 2]))

    expected = classifier.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(predict(model_fn_of(net), tmp_path), expected, atol=1e-6)
    assert load(tmp_path).weights.labels == ("rose", "tulip", "daisy")
    (tmp_path / "model.weights.h5").rename(tmp_path / "model_00000.weights.h5")
    with pytest.raises(
        mox.CheckpointError, match=r"is a preset of keras_hub whose weights are not in 'model.weights.h5'"
    ):
        load(tmp_path)


def test_a_real_preset_of_keras_hub_is_read(tmp_path):
    hub = pytest.importorskip("keras_hub", reason="keras_hub is not installed")
    backbone = hub.models.ResNetBackbone([64], [3], [64, 64], [1, 1], [1, 2], "basic_block", image_shape=(16, 16, 3))
    classifier = hub.models.ImageClassifier(backbone=backbone, num_classes=3)
    classifier.save_to_preset(str(tmp_path / "preset"))
    found = {each.label for each in load(tmp_path / "preset").weights.arrays()}
    assert len(found) == len(classifier.weights)


def test_a_savedmodel_of_tensorflow_one_and_its_checkpoint_give_its_predictions(tmp_path):
    v1 = tf.compat.v1

    def net(images):
        with v1.variable_scope("net"):
            kernel = v1.get_variable("conv1/weights", [3, 3, 3, 4])
            features = tf.reduce_mean(tf.nn.conv2d(images, kernel, 1, "SAME"), [1, 2])
            with v1.variable_scope("logits"):
                return features @ v1.get_variable("weights", [4, 3]) + v1.get_variable("biases", [3])

    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, [None, 8, 8, 3])
        logits = net(images)
        v1.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_mean(logits), v1.train.get_or_create_global_step())
        session.run(v1.global_variables_initializer())
        expected = session.run(logits, {images: IMAGES})
        v1.saved_model.simple_save(session, str(tmp_path / "model"), {"images": images}, {"logits": logits})
        prefix = v1.train.Saver().save(session, str(tmp_path / "net.ckpt"))

    def model_fn(inputs, mode):
        del mode
        return mox.ModelSpec(output_info={"logits": net(inputs[0])})

    np.testing.assert_allclose(predict(model_fn, tmp_path / "model"), expected, atol=1e-6)
    np.testing.assert_allclose(predict(model_fn, prefix), expected, atol=1e-6)
    (tmp_path / "model" / "variables" / "variables.index").unlink()
    with pytest.raises(mox.CheckpointError, match="is a SavedModel without variables"):
        load(tmp_path / "model")
