"""Jobs whose processes are killed with -9 again and again."""

import shutil
import signal
import sys
import time

import tensorflow as tf
from attrs import frozen
from trained import STEPS, Report, apart, differing, loads, newest, train, values_of

from job_processes import Job

MOMENTS = ("start", "step", "save", "validation", "export")


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


class Killer:
    """Kills the processes of one kind of job until it has ended so often that enough were killed."""

    def __init__(self, kind, folder, chance):
        self.kind, self.folder, self.chance = kind, folder, chance
        self.report = Report(kind.name)
        self.rounds = 0
        self.half_done = 0

    def run(self, kills):
        began = time.monotonic()
        whole = self.folder / "whole"
        codes = self._job(whole, "whole").codes()
        assert set(codes.values()) == {0}, (codes, self.folder)
        while self.report.done < kills:
            self.rounds += 1
            log_dir, self.half_done = self.folder / f"killed-{self.rounds}", 0
            self._kill_to_the_end(log_dir, kills)
            self._check_end(log_dir, whole)
        self.report.seconds = time.monotonic() - began
        print(file=sys.stderr)
        return self.report

    def _job(self, log_dir, name):
        return Job(self.folder / f"logs-{name}", lambda: train(log_dir), **self.kind.processes)

    def _kill_to_the_end(self, log_dir, kills):
        """Starts the job again and again and kills one of its processes, until it has ended by itself."""
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
                self._note(before, moment, victim)
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

    def _note(self, before, moment, victim):
        self.report.done += 1
        self.half_done += not self.kind.ordered and victim.startswith("worker")
        for place in {moment, victim}:
            self.report.where[place] = self.report.where.get(place, 0) + 1
        print(
            f"\r{self.kind.name}: {self.report.done} kills, step {max(before, 0)}", end="", file=sys.stderr, flush=True
        )

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
        # Where steps have no order, one of a worker that was killed may be half done: applied, and not counted.
        if found["global_step"] != STEPS or abs(found["count"] - STEPS) > self.half_done:
            lost.append(f"{found['global_step']} steps, counted {found['count']} times")
        exports = [each for each in log_dir.iterdir() if each.name.isdigit()]
        lost += [f"export {each.name} is not whole" for each in exports if not loads(each)]
        if not exports:
            lost.append("no export")
        return lost + [f"{each.name} is left over" for each in log_dir.glob(".unfinished*")]
