"""Two devices of one process: parts of the CPU, each in a process of its own, as devices are chosen once in a process.

Expected are the numbers of one device with batches twice as large, worked out in NumPy where that is short.
"""

import json
import textwrap

import numpy as np
import pytest
import tensorflow as tf

COMMON = """
import json, sys
from pathlib import Path

import numpy as np

import mox_core as mox

folder, devices = Path(sys.argv[1]), int(sys.argv[2])
mox.set_flag("num_gpus", devices)
mox.set_flag("clone_on_cpu", True)
import keras
import tensorflow as tf

tf.random.set_seed(1)
FEATURES = np.random.default_rng(7).normal(size=(40, 3)).astype(np.float32)
TARGETS = (FEATURES @ np.array([1.0, -2.0, 0.5]) + 0.25 + 0.1 * np.sin(np.arange(40))).astype(np.float32)

def input_fn(mode):
    data = tf.data.Dataset.from_tensor_slices((FEATURES, TARGETS))
    return data.repeat() if mode == mox.ModeKeys.TRAIN else data

def line(inputs):
    features, targets = inputs
    weights = tf.compat.v1.get_variable("weights", initializer=tf.zeros([3]))
    bias = tf.compat.v1.get_variable("bias", shape=[], initializer=tf.compat.v1.zeros_initializer())
    predictions = tf.linalg.matvec(features, weights) + bias
    return predictions, tf.reduce_mean((predictions - targets) ** 2)

def model_fn(inputs, mode):
    predictions, loss = line(inputs)
    return mox.ModelSpec(
        loss=loss, log_info={"loss": loss, "first": inputs[1][0]},
        output_info={"predictions": predictions, "targets": inputs[1]},
        export_spec=mox.ExportSpec({"features": inputs[0]}, {"predictions": predictions}),
    )

def train(name, optimizer_fn, steps=20, model_fn=model_fn, **options):
    return mox.run(
        input_fn=input_fn, model_fn=model_fn, optimizer_fn=optimizer_fn, run_mode=mox.ModeKeys.TRAIN,
        batch_size=8 // devices, max_number_of_steps=steps, log_dir=folder / name, **options,
    )

def variables(name):
    reader = tf.train.load_checkpoint(str(folder / name))
    return {key: reader.get_tensor(key).tolist() for key in reader.get_variable_to_shape_map()}

def momentum():
    return tf.compat.v1.train.MomentumOptimizer(0.1, 0.9)

def tell(**values):
    (folder / "told.json").write_text(json.dumps(values))
"""


@pytest.fixture
def on_devices(tmp_path, run_python):
    """Runs a program behind COMMON on so many devices, and returns what it told."""

    def run(program, devices):
        folder = tmp_path / str(devices)
        folder.mkdir()
        done = run_python(COMMON + textwrap.dedent(program), folder, devices, timeout=300)
        told = folder / "told.json"
        return json.loads(told.read_text()) if told.exists() else done.stdout

    return run


TRAINING = """
    train("momentum", momentum)
    train("keras", lambda: keras.optimizers.Adam(0.05))
    wrapped = lambda: mox.get_optimizer_wrapper_fn("batch_gradients", momentum(), num_batches=3)()
    train("wrapped", wrapped)

    def dynamic():
        step = tf.compat.v1.train.get_or_create_global_step()
        rate = mox.learning_rate_scheduler.linear_cosine_decay(0.1, 0.01, step, 20, 0.25, 0.9)
        return mox.DyMomentumWOptimizer(rate, 0.1, 0.01, max_mom=0.95, min_mom=0.85, weight_decay=0.1, use_lars=True)

    train("dynamic", dynamic)

    def mixed_fn(inputs, mode):
        zero = tf.compat.v1.zeros_initializer()
        half = tf.compat.v1.get_variable("half", shape=[], dtype=tf.float16, initializer=zero)
        predictions, _ = line(inputs)
        return mox.ModelSpec(loss=tf.reduce_mean((predictions + tf.cast(half, tf.float32) - inputs[1]) ** 2))

    train("mixed", momentum, model_fn=mixed_fn)

    def json_fn(inputs, mode):
        entry = keras.Input([3])
        keras.Model(entry, keras.layers.Dense(1, name="head")(entry)).to_json()  # and nothing else
        predictions = keras.layers.Dense(1, name="head")(inputs[0])[:, 0]
        return mox.ModelSpec(loss=tf.reduce_mean((predictions - inputs[1]) ** 2))

    train("json", momentum, model_fn=json_fn)
    mox.set_flag("loss_scale", "dynamic")
    mox.set_flag("gradient_clip_type", "norm")
    mox.set_flag("gradient_clip", 0.5)
    train("scaled", lambda: tf.compat.v1.train.AdamOptimizer(0.05))
    tell(**{name: variables(name) for name in ("momentum", "keras", "wrapped", "dynamic", "mixed", "json", "scaled")})
"""


