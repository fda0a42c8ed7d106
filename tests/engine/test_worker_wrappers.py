"""Workers on their own (`--sync_replicas=False` without ps), which meet where their optimizer wrapper says so."""

import os
import re

import numpy as np
import pytest

OPTIMIZERS = """
    def batches(optimizer):
        return lambda: mox.get_optimizer_wrapper_fn("batch_gradients", optimizer(), num_batches=4)()

    def with_lars():
        return mox.get_optimizer_wrapper_fn("lars", momentum(), ratio=0.1)()

    def in_step():
        return mox.SimpleSyncOptimizer(momentum(), num_workers=workers, task_index=index)
"""

SAYS_COLLECTIVES = {"TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_VMODULE": "collective_ops=1"}
"""TensorFlow's own kernels log then which collective they have done, by the name of its node."""

SUM_IN_STEP = re.compile(r"Collective ExecuteAsync done for while/\S*CollectiveReduceV2: .* status OK")
"""A sum in the loop of steps; those outside of it start and end the run."""


@pytest.fixture
def counted(run_job):
    """Runs a job that must end well; returns what its processes told, and how often each met in each training."""

    def run(program, **options):
        result = run_job(program, environ=os.environ | SAYS_COLLECTIVES, **options)
        assert set(result["codes"].values()) == {0}, "\n".join(log[-3000:] for log in result["logs"].values())
        sums = {}
        for process, log in result["logs"].items():
            *trainings, _ = log.split("INFO:tensorflow:Training stops at global step 12: ")
            sums[process] = [len(SUM_IN_STEP.findall(each)) for each in trainings]
        return result["told"], sums, result["logs"]

    return run


BATCHES = """
    optimizers = {"batches": batches(momentum), "keras": batches(adam), "lars": batches(with_lars), "in_step": in_step}
    for name, optimizer_fn in optimizers.items():
        train(name, optimizer_fn, 12)
    tell(**{name: variables(name) for name in optimizers} if index == 0 else {})
"""


@pytest.mark.slow
def test_workers_that_average_gradients_are_one_process_with_all_batches_and_meet_once_in_a_period(told, counted):
    alone = told(OPTIMIZERS + BATCHES, workers=1)["worker-0"]
    own, sums, _ = counted(OPTIMIZERS + BATCHES, sync=0)
    assert sums == {name: [3, 3, 3, 12] for name in ("worker-0", "worker-1")}
    for name in ("batches", "keras", "lars", "in_step"):
        for variable in ("weights", "bias"):
            np.testing.assert_allclose(own["worker-0"][name][variable], alone[name][variable], atol=1e-5, err_msg=name)


PERIOD, RATE, STEPS = 4, 0.1, 12

ELASTIC = f"""
    def elastic():
        optimizer = mox.get_optimizer_fn("sgd", {RATE})()
        return mox.get_optimizer_wrapper_fn("easgd", optimizer, communication_period={PERIOD})()

    train("elastic", elastic, {STEPS})
    tell(found=variables("elastic") if index == 0 else None)
"""


def _elastic_averaging(features, targets):
    """Algorithm 1 of arXiv 1412.6651 on two workers that communicate at once, with alpha 0.9 / 2."""
    rows = np.column_stack([features, np.ones(len(targets))]).astype(np.float64)
    weights, center = np.zeros([2, 4]), np.zeros(4)
    for step in range(STEPS):
        gradients = []
        for worker in range(2):
            chosen = (step * 8 + worker + 2 * np.arange(4)) % 40
            errors = rows[chosen] @ weights[worker] - targets[chosen]
            gradients.append(2 * rows[chosen].T @ errors / 4)
        if step % PERIOD == 0:
            pulls = 0.45 * (weights - center)
            weights, center = weights - pulls, center + pulls.sum(axis=0)
        weights = weights - RATE * np.array(gradients)
    return weights, center


@pytest.mark.slow
def test_easgd_meets_once_in_a_period_and_is_the_papers(counted, regression):
    job, sums, _ = counted(ELASTIC, sync=0)
    assert sums == {"worker-0": [3], "worker-1": [3]}
    weights, center = _elastic_averaging(regression.features, regression.targets)
    found = job["worker-0"]["found"]
    np.testing.assert_allclose([*found["weights"], found["bias"]], weights[0], atol=1e-5)
    np.testing.assert_allclose([*found["weights/easgd_center"], found["bias/easgd_center"]], center, atol=1e-5)


TOGETHER = """
    train("momentum", momentum, 12)
    train("batches", batches(adam), 12)
"""


@pytest.mark.slow
def test_workers_that_step_together_meet_in_every_step_and_are_told_so(counted):
    _, sums, logs = counted(OPTIMIZERS + TOGETHER)
    assert sums == {name: [12, 12] for name in ("worker-0", "worker-1")}
    warning = "WARNING:tensorflow:Using OptimizerWrapper when sync_replicas is True may cause performance loss."
    for log in logs.values():
        assert [each.count(warning) for each in log.split("Training stops at")] == [0, 1, 0]


@pytest.mark.slow
def test_what_workers_on_their_own_cannot_do_is_refused_before_training(run_job):
    program = """
        refusals = []
        def refused(**options):
            try:
                train("log", **options)
            except mox.UsageError as error:
                refusals.append(str(error))

        wrapped = lambda **options: mox.get_optimizer_wrapper_fn("batch_gradients", momentum(), **options)()
        refused()
        refused(optimizer_fn=lambda: wrapped(sync_on_apply=False))
        refused(optimizer_fn=wrapped, input_fn=lambda mode: tf.data.Dataset.from_tensor_slices((FEATURES, TARGETS)))
        mox.set_flag("loss_scale", 8)
        refused(optimizer_fn=wrapped)
        tell(refusals=refusals)
    """
    for told in run_job(program, sync=0)["told"].values():
        nothing, silent, ends, scaled = told["refusals"]
        assert nothing == silent
        assert nothing.startswith(
            "--sync_replicas=False without --ps_hosts: the workers step on their own, and nothing in optimizer_fn "
            "brings them together. Put mox.get_optimizer_wrapper_fn('batch_gradients', ...) or 'easgd' around"
        )
        assert "one whose input ends would leave the others waiting" in ends
        assert scaled.startswith("--loss_scale=8.0 skips steps, and workers that step on their own would skip others")
