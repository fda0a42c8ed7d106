"""How jobs of several workers end: all at the same step, by whatever ends one of them, and what is left then."""

import numpy as np
import pytest


@pytest.mark.slow
def test_whatever_stops_one_worker_stops_all_at_the_same_step(run_job):
    program = """
        def unequal(mode):
            data = tf.data.Dataset.from_tensor_slices((FEATURES, TARGETS))
            return data.take(24 if index == 0 else 40)  # as if a disk lacked files

        def nan(inputs, mode):
            spec = model_fn(inputs, mode)
            bad = (index == 1) & (tf.compat.v1.train.get_global_step() == 5)
            loss = tf.where(bad, np.nan, spec.loss)
            return mox.ModelSpec(loss=loss, log_info={"loss": loss})

        def stopping(inputs, mode):
            spec = model_fn(inputs, mode)
            weight = tf.compat.v1.get_variable("constant", initializer=1.0, trainable=False)
            hook = mox.EarlyStoppingHook(
                monitor="constant", monitor_info={"constant": weight + 0.0}, samples_in_train=80, samples_in_eval=40,
                patience=2, batch_size=8, mode="min",
            )
            return mox.ModelSpec(loss=spec.loss, log_info=spec.log_info, hooks=[hook])

        ends = {"input": train("input", input_fn=unequal)}
        asks = at_step(3, lambda context: index == 1 and context.request_stop())
        ends["hook"] = train("hook", model_fn=with_hooks(asks))
        ends["early"] = train("early", steps=10_000, model_fn=stopping, inter_mode=mox.ModeKeys.EVAL)
        for name, asked in (("signal", 1), ("chief", 0)):
            terminated = at_step(7, lambda context: index == asked and kill(signal.SIGTERM))
            ends[name] = train(name, steps=1_000_000, model_fn=with_hooks(terminated))

        def kill_at_10():
            calls.append(0)
            if index == 1 and len(calls) == 10:
                kill(signal.SIGTERM)

        def evaluated(inputs, mode):
            spec, loss = model_fn(inputs, mode), None
            if mode == mox.ModeKeys.EVAL:
                with tf.control_dependencies([tf.py_function(kill_at_10, [], [])]):
                    loss = tf.identity(spec.loss)
            hook = mox.EarlyStoppingHook(
                monitor="loss", monitor_info={"loss": loss}, samples_in_train=80, samples_in_eval=10**12, patience=2,
                batch_size=8, mode="min",
            )
            return mox.ModelSpec(loss=spec.loss if loss is None else loss, log_info={"loss": spec.loss}, hooks=[hook])

        endless = {"model_fn": evaluated, "input_fn": lambda mode: input_fn(mode).repeat()}
        calls = []
        ends["validation"] = train("validation", steps=100, inter_mode=mox.ModeKeys.EVAL, **endless)
        calls.clear()
        ends["evaluation"] = evaluate("validation", **endless)
        try:
            train("nan", model_fn=nan)
        except mox.NanLossError as error:
            ends["nan"] = str(error)
        tell(**{name: end if name == "nan" else [end.global_step, end.stopped_by] for name, end in ends.items()})
    """
    result = run_job(program, tf_config=1)
    assert set(result["codes"].values()) == {0}, result["logs"]
    chief, other = result["told"]["worker-0"], result["told"]["worker-1"]
    assert chief == other
    # The chief has every second of 24 samples, and a batch takes 4 of them.
    assert chief["input"] == [3, "end of input"]
    assert chief["hook"] == [4, "AtStep"]
    assert chief["early"][1] == "EarlyStoppingHook"
    assert chief["signal"][1] == chief["chief"][1] == "SIGTERM"
    assert chief["validation"] == chief["evaluation"] == [10, "SIGTERM"], "the others go on for ever"
    assert chief["nan"].startswith("loss is nan at global step 5")
    log = result["logs"]["worker-0"]
    assert "WARNING:tensorflow:worker 1 ends the run: SIGTERM." in log
    assert f"Saving checkpoints for {chief['signal'][0]} into" in log


TRAINED = """
    train("log", adam, 14, model_fn=with_hooks(*hooks), save_model_steps=5)
    tell(values=variables("log") if index == 0 else None)
"""


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_is_named_and_the_job_goes_on_from_its_checkpoint(run_job, tmp_path, victim):
    folder = tmp_path / "job"
    hooks = f"hooks = [at_step(7, lambda context: index == {victim} and kill(signal.SIGKILL))]"
    broken = run_job(f"{hooks}\n{_dedented(TRAINED)}", folder=folder)
    other = 1 - victim
    assert broken["codes"] == {f"worker-{victim}": 137, f"worker-{other}": 1}
    log = broken["logs"][f"worker-{other}"]
    assert f"mox_core.errors.ClusterError: worker {victim} at 127.0.0.1:" in log
    assert "Start all processes of the job again: it goes on from its last checkpoint." in log
    _is_as_one_without_a_stop(run_job, folder)