@pytest.mark.slow
def test_two_devices_train_as_one_with_batches_twice_as_large(on_devices, regression):
    one, two = on_devices(TRAINING, 1), on_devices(TRAINING, 2)
    expected = regression.train(20, batch_size=8, rate=0.1, momentum=0.9)
    np.testing.assert_allclose(two["momentum"]["weights"], expected.weights, atol=1e-5)
    np.testing.assert_allclose(two["momentum"]["bias"], expected.bias, atol=1e-5)
    np.testing.assert_allclose(two["momentum"]["weights/Momentum"], expected.slots[:3], atol=1e-5)
    for name, values in one.items():
        assert values.keys() == two[name].keys()  # a checkpoint does not tell how many devices there were
        for variable, value in values.items():
            atol = 1e-2 if name == "mixed" else 1e-5  # its gradients are rounded to float16 before their mean
            np.testing.assert_allclose(two[name][variable], value, atol=atol, err_msg=f"{name}: {variable}")


@pytest.mark.slow
def test_a_resumed_run_of_two_devices_is_one_without_a_stop(on_devices):
    program = """
        adam = lambda: tf.compat.v1.train.AdamOptimizer(0.05)
        train("whole", adam, 20)
        train("parts", adam, 7)
        train("parts", adam, 20)
        tell(whole=variables("whole"), parts=variables("parts"))
    """
    told = on_devices(program, 2)
    assert told["whole"] == told["parts"]


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_devices(on_devices):
    adam = "lambda: tf.compat.v1.train.AdamOptimizer(0.05)"
    on_devices(f'train("../shared", {adam}, 7)', 2)
    told = on_devices(
        f"""
        train("whole", {adam}, 20)
        train("../shared", {adam}, 20)
        tell(whole=variables("whole"), shared=variables("../shared"))
        """,
        1,
    )
    assert told["whole"].keys() == told["shared"].keys()
    for name in ("weights", "bias", "weights/Adam", "mox/input_positions"):
        np.testing.assert_allclose(told["shared"][name], told["whole"][name], atol=1e-5)


@pytest.mark.slow
def test_two_devices_evaluate_and_predict_every_sample_once_in_order_and_export(on_devices):
    program = """
        train("log", momentum, export_model=mox.ExportKeys.TF_SERVING)
        windows = []
        evaluated = mox.run(
            input_fn=input_fn, model_fn=model_fn, run_mode=mox.ModeKeys.EVAL, batch_size=7, log_dir=folder / "log"
        )
        mox.run(
            input_fn=input_fn, model_fn=model_fn, run_mode=mox.ModeKeys.PREDICT, batch_size=7, log_dir=folder / "log",
            output_fn=windows.append, output_every_n_steps=2,
        )
        outputs = [output for window in windows for output in window]
        served = tf.saved_model.load(str(folder / "log" / "1")).signatures["serving_default"]
        tell(
            metrics=evaluated.metrics, samples=evaluated.samples, windows=[len(window) for window in windows],
            targets=np.concatenate([output["targets"] for output in outputs]).tolist(), all=TARGETS.tolist(),
            predictions=np.concatenate([output["predictions"] for output in outputs]).tolist(),
            served=served(features=tf.constant(FEATURES))["predictions"].numpy().tolist(),
        )
    """
    one, two = on_devices(program, 1), on_devices(program, 2)
    assert two["samples"] == 40  # batches of 7: three steps of two, of which the last batch has 5
    assert two["targets"] == two["all"]
    assert two["windows"] == [4, 2]
    assert one["windows"] == [2, 2, 2]
    assert two["metrics"]["loss"] == pytest.approx(one["metrics"]["loss"], rel=1e-5)
    np.testing.assert_allclose(two["predictions"], one["predictions"], atol=1e-5)
    np.testing.assert_allclose(two["served"], two["predictions"], atol=1e-5)


