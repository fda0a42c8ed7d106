"""What else may happen to a log_dir: damaged bytes, a second run, no room on the disk."""

import resource
import time

import tensorflow as tf
from trained import Report, apart, differing, newest, train, values_of

from job_processes import Job
from mox_core.engine.checkpoint import reader
from mox_core.errors import CheckpointError


def damage(folder, flips, chance):
    """Changes one byte of a checkpoint after the other: each change is seen, or the values are as they were."""
    report, began = Report("damaged bytes"), time.monotonic()
    assert set(Job(folder / "logs", lambda: train(folder / "log", 2, exports=False)).codes().values()) == {0}
    prefix = folder / "log" / "model.ckpt-2"
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


def two_runs(folder, times):
    """Starts a second run in the log_dir of one that trains, kills the first, and starts another in its place."""
    report, began, log_dir = Report("two runs at once"), time.monotonic(), folder / "log"
    for number in range(times):
        endless = lambda: train(log_dir, 10**9, exports=False)  # noqa: E731
        first = Job(folder / f"first-{number}", endless)
        first.until("step: ")
        second = Job(folder / f"second-{number}", endless)
        refused = second.codes()["worker 0"] not in (0, "hangs")
        if not refused or str(first.processes["worker 0"]) not in second.log("worker 0").splitlines()[-1]:
            report.lost.append(f"the second run of {number} was not refused by the name of the first")
        if not first.lives("worker 0"):
            report.lost.append(f"the first run of {number} ended")
        first.kill_all()
        third = Job(folder / f"third-{number}", lambda: train(log_dir, newest(log_dir) + 3, exports=False))
        if third.codes()["worker 0"]:
            report.lost.append(f"a run after the one that was killed, {number}, did not end well")
        report.done += 1
    report.seconds = time.monotonic() - began
    return report


def no_disk(folder, times, chance):
    """Lets a run write files of a size that its checkpoint is above, at random, and then of any size."""
    report, began, log_dir = Report("no room on the disk"), time.monotonic(), folder / "log"

    def limited(steps, size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        train(log_dir, steps, exports=False)

    for number in range(times):
        before = newest(log_dir)
        steps, size = before + 4, chance.randrange(20_000, 4_000_000)
        full = Job(folder / f"full-{number}", lambda: limited(steps, size))  # noqa: B023
        if full.codes()["worker 0"] != 1 or str(log_dir) not in full.log("worker 0").splitlines()[-1]:
            report.lost.append(f"a run that could write {size} bytes ended without the name of its folder")
        if newest(log_dir) != before:
            report.lost.append(f"step {newest(log_dir)} after a run that could not write")
        if Job(folder / f"again-{number}", lambda: train(log_dir, steps, exports=False)).codes()["worker 0"]:  # noqa: B023
            report.lost.append(f"a run after one without room, {number}, did not end well")
        report.done += 1
    whole = folder / "whole"
    assert set(Job(folder / "logs", lambda: train(whole, newest(log_dir), exports=False)).codes().values()) == {0}
    report.lost += apart(
        lambda: differing(*(values_of(tf.train.latest_checkpoint(str(each))) for each in (whole, log_dir)))
    )
    report.seconds = time.monotonic() - began
    return report
