"""Workers on their own (`--sync_replicas=False` without ps), which meet where their optimizer wrapper says so."""

import numpy as np
import pytest

COUNTED = """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    def sums_in_steps(name, optimizer_fn, steps):
        "How often workers met in the steps of a training, as TensorFlow's profiler has seen it."
        place = folder / f"profile-{index}-{name}"
        tf.profiler.experimental.start(str(place))
        train(name, optimizer_fn, steps)
        tf.profiler.experimental.stop()
        (path,) = place.rglob("*.xplane.pb")
        planes = xplane_pb2.XSpace.FromString(path.read_bytes()).planes
        names = [
            plane.event_metadata[event.metadata_id].name
            for plane in planes for line in plane.lines for event in line.events
        ]
        # Those outside of the loop of steps start and end the run.
        return sum(name.startswith("while/") and name.endswith(":CollectiveReduceV2") for name in names)

    def batches(optimizer):
        return lambda: mox.get_optimizer_wrapper_fn("batch_gradients", optimizer(), num_batches=4)()

    def with_lars():
        return mox.get_optimizer_wrapper_fn("lars", momentum(), ratio=0.1)()

    def in_step():
        return mox.SimpleSyncOptimizer(momentum(), num_workers=workers, task_index=index)
"""

BATCHES = """
    train("batches", batches(momentum), 12)
    train("keras", batches(adam), 12)
    train("lars", batches(with_lars), 12)
    train("in_step", in_step, 12)
    sums = sums_in_steps("counted", batches(momentum), 12) if workers > 1 else 0
    names = ("batches", "keras", "lars", "in_step")
    tell(sums=sums, **{name: variables(name) for name in names} if index == 0 else {})
"""


@pytest.mark.slow
def test_workers_that_average_gradients_are_one_process_with_all_batches_and_meet_once_in_a_period(told):
    alone = told(COUNTED + BATCHES, workers=1)["worker-0"]
    own = told(COUNTED + BATCHES, sync=0)
    assert [own[f"worker-{index}"]["sums"] for index in (0, 1)] == [3, 3]
    for name in ("batches", "keras", "lars", "in_step"):
        for variable in ("weights", "bias"):
            np.testing.assert_allclose(own["worker-0"][name][variable], alone[name][variable], atol=1e-5, err_msg=name)


PERIOD, RATE, STEPS = 4, 0.1, 12

ELASTIC = f"""
    def elastic():
        optimizer = mox.get_optimizer_fn("sgd", {RATE})()
        return mox.get_optimizer_wrapper_fn("easgd", optimizer, communication_period={PERIOD})()

    sums = sums_in_steps("counted", elastic, {STEPS})
    tell(sums=sums, found=variables("counted") if index == 0 else None)
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
def test_easgd_meets_once_in_a_period_and_is_the_papers(told, regression):
    job = told(COUNTED + ELASTIC, sync=0)
    assert [job[f"worker-{index}"]["sums"] for index in (0, 1)] == [3, 3]
    weights, center = _elastic_averaging(regression.features, regression.targets)
    found = job["worker-0"]["found"]
    np.testing.assert_allclose([*found["weights"], found["bias"]], weights[0], atol=1e-5)
    np.testing.assert_allclose([*found["weights/easgd_center"], found["bias/easgd_center"]], center, atol=1e-5)


# One profile a process: TensorFlow's profiler now and then breaks its memory in a second one.
@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "warnings"), [("momentum", 0), ("batches(adam)", 1)])
def test_workers_that_step_together_meet_in_every_step_and_are_told_so(run_job, optimizer, warnings):
    result = run_job(
        COUNTED
        + f"""
    tell(sums=sums_in_steps("counted", {optimizer}, 12))
"""
    )
    assert set(result["codes"].values()) == {0}, "\n".join(log[-3000:] for log in result["logs"].values())
    for index in (0, 1):
        assert result["told"][f"worker-{index}"]["sums"] == 12
        warning = "WARNING:tensorflow:Using OptimizerWrapper when sync_replicas is True may cause performance loss."
        assert result["logs"][f"worker-{index}"].count(warning) == warnings


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
