"""Two networks in one model: names that do not collide, and a checkpoint or file for each of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox

IMAGES = np.random.default_rng(0).uniform(size=(4, 6, 6, 3)).astype(np.float32)


def of_keras(*, num_classes, width=4, **_):
    """A network whose layers have names of their own, or numbers."""

    def network(images):
        net = keras.layers.Conv2D(width, 3, name="stem")(images)
        net = keras.layers.BatchNormalization()(net)
        return keras.layers.Dense(num_classes)(keras.layers.Dense(5)(keras.layers.Flatten()(net))), {}

    return network


def of_tf1(*, num_classes, **_):
    """A network as slim has them: variables in scopes."""

    def network(images):
        v1 = tf.compat.v1
        with v1.variable_scope("net"):
            kernel = v1.get_variable("conv/weights", [3, 3, 3, 4])
            net = tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(images, kernel, 1, "VALID")), [1, 2])
            return net @ v1.get_variable("logits/weights", [4, num_classes]), {}

    return network


def alone(network, **options):
    def model_fn(inputs, mode):
        logits, _ = mox.get_model_fn(network, run_mode=mode, num_classes=3, **options)(inputs[0])
        loss = tf.reduce_mean(logits)
        return mox.ModelSpec(loss=loss, log_info={"loss": loss}, output_info={"alone": logits})

    return model_fn


def both(network, **options):
    def model_fn(inputs, mode):
        logits = {
            scope: mox.get_model_fn(network, run_mode=mode, num_classes=3, name_scope=scope, **options)(inputs[0])[0]
            for scope in ("teacher", "student")
        }
        loss = tf.reduce_mean((logits["teacher"] - logits["student"]) ** 2)
        return mox.ModelSpec(loss=loss, log_info={"loss": loss}, output_info=logits)

    return model_fn


def input_fn(mode):
    dataset = tf.data.Dataset.from_tensor_slices(IMAGES)
    return dataset.repeat() if mode == mox.ModeKeys.TRAIN else dataset


def train(model_fn, steps=1, rate=0.1, **options):
    return mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.MomentumOptimizer(rate, 0.9),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=4,
        max_number_of_steps=steps,
        **options,
    )


def predict(model_fn, checkpoint_path):
    outputs = []
    mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        run_mode=mox.ModeKeys.PREDICT,
        batch_size=4,
        checkpoint_path=checkpoint_path,
        output_fn=outputs.extend,
        output_every_n_steps=1,
    )
    return outputs[0]


@pytest.fixture(scope="module", params=[of_keras, of_tf1], ids=["Keras", "TF1"])
def trained(request, tmp_path_factory):
    """A network, and two trainings of it alone, with what they predict."""
    folders = [tmp_path_factory.mktemp("alone") / name for name in "ab"]
    for steps, folder in enumerate(folders, start=1):
        tf.random.set_seed(steps)
        train(alone(request.param), steps, log_dir=folder)
    return request.param, folders, [predict(alone(request.param), folder)["alone"] for folder in folders]


def test_twins_have_names_of_their_own_and_each_its_own_checkpoint(trained, said, tmp_path, variables):
    network, (first, second), (of_first, of_second) = trained
    assert np.abs(of_first - of_second).max() > 1e-3
    paths = {"teacher": first, "student/": second / "model.ckpt-2"}
    found = predict(both(network), paths)
    np.testing.assert_allclose(found["teacher"], of_first, atol=1e-6)
    np.testing.assert_allclose(found["student"], of_second, atol=1e-6)
    result = train(both(network), rate=0.0, checkpoint_path=paths, log_dir=tmp_path / "log")
    assert said.starting("The global step begins at 0, and so do learning rates that follow it.")
    kept = variables(result.checkpoint)
    names = {name for name in variables(first / "model.ckpt-1") if not name.startswith(("mox/", "global_step"))}
    assert names
    assert {f"{scope}/{name}" for scope in ("teacher", "student") for name in names} <= kept.keys()
    own = tmp_path / "log" / "model.ckpt-0"  # before averages have moved
    again = predict(both(network), own)
    np.testing.assert_allclose(again["student"], of_second, atol=1e-6)
    swapped = predict(both(network), {"teacher/": own, "student/": first})  # the scope is in its names
    np.testing.assert_allclose(swapped["teacher"], of_first, atol=1e-6)
    np.testing.assert_allclose(swapped["student"], of_first, atol=1e-6)


def test_one_of_two_networks_may_begin_anew(trained, said):
    network, (first, _), _ = trained
    with pytest.raises(
        mox.CheckpointError, match=r"variables of the model are not in checkpoint .*for 'teacher/'.*: student/"
    ):
        predict(both(network), {"teacher/": first})
    said.clear()
    train(both(network), checkpoint_path={"teacher/": first})
    (missing,) = [line for line in said.lines if "are not in the checkpoint and keep their initial values" in line]
    assert "student/" in missing
    assert "teacher/" not in missing


def test_two_networks_of_keras_take_files_of_keras(tmp_path):
    """Under the user's own variable scopes too, where Keras goes on counting: 'student/dense_2'."""

    def keras_model():
        inputs = keras.Input([6, 6, 3])
        return keras.Model(inputs, of_keras(num_classes=3)(inputs)[0])

    def in_own_scopes(inputs, mode):
        del mode
        logits = {}
        for scope in ("teacher", "student"):
            with tf.compat.v1.variable_scope(scope):
                logits[scope], _ = of_keras(num_classes=3)(inputs[0])
        return mox.ModelSpec(output_info=logits)

    expected, paths = {}, {}
    for scope in ("teacher", "student"):
        model = keras_model()
        paths[f"{scope}/"] = tmp_path / f"{scope}.weights.h5"
        model.save_weights(paths[f"{scope}/"])
        expected[scope] = model.predict(IMAGES, verbose=0)
    for model_fn in (both(of_keras), in_own_scopes):
        found = predict(model_fn, paths)
        np.testing.assert_allclose(found["teacher"], expected["teacher"], atol=1e-6)
        np.testing.assert_allclose(found["student"], expected["student"], atol=1e-6)
    with pytest.raises(
        mox.CheckpointError, match=r"fits what the model has under '(\w+)/' and under '(\w+)/' alike. Say which"
    ):
        predict(both(of_keras), paths["teacher/"])


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (of_keras, r"two variables 'stem/kernel'.*mox.get_model_fn\(\.\.\., name_scope='teacher'\)"),
        (of_tf1, r"variables that this model has already \(Variable net/conv/weights, for one\).*name_scope='teacher'"),
    ],
)
def test_two_networks_of_one_family_without_scopes_are_refused_with_the_way_out(network, words):
    def model_fn(inputs, mode):
        first, _ = mox.get_model_fn(network, run_mode=mode, num_classes=3)(inputs[0])
        second, _ = mox.get_model_fn(network, run_mode=mode, num_classes=3)(inputs[0])
        loss = tf.reduce_mean(first - second)
        return mox.ModelSpec(loss=loss, log_info={"loss": loss})

    with pytest.raises(mox.UsageError, match=words):
        train(model_fn)