@pytest.mark.slow
def test_collections_hooks_placeholders_logs_and_scopes_are_those_of_each_device(on_devices):
    program = """
        seen = {"own": [], "shared": [], "collections": [], "logged": []}

        class Watch(mox.AggregativeSessionRunHook):
            def __init__(self, name, tensor, shared):
                super().__init__()
                self.name, self.tensor, self.shared = name, tensor, shared
            def before_run(self, run_context):
                return tf.compat.v1.train.SessionRunArgs(self.tensor)
            def after_run(self, run_context, run_values):
                seen[self.name].append(run_values.results.tolist())
            def support_aggregation(self):
                return self.shared
            def support_sync_workers(self):
                return False
            def run_inter_mode(self):
                return False

        def fed_fn(inputs, mode):
            predictions, loss = line(inputs)
            with tf.compat.v1.variable_scope("other", regularizer=tf.nn.l2_loss):
                tf.compat.v1.get_variable("unmoved", initializer=tf.ones([2]))
            decay = mox.get_collection(tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES)
            seen["collections"].append(len(decay))
            seen["collections"] += [each.name for each in mox.get_collection("trainable_variables")]  # not its parts
            factor = tf.compat.v1.placeholder(tf.float32, [])
            hooks = [
                mox.FeedSessionRunHook({factor: 1.0}),
                Watch("own", inputs[1], False), Watch("shared", inputs[1], True),
            ]
            with tf.compat.v1.variable_scope("moved"):
                weight = tf.compat.v1.get_variable("weight", initializer=tf.zeros([]))
            tf.compat.v1.add_to_collection("mox/learning_rate_factors", tf.constant(0.5))
            return mox.ModelSpec(
                loss=weight * tf.reduce_mean(inputs[1]) * factor, var_scopes=["moved"],
                log_info={"mean": tf.reduce_mean(inputs[1])}, hooks=hooks,
            )

        sgd = lambda: tf.compat.v1.train.GradientDescentOptimizer(2.0)
        for first in (True, False):
            mox.set_flag("log_first_clone", first)
            result = train(f"first_{first}", sgd, steps=1, model_fn=fed_fn)
            seen["logged"].append(result.metrics["mean"])
        tell(**seen, moved=variables("first_True"), targets=TARGETS.tolist())
    """
    told = on_devices(program, 2)
    targets = np.array(told["targets"], np.float32)
    assert told["collections"] == [1, "weights:0", "bias:0", "other/unmoved:0"] * 4  # two runs on two devices
    np.testing.assert_allclose(told["own"][:2], [targets[:4], targets[4:8]])
    np.testing.assert_allclose(told["shared"], [targets[:4]] * 2)
    assert told["logged"] == [pytest.approx(targets[:4].mean()), pytest.approx(targets[:8].mean())]
    assert told["moved"]["moved/weight"] == pytest.approx(-targets[:8].mean())
    assert told["moved"]["other/unmoved"] == [1, 1]


