"""Trackers: what they are told of a run, in which order and thread, and what becomes of those that fail."""

import functools
import json
import signal
import threading

import pytest
import tensorflow as tf

import mox_core as mox
from mox_core import trackers
from mox_core.errors import UnknownNameError, UsageError
from mox_core.trackers import Tracker

TRAIN, EVAL = mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL


class Told(Tracker):
    """Keeps what it is told, in a list that stays when the run has ended."""

    def __init__(self, told):
        self.told = told
        told.append(("made", threading.current_thread() is threading.main_thread()))

    def start(self, run):
        self.told.append(("start", run))
        self.thread = threading.current_thread()
        return "the list"

    def record(self, step, mode, values):
        assert threading.current_thread() is self.thread is not threading.main_thread()
        self.told.append((mode, step, values))

    def artifact(self, kind, path, place):
        self.told.append((kind, path, place))

    def finish(self, status):
        self.told.append(("finish", status))


class Validates(mox.Hook):
    """Evaluates after each second step, and then does something."""

    run_inter_mode = lambda _self: True  # noqa: E731

    def __init__(self, monitor_info, then):
        super().__init__()
        self.monitor_info, self.then = monitor_info, then

    def after_run(self, run_context, run_values):
        del run_values
        if run_context.step % 2:
            run_context.run_inter_mode(1)
        self.then(run_context.global_step)


def run(log_dir, steps, *chosen, then=lambda _step: None, mode=TRAIN, **options):
    def model_fn(inputs, mode):
        weight = tf.compat.v1.get_variable("weight", initializer=0.0)
        loss = tf.reduce_mean((inputs[0] * 3.0 - weight) ** 2)
        hooks = [Validates({"distance": 3.0 - weight + 0.0 * loss}, then)] if mode != mox.ModeKeys.EXPORT else []
        return mox.ModelSpec(
            loss=loss,
            log_info={"loss": loss},
            hooks=hooks,
            export_spec=mox.ExportSpec({"x": inputs[0]}, {"y": inputs[0] * weight}),
        )

    return mox.run(
        input_fn=lambda _mode: tf.ones([]),
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.25),
        run_mode=mode,
        inter_mode=EVAL if mode == TRAIN else None,
        batch_size=2,
        log_dir=log_dir,
        max_number_of_steps=steps,
        log_every_n_steps=1,
        trackers=[functools.partial(Told, told) if isinstance(told, list) else told for told in chosen],
        **options,
    )


def records(told):
    found = [what for what in told if what[0] in ("TRAIN", "VALIDATION")]
    return [{"step": step, "mode": mode, **values} for mode, step, values in found]


def started(told):
    return next(what[1] for what in told if what[0] == "start")


def test_a_tracker_gets_what_a_training_tells_in_its_order(tmp_path):
    told = []
    log_dir = tmp_path / "digits"
    result = run(log_dir, 4, told, export_model=lambda model, directory: None, save_model_steps=2)  # noqa: ARG005
    assert told[0] == ("made", True)
    assert records(told) == list(result.history)
    # (3 - w)**2 with w going half of the way in each step, by hand
    assert [each["loss"] for each in records(told) if each["mode"] == "TRAIN"] == pytest.approx(
        [9, 2.25, 9 / 16, 9 / 64]
    )
    assert [each["distance"] for each in records(told) if each["mode"] == "VALIDATION"] == [0.75, 0.1875]
    assert told[-3:] == [
        ("checkpoint", str(log_dir / "model.ckpt-4"), str(log_dir / "model.ckpt-4")),
        ("export", str(log_dir / "1"), str(log_dir / "1")),
        ("finish", "finished"),
    ]
    first = started(told)
    assert (first.name, first.mode, first.log_dir, first.resumed, first.history) == (
        *("digits", TRAIN, str(log_dir), False, ()),
    )
    assert len(first.id) == 32
    assert first.arguments["batch_size"] == 2
    assert first.arguments["model_fn"].endswith("model_fn")
    assert first.flags["max_to_keep"] == 5
    assert "variable_update" not in first.flags  # it has no meaning here
    assert first.versions["tensorflow"] == tf.__version__
    json.dumps([dict(first.arguments), dict(first.flags), dict(first.versions)])

    again = []
    run(log_dir, 6, again, save_model_steps=2)
    second = started(again)
    assert (second.id, second.resumed, second.first_step) == (first.id, True, 4)
    assert list(second.history) == records(told)
    assert [each["step"] for each in records(again) if each["mode"] == "TRAIN"] == [4, 5]

    judged = []
    run(log_dir, 3, judged, mode=EVAL)
    third = started(judged)
    assert (third.mode, third.id == first.id, third.history) == (EVAL, False, ())
    ((mode, step, means),) = judged[2:-1]  # the means alone, at the step of the checkpoint
    assert (mode, step, means["loss"]) == (EVAL, 6, pytest.approx(9 * 0.25**6))
    assert judged[-1] == ("finish", "finished")

    another = []
    run(tmp_path / "others", 1, another)
    assert started(another).id not in (first.id, third.id)


