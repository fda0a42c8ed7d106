"""Two networks against each other, as in chapter 4.2: what each loss moves, and when, and what else a step does."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import mox_core as mox
from checkpoints import values_of

REAL = np.random.default_rng(1).normal(1.0, 1.0, size=(60, 3)).astype(np.float32)
NOISE = np.random.default_rng(2).normal(size=(60, 2)).astype(np.float32)
BATCH = 10


def _input_fn(mode):
    del mode
    return tf.data.Dataset.from_tensor_slices((REAL, NOISE)).repeat()


def _batches(steps):
    for step in range(steps):
        rows = np.arange(step * BATCH, (step + 1) * BATCH) % len(REAL)
        yield REAL[rows].astype(np.float64), NOISE[rows].astype(np.float64)


def _tf1_networks(training, *, normalize=False):
    layers = tf.compat.v1.layers

    def generator(x):
        with tf.compat.v1.variable_scope("generator"):
            return layers.dense(x, 3)

    def discriminator(x, reuse):
        with tf.compat.v1.variable_scope("discriminator", reuse=reuse):
            if normalize:
                x = layers.batch_normalization(x, momentum=0.9, training=training)
            return layers.dense(x, 1)

    return generator, discriminator


def _keras_networks(training, *, normalize=False):
    first = [keras.layers.BatchNormalization(momentum=0.9)] if normalize else []
    generator = keras.Sequential([keras.layers.Dense(3)], name="generator")
    discriminator = keras.Sequential([*first, keras.layers.Dense(1, name="dense")], name="discriminator")
    return generator, lambda x, reuse: discriminator(x, training=training)  # noqa: ARG005


FORMS = pytest.mark.parametrize("networks", [_tf1_networks, _keras_networks], ids=["TF1", "Keras"])


def _model_fn(networks, **options):
    def model_fn(inputs, mode):
        real, noise = inputs
        generator, discriminator = networks(mode == mox.ModeKeys.TRAIN, **options)
        drawn = generator(noise)
        of_real, of_drawn = discriminator(real, reuse=False), discriminator(drawn, reuse=True)
        judged = tf.reduce_mean(tf.nn.softplus(-of_real)) + tf.reduce_mean(tf.nn.softplus(of_drawn))
        fooled = tf.reduce_mean(tf.nn.softplus(-of_drawn))
        return mox.ModelSpec(
            loss=[judged, fooled],
            var_scopes=[["discriminator"], ["generator"]],
            log_info={"discriminator": judged, "generator": fooled},
        )

    return model_fn


def _train(model_fn, rates, log_dir, steps):
    return mox.run(
        input_fn=_input_fn,
        model_fn=model_fn,
        optimizer_fn=[mox.get_optimizer_fn("sgd", learning_rate=rate) for rate in rates],
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=BATCH,
        log_dir=log_dir,
        max_number_of_steps=steps,
    )


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _expected(start, rates, steps):
    """What the two do to each other, by hand: both gradients at the same weights, then both steps."""
    names = ["discriminator/dense/kernel", "discriminator/dense/bias", "generator/dense/kernel", "generator/dense/bias"]
    v, c, w, b = (start[name].astype(np.float64) for name in names)
    losses = None
    for real, noise in _batches(steps):
        drawn = noise @ w + b
        of_real, of_drawn = real @ v + c, drawn @ v + c
        losses = [
            np.mean(np.log1p(np.exp(-of_real))) + np.mean(np.log1p(np.exp(of_drawn))),
            np.mean(np.log1p(np.exp(-of_drawn))),
        ]
        to_real, to_drawn = (_sigmoid(of_real) - 1) / BATCH, _sigmoid(of_drawn) / BATCH
        to_v, to_c = real.T @ to_real + drawn.T @ to_drawn, np.sum(to_real + to_drawn)
        back = (_sigmoid(of_drawn) - 1) / BATCH @ v.T
        v, c = v - rates[0] * to_v, c - rates[0] * to_c
        w, b = w - rates[1] * noise.T @ back, b - rates[1] * back.sum(axis=0)
    return dict(zip(names, [v, c, w, b], strict=True)), losses


@FORMS
def test_each_loss_moves_its_own_network_once_a_step_on_the_same_input_and_weights(networks, tmp_path):
    rates = [0.5, 0.2]
    result = _train(_model_fn(networks), rates, tmp_path, steps=8)
    weights, losses = _expected(values_of(tmp_path / "model.ckpt-0"), rates, 8)
    found = values_of(tmp_path / "model.ckpt-8")
    assert found["global_step"] == 8
    for name, value in weights.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(list(result.metrics.values()), losses, atol=1e-5)


@FORMS
@pytest.mark.parametrize(("rates", "still"), [([0.5, 0.0], "generator"), ([0.0, 0.5], "discriminator")])
def test_a_loss_leaves_the_other_network_alone(networks, rates, still, tmp_path):
    _train(_model_fn(networks), rates, tmp_path, steps=2)
    before, after = values_of(tmp_path / "model.ckpt-0"), values_of(tmp_path / "model.ckpt-2")
    unmoved = {name.split("/")[0] for name in before if "dense" in name and np.array_equal(before[name], after[name])}
    assert unmoved == {still}


@FORMS
def test_the_averages_of_a_batch_norm_see_real_and_drawn_samples_in_every_step(networks, tmp_path):
    _train(_model_fn(networks, normalize=True), [0.0, 0.0], tmp_path, steps=5)
    start, found = values_of(tmp_path / "model.ckpt-0"), values_of(tmp_path / "model.ckpt-5")
    mean, variance = np.zeros(3), np.ones(3)
    for real, noise in _batches(5):
        for samples in (real, noise @ start["generator/dense/kernel"]):  # in the order of the calls
            mean = 0.9 * mean + 0.1 * samples.mean(axis=0)
            variance = 0.9 * variance + 0.1 * samples.var(axis=0)
    np.testing.assert_allclose(found["discriminator/batch_normalization/moving_mean"], mean, atol=1e-5)
    np.testing.assert_allclose(found["discriminator/batch_normalization/moving_variance"], variance, atol=1e-5)


def test_two_adams_both_count_every_step(tmp_path):
    mox.run(
        input_fn=_input_fn,
        model_fn=_model_fn(_keras_networks),
        optimizer_fn=[mox.get_optimizer_fn("adam", learning_rate=0.1, beta1=0.5)] * 2,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=BATCH,
        log_dir=tmp_path,
        max_number_of_steps=6,
    )
    found = values_of(tmp_path / "model.ckpt-6")
    # The power that the next step uses: beta1 for the first, once more for each step done.
    assert [found[name] for name in ("beta1_power", "beta1_power_1")] == pytest.approx([0.5**7] * 2)


def _image_model_fn(inputs, mode):
    del mode
    images = tf.reshape(inputs[0], [BATCH, 1, 3, 1])
    weight = tf.compat.v1.get_variable("weight", [])
    tf.compat.v1.summary.image("of_tf1", images, max_outputs=4)
    tf.summary.image("of_tf2", images, max_outputs=2)
    return mox.ModelSpec(loss=weight * tf.reduce_sum(images))


def test_images_of_both_kinds_of_summaries_are_in_the_event_file(tmp_path):
    mox.run(
        input_fn=lambda mode: tf.data.Dataset.from_tensors([0.0, 0.5, 1.0]).repeat(),  # noqa: ARG005
        model_fn=_image_model_fn,
        optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.0),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=BATCH,
        log_dir=tmp_path,
        max_number_of_steps=5,
        save_summary_steps=2,
    )
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
    events.Reload()
    found = {tag: events.Tensors(tag) for tag in events.Tags()["tensors"] if tag.startswith("of_")}
    assert {tag: [event.step for event in each] for tag, each in found.items()} == {
        "of_tf1": [0, 2, 4],
        "of_tf2": [0, 2, 4],
    }
    for tag, count in (("of_tf1", 4), ("of_tf2", 2)):
        width, height, *pictures = tf.make_ndarray(found[tag][-1].tensor_proto)
        assert (width, height, len(pictures)) == (b"3", b"1", count)
        assert tf.io.decode_png(pictures[-1])[0, :, 0].numpy().tolist() == [0, 127, 255]


def _sequential(x):
    return keras.Sequential([keras.layers.Dense(1)], name="net")(x)


def _sequential_with_input(x):
    return keras.Sequential([keras.Input([3]), keras.layers.Dense(1)], name="net")(x)


class _Subclass(keras.Model):
    def __init__(self, name):
        super().__init__(name=name)
        self.dense = keras.layers.Dense(1)

    def call(self, x):
        return self.dense(x)


def _subclassed(x):
    return _Subclass("net")(x)


def _in_variable_scope(x):
    with tf.compat.v1.variable_scope("net"):
        return keras.layers.Dense(1)(x)


def _in_keras_scope(x):
    with keras.name_scope("net"):
        return keras.layers.Dense(1)(x)


def _functional(x):
    inputs = keras.Input([3])
    return keras.Model(inputs, keras.layers.Dense(1)(inputs), name="net")(x)


def _functional_in_variable_scope(x):
    with tf.compat.v1.variable_scope("net"):
        inputs = keras.Input([3])
        model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    return model(x)


@pytest.mark.parametrize(
    "network",
    [
        _sequential,
        _sequential_with_input,
        _subclassed,
        _in_variable_scope,
        _in_keras_scope,
        _functional_in_variable_scope,
    ],
)
def test_the_variables_of_keras_layers_are_in_a_scope_by_the_name_of_their_model_or_by_the_scope(network, tmp_path):
    def model_fn(inputs, mode):
        del mode
        other = keras.layers.Dense(1, name="other")(inputs[0])
        return mox.ModelSpec(loss=tf.reduce_mean(network(inputs[0]) * other), var_scopes=["net"])

    _train(model_fn, [0.5], tmp_path, steps=1)
    before, after = values_of(tmp_path / "model.ckpt-0"), values_of(tmp_path / "model.ckpt-1")
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {name for name in moved if "/" in name and not name.startswith("mox/")} == {
        "net/dense/kernel",
        "net/dense/bias",
    }


def test_a_functional_model_gives_its_name_to_no_variable_and_that_is_said():
    def model_fn(inputs, mode):
        del mode
        return mox.ModelSpec(loss=tf.reduce_mean(_functional(inputs[0])), var_scopes=["net"])

    with pytest.raises(mox.UsageError) as refusal:
        _train(model_fn, [0.5], None, steps=1)
    assert str(refusal.value) == (
        "loss: there is no trainable variable in the variable scopes ['net']. Scopes with variables: dense."
    )
