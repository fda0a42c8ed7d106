"""SIGTERM and Ctrl-C: the first saves and ends cleanly, the second ends at once."""

import json
import re
import signal
import sys
import threading
import time
from pathlib import Path

import attrs
import pytest

import forked
import mox_core as mox
from mox_core.engine.loop import signals
from mox_core.engine.loop.signals import catch_signals

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """What became of processes to which signals were sent."""
    program, folder = Path(__file__).with_name("processes.py"), tmp_path_factory.mktemp("signals")
    done = forked.run([sys.executable, program, folder], capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_saves_the_last_step_and_the_process_goes_on_to_its_end(name, sent):
    outcome = sent[name]
    assert outcome["code"] == 0, outcome["log"]
    told = outcome["told"]
    step = told["global_step"]
    assert told["stopped_by"] == name
    assert told["checkpoint"] == f"model.ckpt-{step}"
    assert f"model.ckpt-{step}.index" in outcome["files"]
    assert f"INFO:tensorflow:Training stops at global step {step}: {name} asked for it." in outcome["log"]
    said = f"WARNING:tensorflow:{name}: the run ends after this step and saves. A second one ends it at once."
    assert outcome["log"].count(said) == 1
    assert told["handlers_are_back"]
    assert told["threads"] == []


def test_a_signal_in_a_long_step_lets_the_step_end(sent):
    assert sent["SIGINT"]["told"]["global_step"] == 8, "the step of global step 7 was the last"


def test_a_run_that_a_signal_ends_is_not_exported(sent):
    """It is not over: when it goes on, the version would exist already."""
    assert sent["SIGTERM"]["told"]["export_path"] is None
    assert all(
        re.fullmatch(r"checkpoint|model\.ckpt-.*|log\.txt|told\.json|history\.jsonl|runs\.json", each)
        for each in sent["SIGTERM"]["files"]
    )


@pytest.mark.parametrize("names", ["SIGTERM, SIGTERM", "SIGINT, SIGTERM"])
def test_a_second_signal_ends_the_process_at_once_although_a_step_is_running(names, sent):
    outcome = sent[names]
    assert outcome["code"] == 128 + signal.SIGTERM
    assert outcome["told"] is None
    assert outcome["log"].endswith("SIGTERM: the second signal, the process ends without saving.\n")
    assert [name for name in outcome["files"] if name.endswith(".index")] == ["model.ckpt-0.index"]


LEFT = (
    "WARNING:tensorflow:Evaluating: the evaluation at global step 2 is left unfinished, as the run was asked to end. "
    "The run that goes on does not make up for it."
)


@pytest.mark.parametrize("name", ["validation", "run_in_a_hook"])
def test_a_signal_in_an_evaluation_of_a_hook_ends_it_and_saves_what_was_trained(name, sent):
    outcome = sent["in the middle"][name]
    assert outcome["code"] == 0, outcome["log"]
    told = outcome["told"]
    assert (told["stopped_by"], told["global_step"], told["steps"]) == ("SIGTERM", 3, 3)
    assert told["checkpoint"] == "model.ckpt-3"
    assert "model.ckpt-3.index" in outcome["files"]
    assert f"complete False seen {[] if name == 'validation' else ['SIGTERM']}" in outcome["log"]
    assert outcome["log"].count(LEFT) == (name == "validation")


def test_a_signal_in_an_evaluation_ends_it_and_says_of_what_its_means_are(sent):
    outcome = sent["in the middle"]["evaluation"]
    assert outcome["code"] == 0, outcome["log"]
    told = outcome["told"]
    assert (told["stopped_by"], told["global_step"]) == ("SIGTERM", 5)
    assert told["steps"] >= 20
    assert list(told["metrics"]) == ["loss"]
    assert (
        f"WARNING:tensorflow:the run stops after {told['steps']} steps: SIGTERM asked for it. Means are those of the "
        "samples until then."
    ) in outcome["log"]
    assert "eval" not in outcome["files"], "its means are not those of the set"


def test_a_signal_in_an_export_gives_up_all_formats_when_the_weights_are_saved(sent):
    outcome = sent["in the middle"]["export"]
    assert outcome["code"] == 0, outcome["log"]
    told = outcome["told"]
    assert (told["stopped_by"], told["global_step"], told["export_path"]) == ("SIGTERM", 5, None)
    assert told["checkpoint"] == "model.ckpt-5"
    assert {each.rstrip("0123456789.-") for each in outcome["files"]} <= {
        "checkpoint",
        "history.jsonl",
        "runs.json",
        "told.json",
        *(f"model.ckpt-{step}.{end}" for step in (0, 5) for end in ("index", "data-00000-of")),
    }
    assert "SIGTERM: the export is given up, what was trained is saved. A second one" in outcome["log"]


def test_a_signal_in_a_start_ends_it_and_leaves_the_checkpoints(sent):
    outcome = sent["in the middle"]["start"]
    assert outcome["code"] == 0, outcome["log"]
    told = outcome["told"]
    assert (told["stopped_by"], told["global_step"], told["steps"]) == ("SIGTERM", 5, 0)
    assert told["checkpoint"] == "model.ckpt-5"
    assert "INFO:tensorflow:The run ends before its first step: SIGTERM asked for it." in outcome["log"]
    assert not [name for name in outcome["files"] if name.startswith(".")], "no lock, and nothing unfinished"


def test_a_signal_in_a_start_that_waits_for_tensorflow_ends_the_process(sent):
    outcome = sent["in the middle"]["start_in_tensorflow"]
    assert outcome["code"] == 128 + signal.SIGTERM
    assert outcome["told"] is None
    assert outcome["log"].endswith("SIGTERM: the process ends, as TensorFlow does not come back.\n")


def test_a_signal_ends_what_user_code_forks_from_a_run(sent):
    assert sent["child"] == {"codes": [-signal.SIGTERM], "received": None}


def test_signals_are_given_back_to_whom_they_belonged_before():
    def mine(_number, _frame):
        """Is the user's."""

    before = {each: signal.signal(each, mine) for each in SIGNALS}
    try:
        with catch_signals(), catch_signals():
            assert all(signal.getsignal(each) is not mine for each in SIGNALS)
        assert all(signal.getsignal(each) is mine for each in SIGNALS)
        with pytest.raises(KeyError), catch_signals():
            raise KeyError
        assert all(signal.getsignal(each) is mine for each in SIGNALS)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert signal.set_wakeup_fd(-1) == -1


def test_a_signal_that_is_not_of_these_is_none():
    with catch_signals() as watch:
        before = signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
        try:
            signal.raise_signal(signal.SIGUSR1)
        finally:
            signal.signal(signal.SIGUSR1, before)
    assert watch.name is None


def test_a_run_in_a_thread_leaves_the_signals_alone_and_works(regression, tmp_path):
    seen, results = [], []
    before = [signal.getsignal(each) for each in SIGNALS]

    def model_fn(inputs, mode):
        seen.append([signal.getsignal(each) for each in SIGNALS])
        return regression.model_fn(inputs, mode)

    def run():
        results.append(
            mox.run(
                input_fn=regression.input_fn,
                model_fn=model_fn,
                optimizer_fn=regression.sgd,
                run_mode=mox.ModeKeys.TRAIN,
                batch_size=4,
                log_dir=tmp_path,
                max_number_of_steps=3,
            )
        )

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]
    assert (results[0].stopped_by, results[0].global_step) == ("max_number_of_steps", 3)