@pytest.mark.slow
def test_strategies_of_the_engine_have_collectives_of_their_own(run_python, tmp_path):
    program = """
from mox_core.engine.distribute.mirrored import split_cpu
from mox_core.engine.tf_internals.mirrored_strategy import mirrored_strategy

split_cpu(3)

def total(strategy, value):
    reduce = lambda: tf.distribute.get_replica_context().all_reduce("SUM", value())
    found = tf.function(lambda: strategy.run(reduce))()
    return [tf.convert_to_tensor(each).numpy().tolist() for each in strategy.experimental_local_results(found)]

def rows():
    return tf.IndexedSlices(tf.ones([2, 1]), tf.constant([1, 0]), tf.constant([2, 1]))

own = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
three, two = (mirrored_strategy(tuple(f"CPU:{n}" for n in range(count))) for count in (3, 2))
found = [total(own, lambda: tf.ones([3])), total(three, lambda: tf.ones([1, 2])), total(two, rows)]
print(json.dumps([*found, total(three, rows), mirrored_strategy(("CPU:0", "CPU:1")) is two]))
"""
    found = json.loads(run_python(COMMON + program, tmp_path, 3, timeout=300).stdout.splitlines()[-1])
    assert found == [[[2, 2, 2]] * 2, [[[3, 3]]] * 3, [[[2], [2]]] * 2, [[[3], [3]]] * 3, True]


@pytest.mark.slow
def test_runs_of_one_process_on_several_devices_do_not_get_in_each_others_way(run_python, tmp_path):
    program = """
def rows(mode):
    return tf.data.Dataset.from_tensor_slices([1, 1, 3, 1, 2, 3, 0, 0, 2, 1, 3, 3]).repeat()

def table():
    return tf.compat.v1.get_variable("table", [4, 2], initializer=tf.compat.v1.zeros_initializer())

def dense(inputs, mode):
    return mox.ModelSpec(loss=tf.reduce_mean(tf.one_hot(inputs[0], 4) @ table()))

def sparse(inputs, mode):
    return mox.ModelSpec(loss=tf.reduce_mean(tf.nn.embedding_lookup(table(), inputs[0])))

def failing(inputs, mode):
    with tf.control_dependencies([tf.debugging.assert_less(inputs[0], 3)]):
        return mox.ModelSpec(loss=tf.identity(sparse(inputs, mode).loss))

def table_of(model_fn, devices, batch_size):
    name = folder / f"{model_fn.__name__} {devices} {batch_size}"
    mox.set_flag("num_gpus", devices)
    mox.run(
        input_fn=rows, model_fn=model_fn, optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(1.0),
        run_mode=mox.ModeKeys.TRAIN, batch_size=batch_size // devices, max_number_of_steps=1, log_dir=name,
    )
    return tf.train.load_checkpoint(str(name)).get_tensor("table")[:, 0].tolist()

mox.set_flag("num_gpus", 4)
found = [table_of(dense, 4, 12)]
own = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])  # of the script
tf.function(lambda: own.run(lambda: tf.distribute.get_replica_context().all_reduce("SUM", tf.ones([7]))))()
found += [table_of(sparse, 2, 12), table_of(dense, 2, 12), table_of(sparse, 3, 12)]
try:
    table_of(failing, 2, 12)
except tf.errors.InvalidArgumentError:
    found += [table_of(sparse, 2, 4), table_of(dense, 4, 4)]
print(json.dumps(found))
"""
    found = json.loads(run_python(COMMON + program, tmp_path, 4, timeout=300).stdout.splitlines()[-1])
    of_all, of_four = [-2 / 24, -4 / 24, -2 / 24, -4 / 24], [0, -3 / 8, 0, -1 / 8]  # how often a row comes
    np.testing.assert_allclose(found, [of_all] * 4 + [of_four] * 2, atol=1e-6)