class Breaks(Told):
    def __init__(self, where, error=None):
        self.where, self.error = where, error or ValueError("no room")
        self._break("made")
        super().__init__([])

    def _break(self, here):
        if here == self.where:
            raise self.error

    def start(self, run):
        self._break("start")
        return super().start(run)

    def record(self, step, mode, values):
        self._break("record")
        super().record(step, mode, values)

    def artifact(self, kind, path, place):
        self._break("artifact")
        super().artifact(kind, path, place)

    def finish(self, status):
        self._break("finish")
        super().finish(status)


def test_trackers_that_fail_are_left_out_with_a_warning_each(tmp_path, said):
    told = []
    broken = {where: functools.partial(Breaks, where) for where in ("made", "start", "record", "artifact", "finish")}
    broken["leaves"] = functools.partial(Breaks, "record", SystemExit(3))
    broken["explains"] = functools.partial(Breaks, "start", UsageError("it needs a log_dir"))
    for name, make in broken.items():
        make.__name__ = name
    result = run(tmp_path, 4, *broken.values(), told)
    assert result.global_step == 4
    assert records(told) == list(result.history)
    assert told[-1] == ("finish", "finished")
    warnings = sorted(line for line in said.lines if "is left out" in line)
    what = dict.fromkeys(broken, "ValueError: no room") | {"leaves": "SystemExit: 3", "explains": "it needs a log_dir"}
    assert warnings == sorted(
        f"WARNING:tensorflow:the tracker {name!r} is left out of the rest of the run: {why}"
        for name, why in what.items()
    )


def test_a_tracker_that_hangs_holds_up_no_step(monkeypatch, said):
    monkeypatch.setitem(trackers._PATIENCE, "finished", 0.0)
    went_on, told = threading.Event(), []

    class Hangs(Told):
        def record(self, step, mode, values):
            went_on.wait(60)
            super().record(step, mode, values)

    def hangs():
        return Hangs(told)

    result = run(None, 4, hangs)  # ends, while the tracker has its first record
    assert [what for what in told if what[0] == "TRAIN"] == []
    assert said.lines[-1] == (
        "WARNING:tensorflow:the tracker 'hangs' is not done, and the run ends: what it has not kept yet is lost."
    )
    (thread,) = (each for each in threading.enumerate() if each.name == "mox-tracker-hangs")
    went_on.set()
    thread.join()
    assert records(told) == list(result.history)
    assert told[-1] == ("finish", "finished")


def test_a_run_that_an_error_or_a_signal_ends_is_told_so(tmp_path):
    def fails(step):
        if step == 2:
            raise ValueError("of the hook")

    told = []
    with pytest.raises(ValueError, match="of the hook"):
        run(tmp_path / "failed", 4, told, then=fails)
    assert told[-1] == ("finish", "failed")
    assert [each["step"] for each in records(told) if each["mode"] == "TRAIN"] == [0, 1]  # hooks run before the log

    told = []
    result = run(tmp_path / "ended", 1000, told, then=lambda step: step == 1 and signal.raise_signal(signal.SIGTERM))
    assert result.stopped_by == "SIGTERM"
    assert told[-2:] == [("checkpoint", result.checkpoint, result.checkpoint), ("finish", "interrupted")]


OFFERED = """
from mox_core.plugins import *
from mox_core.trackers import Tracker

@hookimpl
def mox_trackers():
    yield TrackerOffer("one", "kept.plugin:One", summary="a tracker")
    yield TrackerOffer("two", "kept.plugin:Two", summary="another")

class One(Tracker):
    pass

class Two(Tracker):
    pass
"""


def test_names_of_the_argument_and_of_the_flag_are_taken_each_once(fresh_plugins, install_fake):  # noqa: ARG001
    install_fake("kept", "kept", OFFERED)
    assert [each.name for each in trackers.choose(["two"], "one, two,")] == ["two", "one"]
    assert [each.name for each in trackers.choose(None, "")] == []
    with pytest.raises(UnknownNameError, match=r"unknown tracker 'tow'\.\nDid you mean 'two'\?"):
        trackers.choose(["tow"], "")
    with pytest.raises(UnknownNameError, match="Install mox-trackers, which offers it: pip install "):
        trackers.choose([], "wandb")
    for wrong, text in [
        ("csv", "trackers is 'csv'; it must be a list of names: trackers=['csv']."),
        ([3], "trackers holds 3; it must be a name (known: 'one', 'two'), or a function that returns a tracker."),
        ([Tracker()], "not the tracker: trackers=[lambda: Tracker(...)]."),
    ]:
        with pytest.raises(UsageError) as caught:
            trackers.choose(wrong, "")
        assert str(caught.value).endswith(text)


def test_the_chief_alone_tracks(told):
    program = """
from mox_core.trackers import Tracker
names = []

class Names(Tracker):
    def record(self, step, mode, values):
        names.append(step)

train("tracked", steps=3, log_every_n_steps=1, trackers=[Names])
tell(names=names)
"""
    found = told(program)
    assert (found["worker-0"]["names"], found["worker-1"]["names"]) == ([0, 1, 2], [])
