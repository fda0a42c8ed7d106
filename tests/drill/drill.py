"""The drill: trainings that are killed, damaged and left without disk, and what was lost: `drill.py FOLDER --kills N`.

Each kind of job is killed with -9 again and again, in its start, steps, saves, validations and exports, and started
again, until it has ended. Then its weights are compared with those of a run that was left alone, bit for bit where
steps have an order. A lost kill is one after which the newest checkpoint is older than before or cannot be read, a
process stays, or the end differs.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from attrs import define, field, frozen

import mox_core as mox
from mox_core.engine.checkpoint import reader
from mox_core.errors import CheckpointError
from mox_core.sdk import SampleSource

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from job_processes import MOMENT, Job

STEPS = 24
MOMENTS = ("start", "step", "save", "validation", "export")


# ---- what is trained


def input_fn(mode):
    """Fifty images, some of which are bad, in an order of their own, at random cropped and flipped."""

    def fetch(index):
        good = tf.debugging.assert_none_equal(index % 8, tf.constant(3, tf.int64))
        with tf.control_dependencies([good]):
            image = tf.random.stateless_uniform([6, 6, 1], tf.stack([index, 1]))
        return {"image": image, "label": index % 3}

    training = mode == mox.ModeKeys.TRAIN
    source = SampleSource(
        num_samples=50, fetch=fetch, describe=str, shuffle=training, num_epochs=None if training else 1
    )
    sample = source.read()
    return tf.image.random_flip_left_right(tf.image.random_crop(sample["image"], [5, 5, 1])), sample["label"]


def model_fn_in(log_dir, *, validates):
    """Returns a model_fn with all that is random or kept from step to step, which marks where it is being validated."""

    def validating(loss):
        (log_dir / "validating").touch()
        return loss

    def model_fn(inputs, mode):
        images, labels = inputs
        training = mode == mox.ModeKeys.TRAIN
        count = tf.compat.v1.get_variable("count", [], tf.int64, tf.compat.v1.zeros_initializer(), trainable=False)
        large = tf.compat.v1.get_variable("large", [36, 40_000])  # so that a save takes its time
        x = keras.layers.Conv2D(4, 3, activation="relu")(images)
        x = keras.layers.BatchNormalization()(x, training=training)
        x = keras.layers.Dropout(0.2)(tf.reshape(x, [-1, 36]), training=training)
        logits = keras.layers.Dense(3)(tf.nn.relu(x @ large)[:, :9])
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        tf.summary.scalar("in_the_model", loss)
        if training:
            count.assign_add(1)
        if mode == mox.ModeKeys.EVAL:
            loss = tf.ensure_shape(tf.py_function(validating, [loss], tf.float32), [])
        hooks = []
        if validates:
            hooks = [mox.LogEvaluationMetricHook(monitor_info={"loss": loss}, batch_size=4, samples_in_train=32,
                                                 samples_in_eval=24, evaluate_every_n_epochs=1.0)]
        return mox.ModelSpec(
            loss=loss, log_info={"loss": loss}, hooks=hooks,
            export_spec=mox.ExportSpec({"images": images}, {"logits": logits}),
        )

    return model_fn


def train(log_dir, steps=STEPS, *, validates=True, exports=True):
    tf.random.set_seed(8)
    mox.set_flag("max_to_keep", 2)
    mox.run(
        input_fn=input_fn,
        model_fn=model_fn_in(log_dir, validates=validates),
        optimizer_fn=lambda: tf.compat.v1.train.MomentumOptimizer(0.1, 0.9),
        run_mode=mox.ModeKeys.TRAIN,
        inter_mode=mox.ModeKeys.EVAL if validates else None,
        batch_size=4,
        log_dir=log_dir,
        max_number_of_steps=steps,
        save_model_steps=1,
        save_summary_steps=3,
        export_model=mox.ExportKeys.TF_SERVING if exports else None,
    )


def values_of(prefix):
    found = tf.train.load_checkpoint(str(prefix))
    return {name: found.get_tensor(name) for name in found.get_variable_to_shape_map()}


def differing(one, other):
    return sorted(name for name in one.keys() | other.keys() if not np.array_equal(one.get(name), other.get(name)))


# ---- kill -9


@frozen
class Kind:
    """A kind of job.

    Attributes:
        name: its name in the report.
        processes: arguments of `Job`.
        ordered: whether its steps have an order, and its weights so one value.
    """

    name: str
    processes: dict
    ordered: bool = True


KINDS = (
    Kind("1 replica", {}),
    Kind("2 replicas", {"num_gpus": 2, "clone_on_cpu": True}),
    Kind("2 workers", {"workers": 2}),
    Kind("parameter server", {"workers": 2, "ps": 1}, ordered=False),
)


@define
class Report:
    """What a part of the drill has done, and what was lost in it."""

    name: str
    done: int = 0
    where: dict = field(factory=dict)
    lost: list = field(factory=list)
    seconds: float = 0.0

    def line(self):
        where = ", ".join(f"{count} {place}" for place, count in sorted(self.where.items()))
        return f"{self.name:<20} {self.done:>6}  {len(self.lost):>4}  {self.seconds:>7.0f} s  {where}"


class Killer:
    """Kills the processes of one kind of job until it has ended so often that enough were killed."""

    def __init__(self, kind, folder, chance):
        self.kind, self.folder, self.chance = kind, folder, chance
        self.report = Report(kind.name)
        self.rounds = 0

    def run(self, kills):
        began = time.monotonic()
        whole = self.folder / "whole"
        codes = self._job(whole, "whole").codes()
        assert set(codes.values()) == {0}, (codes, self.folder)
        while self.report.done < kills:
            self.rounds += 1
            log_dir = self.folder / f"killed-{self.rounds}"
            self._kill_to_the_end(log_dir, kills)
            self._check_end(log_dir, whole)
        self.report.seconds = time.monotonic() - began
        return self.report

    def _job(self, log_dir, name):
        return Job(self.folder / f"logs-{name}", lambda: train(log_dir), **self.kind.processes)

    def _kill_to_the_end(self, log_dir, kills):
        """Kills one process of the job after the other, each in a job that is started again, until it ends by itself."""
        attempt = 0
        while True:
            before = newest(log_dir)
            job = self._job(log_dir, f"{self.rounds}-{attempt}")
            attempt += 1
            victim = self.chance.choice(sorted(job.processes))
            moment = self.chance.choice(MOMENTS)
            in_time = self.report.done < kills and self._wait(job, log_dir, victim, moment)
            if in_time:
                job.send(victim, signal.SIGKILL)
                self._note(log_dir, before, moment, victim)
            codes = job.codes()
            if "hangs" in codes.values():
                self.report.lost.append(f"{victim} killed in {moment}: {codes}")
            if newest(log_dir) < before:
                self.report.lost.append(f"{victim} killed in {moment}: step {before} is gone")
            if not in_time and set(codes.values()) == {0}:
                return

    def _wait(self, job, log_dir, victim, moment):
        """Waits for a moment in which a process is to be killed; returns whether it still lives then."""
        seen = log_dir / "validating"
        seen.unlink(missing_ok=True)
        conditions = {
            "start": lambda: True,
            "step": lambda: "step: " in job.log("worker 0"),
            "save": lambda: any(log_dir.glob(".unfinished-[0-9]*")),
            "validation": seen.exists,
            "export": lambda: any(log_dir.glob(".unfinished-export-*")),
        }
        reached = job.wait_for(conditions[moment])
        if moment in ("start", "step"):
            pause = self.chance.uniform(0, 2.5 if moment == "start" else 0.4)
            end = time.monotonic() + pause
            job.wait_for(lambda: time.monotonic() > end)
        return reached and job.lives(victim)

    def _note(self, log_dir, before, moment, victim):
        self.report.done += 1
        place = moment if len(self.kind.processes) == 0 or "workers" not in self.kind.processes else f"{moment} ({victim})"
        self.report.where[place] = self.report.where.get(place, 0) + 1
        print(f"\r{self.kind.name}: {self.report.done} kills, step {max(before, 0)}", end="", file=sys.stderr, flush=True)

    def _check_end(self, log_dir, whole):
        """Compares the end of a job that was killed with that of one that was not."""
        lost = apart(self._differences, log_dir, whole)
        self.report.lost += [f"{log_dir}: {each}" for each in lost]
        if not lost:
            shutil.rmtree(log_dir)

    def _differences(self, log_dir, whole):
        lost, found = [], values_of(tf.train.latest_checkpoint(str(log_dir)))
        if self.kind.ordered:
            lost += differing(values_of(tf.train.latest_checkpoint(str(whole))), found)
        if (found["global_step"], found["count"]) != (STEPS, STEPS):
            lost.append(f"{found['global_step']} steps, counted {found['count']} times")
        exports = [each for each in log_dir.iterdir() if each.name.isdigit()]
        lost += [f"export {each.name} is not whole" for each in exports if not loads(each)]
        if not exports:
            lost.append("no export")
        return lost + [f"{each.name} is left over" for each in log_dir.glob(".unfinished*")]


def newest(log_dir):
    """Returns the step of the newest checkpoint, -1 where there is none."""
    return max((int(path.stem.partition("-")[2]) for path in log_dir.glob("model.ckpt-*.index")), default=-1)


def loads(export):
    try:
        tf.saved_model.load(str(export))
    except (OSError, ValueError, tf.errors.OpError):
        return False
    return True


def apart(function, *arguments):
    """Calls a function in a process of its own, so that this one can still be forked; returns what JSON can hold."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            answer = json.dumps(function(*arguments)).encode()
            os.write(writing, answer)
            code = 0
        except BaseException:  # noqa: BLE001 (the process ends here)
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return json.loads(answer)