@pytest.mark.parametrize("scope", ["", "a b", "/a", "a/", 3, "ä"])
def test_a_name_scope_that_is_none_is_refused(scope):
    with pytest.raises(mox.UsageError, match=r"name_scope is .*; it must be a name such as 'teacher'"):
        mox.get_model_fn(of_keras, run_mode="TRAIN", num_classes=3, name_scope=scope)


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ({"techer/": "a"}, "checkpoint_path has 'techer/', and no variable .* Did you mean 'teacher/'"),
        ({3: "a"}, "checkpoint_path has the key 3; keys are scopes"),
        ({}, "checkpoint_path is {}, which names nothing to begin with"),
        ({"teacher": None}, r"checkpoint_path\['teacher'\] is None; it must be a path"),
        ({"teacher": "a", "teacher/": "b"}, "checkpoint_path has 'teacher/' twice"),
        ({"teacher": "none.ckpt"}, "'none.ckpt' is neither a folder nor the prefix of a checkpoint"),
    ],
)
def test_scopes_that_cannot_be_restored_are_refused(paths, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.get_variable("x", [1])
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "a"), write_meta_graph=False)
    with pytest.raises((mox.UsageError, mox.CheckpointError), match=words):
        train(both(of_tf1), checkpoint_path=paths)


def test_a_part_that_fits_nothing_is_refused_with_both_sides(trained):
    network, (first, _), _ = trained
    other = of_tf1 if network is of_keras else of_keras
    with pytest.raises(
        mox.CheckpointError, match=r"has none of the model's variables under 'student/'. It has: .*; the model"
    ):
        train(both(other), checkpoint_path={"student/": first})