@pytest.mark.slow
def test_a_kill_during_a_save_leaves_the_checkpoint_before_it(run_job, tmp_path):
    folder = tmp_path / "job"
    # Of a checkpoint three things are flushed: data, index, folder. The second save is cut off in its middle.
    hooks = """
hooks, flush, flushed = [], os.fsync, []
def killing(descriptor):
    flush(descriptor)
    flushed.append(descriptor)
    if index == 0 and len(flushed) == 5:
        kill(signal.SIGKILL)
os.fsync = killing
"""
    broken = run_job(f"{hooks}\n{_dedented(TRAINED)}", folder=folder)
    assert broken["codes"] == {"worker-0": 137, "worker-1": 1}
    assert sorted(path.name for path in (folder / "0" / "log").glob("*.index")) == ["model.ckpt-0.index"]
    _is_as_one_without_a_stop(run_job, folder)


def _is_as_one_without_a_stop(run_job, folder):
    resumed = run_job(f"hooks = []\n{_dedented(TRAINED)}", folder=folder)
    assert set(resumed["codes"].values()) == {0}
    whole = run_job(f"hooks = []\n{_dedented(TRAINED)}", workers=1)["told"]["worker-0"]["values"]
    values = resumed["told"]["worker-0"]["values"]
    for name in whole.keys() - {"mox/seed"}:
        np.testing.assert_allclose(values[name], whole[name], atol=1e-5, err_msg=name)


def _dedented(program):
    return "\n".join(line.removeprefix("    ") for line in program.splitlines())


@pytest.mark.slow
def test_an_idle_ps_leaves_with_the_workers(run_job):
    result = run_job('train("log", steps=3)', ps=1)
    assert result["codes"] == {"worker-0": 0, "worker-1": 0, "ps-0": 0}
    assert (
        "has nothing to do, workers that step together share no weights: it leaves with worker 0."
        in (result["logs"]["ps-0"])
    )


@pytest.mark.slow
def test_one_worker_with_a_ps_trains_alone(run_job):
    result = run_job('train("log", steps=3)', workers=1, ps=1, sync=0)
    assert result["codes"] == {"worker-0": 0, "ps-0": 0}


@pytest.mark.slow
def test_who_is_missing_is_named_and_the_job_ends_in_time(run_job, monkeypatch):
    monkeypatch.setenv("MISSING", "worker-1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    result = run_job('train("log", steps=3)', session_timeout=4)
    assert result["codes"] == {"worker-0": 1}
    log = result["logs"]["worker-0"]
    assert "worker 0 at 127.0.0.1:" in log
    assert "has waited 4 s in vain for worker 1 at 127.0.0.1:" in log
    assert "--session_timeout=SECONDS" in log


@pytest.mark.slow
def test_proxies_of_the_environment_do_not_come_between_workers(run_job, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert set(run_job('train("log", steps=3)')["codes"].values()) == {0}


@pytest.mark.slow
def test_workers_with_other_models_are_told_what_differs(run_job):
    program = """
        def other(inputs, mode):
            spec = model_fn(inputs, mode)
            if index == 1:
                tf.compat.v1.get_variable("further", initializer=1.0)
            return spec

        train("log", model_fn=other)
    """
    result = run_job(program)
    assert "model_fn makes other variables on worker 1 than on worker 0: 'further'." in result["logs"]["worker-1"]
    assert "mox_core.errors.ClusterError: worker 1 at" in result["logs"]["worker-0"]


@pytest.mark.slow
def test_tensorflow_that_has_begun_to_compute_is_refused_with_the_way_out(run_job):
    result = run_job('tf.constant(1) + 1\ntrain("log")')
    for log in result["logs"].values():
        assert "UsageError: TensorFlow has begun to compute before mox.run" in log


@pytest.mark.slow
def test_a_worker_that_dies_before_tensorflow_has_connected_ends_the_others(run_job):
    program = """
        workers_ = mox_core.engine.distribute.connection
        workers_.SECONDS_TO_CONNECT = 3
        if index == 1:
            workers_._strategy = lambda cluster: kill(signal.SIGKILL)
        train("log")
    """
    result = run_job(program)
    assert result["codes"] == {"worker-0": 137, "worker-1": 137}
    assert "waits in vain for worker 1 at 127.0.0.1:" in result["logs"]["worker-0"]