# ---- damage


def damage(folder, flips, chance):
    """Changes one byte of a checkpoint after the other: each change is seen, or the values are as they were."""
    report, began = Report("damaged bytes"), time.monotonic()
    assert set(Job(folder / "logs", lambda: train(folder / "log", 2, exports=False)).codes().values()) == {0}
    prefix = sorted((folder / "log").glob("model.ckpt-2.index"))[0].with_suffix("")
    copy = folder / "copy" / prefix.name
    copy.parent.mkdir()
    files = {path.name: path.read_bytes() for path in prefix.parent.glob(f"{prefix.name}.*")}

    def flip_all():
        whole, seen, missed = values_of(prefix), 0, []
        for _ in range(flips):
            name = chance.choice(sorted(files))
            place, bit = chance.randrange(len(files[name])), 1 << chance.randrange(8)
            for each, data in files.items():
                changed = bytearray(data)
                if each == name:
                    changed[place] ^= bit
                (copy.parent / each).write_bytes(changed)
            try:
                found = reader.read(str(copy)).values
            except CheckpointError:
                seen += 1
                continue
            if differing(whole, found):
                missed.append(f"bit {bit} of byte {place} of {name}")
        return seen, missed

    seen, report.lost = apart(flip_all)
    report.done, report.where = flips, {"seen": seen, "without effect": flips - seen - len(report.lost)}
    report.seconds = time.monotonic() - began
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=200, help="kills in all kinds of jobs together")
    parser.add_argument("--flips", type=int, default=1500, help="damaged bytes")
    parser.add_argument("--seed", type=int, default=4)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)  # noqa: S311 (not for secrets)
    reports = []
    for number, kind in enumerate(KINDS):
        share = arguments.kills // len(KINDS) + (number < arguments.kills % len(KINDS))
        reports.append(Killer(kind, arguments.folder / kind.name, chance).run(share))
    reports.append(damage(arguments.folder / "damage", arguments.flips, chance))
    print("\r", end="", file=sys.stderr)
    print(f"{'':<20} {'done':>6}  {'lost':>4}")
    for report in reports:
        print(report.line())
        for each in report.lost:
            print(f"    lost: {each}")
    sys.exit(any(report.lost for report in reports))


if __name__ == "__main__":
    main()
