"""HookContract finds what is wrong with a hook, and nothing in a good one."""

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.sdk import hook_variable
from mox_core.testing import HookContract

SAYS, ORDER, FAILS, WEIGHTS, RESUME, INTER = (
    "test_it_says_what_it_is",
    "test_its_methods_work_in_order",
    "test_it_ends_when_the_training_fails",
    "test_it_leaves_the_weights_alone",
    "test_it_survives_a_resume",
    "test_it_evaluates_as_it_says",
)


class Counting(mox.AggregativeSessionRunHook):
    """Counts steps, and stops after ten in all; broken ones override a method."""

    evaluates = False

    def __init__(self):
        super().__init__()
        self.counter = hook_variable(self, "count", np.int64(0))
        self.kernel = next(v for v in tf.compat.v1.global_variables() if v.name == "kernel:0")

    def before_run(self, run_context):
        del run_context
        return tf.compat.v1.train.SessionRunArgs(self.kernel)

    def after_run(self, run_context, run_values):
        assert run_values.results.shape == (3, 2)
        self.counter.assign_add(1)
        if self.counter.numpy() == 7:
            run_context.request_stop()

    def support_aggregation(self):
        return False

    def support_sync_workers(self):
        return False

    def run_inter_mode(self):
        return self.evaluates


class Evaluating(Counting):
    """Evaluates in every third step."""

    evaluates = True
    monitor_info = None

    def after_run(self, run_context, run_values):
        super().after_run(run_context, run_values)
        if self.counter.numpy() % 3 == 0:
            run_context.run_inter_mode(2)


def contract_of(make):
    class Contract(HookContract):
        def hook(self):
            return make()

    return Contract


@pytest.mark.parametrize("good", [Counting, Evaluating])
def test_a_good_hook_passes(run_check, good):
    run_check(contract_of(good))


class OfTensorFlow(tf.compat.v1.train.SessionRunHook):
    pass


class Undecided(Counting):
    def support_sync_workers(self):
        return None


class OfTheOldSignature(Counting):
    def begin(self, session):
        del session


class UsingASession(Counting):
    def after_create_session(self, session, coord):
        del coord
        session.list_devices()


class LookingBack(Counting):
    def next_step(self, step):
        return max(0, step - 1)


class NeverCalled(Counting):
    def next_step(self, step):
        del step


class EndingTwice(Counting):
    def end(self, session):
        assert session.complete, "it is not over"


class Moving(Counting):
    def after_run(self, run_context, run_values):
        super().after_run(run_context, run_values)
        self.kernel.assign_add(tf.ones([3, 2]))


class StoppingByItsOwnCount(Counting):
    steps = 0

    def after_run(self, run_context, run_values):
        del run_values
        self.steps += 1
        if self.steps == 6:
            run_context.request_stop()


class RememberingItsOwnCount(StoppingByItsOwnCount):
    def after_run(self, run_context, run_values):
        del run_context, run_values
        self.steps += 1
        self.counter.assign(self.steps)


class SayingThatItEvaluates(Counting):
    evaluates = True


class NotSayingThatItEvaluates(Evaluating):
    evaluates = False


class ForTrainingOnly(Counting):
    def after_run(self, run_context, run_values):
        super().after_run(run_context, run_values)
        assert run_context.learning_rate + 0.0 > 0


@pytest.mark.parametrize(
    ("broken", "check", "words"),
    [
        (OfTensorFlow, SAYS, "hook() returns a 'OfTensorFlow'; derive its class from mox.AggregativeSessionRunHook"),
        (Undecided, SAYS, "support_sync_workers of hook 'Undecided' returns None; it must be True or False"),
        (OfTheOldSignature, ORDER, "a training with the hook fails: TypeError: "),
        (UsingASession, ORDER, "'Session' object has no attribute 'list_devices'"),
        (LookingBack, ORDER, "next_step(1) of hook 'LookingBack' is 0; it must be 1, a later step, or None"),
        (NeverCalled, ORDER, "has before_run or after_run, and neither is called in 8 steps: let next_step return"),
        (EndingTwice, FAILS, "end of hook 'EndingTwice' raises when a training has failed: AssertionError: it is not"),
        (Moving, WEIGHTS, "hook 'Moving' changes what is trained: bias, kernel. Fetch and look without assigning"),
        (StoppingByItsOwnCount, RESUME, "a training ends at step 6 (StoppingByItsOwnCount), and one that was interrup"),
        (RememberingItsOwnCount, RESUME, "differs after a resume in hooks/RememberingItsOwnCount/count: remember by"),
        (SayingThatItEvaluates, INTER, "says that it runs the inter mode, and evaluates nothing in 8 steps"),
        (NotSayingThatItEvaluates, INTER, "and no inter mode, of which run_inter_mode says that it needs none, fails"),
        (ForTrainingOnly, INTER, "EVAL with hook 'ForTrainingOnly' fails: TypeError"),
    ],
)
def test_what_is_wrong_is_found(caught, broken, check, words):
    caught(contract_of(broken), check, words)


def test_a_hook_that_says_that_it_changes_weights_may(run_check):
    contract = contract_of(Moving)
    contract.changes_weights = True
    with pytest.raises(pytest.skip.Exception, match="it `changes_weights`"):
        run_check(contract, WEIGHTS)


def test_a_contract_without_its_method_says_which(caught):
    class Contract(HookContract):
        pass

    caught(Contract, SAYS, "fails: NotImplementedError: Contract lacks the method `hook`")