def test_more_gpus_than_there_are_are_refused_with_a_way_to_try(run_python, tmp_path):
    program = COMMON.replace('mox.set_flag("clone_on_cpu", True)', "") + textwrap.dedent("""
        try:
            train("log", momentum)
        except mox.UsageError as error:
            print(error)
    """)
    gpus = len(tf.config.list_physical_devices("GPU"))
    assert run_python(program, tmp_path, 8).stdout.strip() == (
        f"--num_gpus=8: TensorFlow sees {gpus} GPUs here. "
        "Give as many as there are, or leave the flag out; to try the job with parts of the CPU instead, add "
        "--clone_on_cpu=True."
    )


def test_parts_of_the_cpu_have_to_be_asked_for_before_tensorflow_computes(run_python, tmp_path):
    program = COMMON + textwrap.dedent("""
        tf.constant(1) + 1
        try:
            train("log", momentum)
        except mox.UsageError as error:
            print(error)
    """)
    assert run_python(program, tmp_path, 2).stdout.strip() == (
        "--clone_on_cpu=True --num_gpus=2: TensorFlow has begun to compute with 1 CPU, and the number cannot change "
        "any more. Call mox.run before anything else of TensorFlow, in a process of its own."
    )


def test_weights_are_the_same_bit_for_bit_whatever_is_logged_recorded_fetched_and_saved(on_devices):
    """oneDNN joins the gradients of a convolution and of its bias in some functions only, which rounds otherwise.

    It does so in this network, where each convolution is followed by a bias and a ReLU, and the dropout comes late.
    """
    program = """
        IMAGES = np.random.default_rng(7).normal(size=(97, 8, 8, 3)).astype(np.float32)

        def images(mode):
            data = tf.data.Dataset.from_tensor_slices((IMAGES, np.arange(97) % 5)).shuffle(97).repeat()
            return data.map(lambda image, label: (tf.image.random_flip_left_right(image), label))

        class Fetch(mox.AggregativeSessionRunHook):
            def __init__(self, every, *tensors):
                self.every, self.tensors = every, tensors
            def support_aggregation(self):
                return True
            def support_sync_workers(self):
                return True
            def run_inter_mode(self):
                return False
            def next_step(self, step):
                return -(-step // self.every) * self.every
            def before_run(self, run_context):
                return tf.compat.v1.train.SessionRunArgs(self.tensors)

        def convolution(x, width, name):
            kernel = tf.compat.v1.get_variable(name, [3, 3, width, 16])
            bias = tf.compat.v1.get_variable(f"{name}_bias", [16])
            return tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), bias))

        def network(fetch_every=None):
            def model_fn(inputs, mode):
                image, label = inputs
                x = convolution(convolution(image, 3, "first"), 16, "second")
                x = keras.layers.BatchNormalization()(x, training=True)
                x = keras.layers.Dense(64, activation="tanh")(keras.layers.Flatten()(x))
                logits = keras.layers.Dense(5)(keras.layers.Dropout(0.3)(x, training=True))
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits))
                tf.summary.histogram("logits", logits)
                hooks = [Fetch(fetch_every, logits, loss)] if fetch_every else []
                return mox.ModelSpec(loss=loss, log_info={"loss": loss}, hooks=hooks)
            return model_fn

        def run(name, steps=12, fetch_every=None, **intervals):
            mox.run(
                input_fn=images, model_fn=network(fetch_every), optimizer_fn=momentum, run_mode=mox.ModeKeys.TRAIN,
                batch_size=8, max_number_of_steps=steps, log_dir=folder / name, **intervals,
            )
            return variables(name)

        whole = run("whole", save_summary_steps=100, log_every_n_steps=100)
        others = {
            "recorded": run("recorded", save_summary_steps=1),
            "fetched": run("fetched", fetch_every=3, save_summary_steps=5),
            "saved": run("saved", save_model_steps=2, log_every_n_steps=7),
            "resumed": (run("parts", 5, save_summary_steps=3), run("parts"))[1],
        }
        tell(**{name: [key for key in whole if values[key] != whole[key]] for name, values in others.items()})
    """
    assert on_devices(program, 2) == {"recorded": [], "fetched": [], "saved": [], "resumed": []}