class _Interrupting(mox.Hook):
    """Asks the run to end, once, and goes on when it has heard it."""

    def after_run(self, _run_context, _run_values):
        if not any(each.received.name for each in signals._replaced):
            signal.raise_signal(signal.SIGINT)
        while not any(each.received.name for each in signals._replaced):
            threading.Event().wait(0.001)


@pytest.mark.parametrize(
    ("mode", "saves", "said"),
    [
        ("TRAIN", True, "the run ends after this step and saves. A second one ends it at once."),
        (
            "TRAIN",
            False,
            "the run ends after this step; nothing is saved, as there is no log_dir. A second one ends it ",
        ),
        ("EVAL", True, "the run ends after this step. A second one ends it at once."),
    ],
)
def test_a_signal_promises_what_is_true(mode, saves, said, regression, tmp_path, caplog):
    def run(mode, hooks, steps, log_dir):
        def model_fn(inputs, mode):
            return attrs.evolve(regression.model_fn(inputs, mode), hooks=hooks)

        return mox.run(
            input_fn=regression.input_fn,
            model_fn=model_fn,
            optimizer_fn=regression.sgd,
            run_mode=mode,
            batch_size=4,
            log_dir=log_dir,
            max_number_of_steps=steps,
        )

    if mode == "EVAL":
        run("TRAIN", [], 1, tmp_path)
    ended = run(mode, [_Interrupting()], 9, tmp_path if saves else None)
    assert (ended.stopped_by, ended.steps) == ("SIGINT", 1)
    assert [text for text in caplog.messages if text.startswith(f"SIGINT: {said}")]


def test_what_a_run_waits_for_at_its_end_is_no_step(caplog, monkeypatch):
    monkeypatch.setattr(signals, "_SECONDS_TO_ABANDON", 0.01)
    uploads = "what was saved is being uploaded"
    text = f"SIGTERM: the run has not ended yet: {uploads}. Nothing is lost as long as it is let end."
    with catch_signals() as watch:
        watch.steps_are_over(uploads)
        signal.raise_signal(signal.SIGTERM)
        end = time.monotonic() + 60
        while text not in caplog.messages and time.monotonic() < end:
            threading.Event().wait(0.01)
    assert caplog.messages == ["SIGTERM: the run is at its end. A second one ends it at once.", text]
