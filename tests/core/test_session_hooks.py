import pytest

from mox_core.errors import UsageError
from mox_core.session_hooks import AggregativeSessionRunHook, missing_methods


class Quiet(AggregativeSessionRunHook):
    def support_aggregation(self):
        return False

    def support_sync_workers(self):
        return False

    def run_inter_mode(self):
        return False


class Feeding(Quiet):
    """As the manual writes its FeedSessionRunHook."""

    def __init__(self, feed_dict):
        super(Feeding, self).__init__()  # noqa: UP008
        self.feed_dict = feed_dict

    def before_run(self, run_context):  # noqa: ARG002
        return self.feed_dict


class Reading(Quiet):
    def after_run(self, run_context, run_values):
        pass


class Sparse(Reading):
    def next_step(self, step):
        return -(-step // 32) * 32 if step <= 64 else None


def test_what_a_hook_does_not_override_does_nothing():
    hook = Quiet()
    assert hook.begin() is None
    assert hook.after_create_session(None, None) is None
    assert hook.before_run(None) is None
    assert hook.after_run(None, None) is None
    assert hook.end(None) is None


def test_a_hook_of_the_manuals_form_keeps_its_arguments():
    assert Feeding({"x": 1}).before_run(None) == {"x": 1}


def test_a_hook_that_lacks_a_method_cannot_be_made():
    class Half(AggregativeSessionRunHook):
        def __init__(self, loss):  # noqa: ARG002
            raise AssertionError("the class is refused before")

        def support_aggregation(self):
            return False

    with pytest.raises(UsageError) as caught:
        Half("loss")
    assert str(caught.value) == (
        "hook 'Half' lacks support_sync_workers and run_inter_mode; "
        "add to the class, for each: def NAME(self): return False  (or True)"
    )


def test_the_base_itself_cannot_be_made():
    with pytest.raises(
        UsageError, match=r"^hook 'AggregativeSessionRunHook' lacks support_aggregation and support_sync"
    ):
        AggregativeSessionRunHook()


def test_a_mixin_may_bring_the_methods():
    class Mixed(Quiet, AggregativeSessionRunHook):
        pass

    assert missing_methods(Mixed) == []
    assert Mixed().run_inter_mode() is False


def test_arguments_that_no_init_takes_are_refused():
    with pytest.raises(TypeError):
        Quiet(3)


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        (Quiet(), [None, None, None]),  # nothing to call at steps
        (Feeding({}), [0, 33, 96]),  # every step
        (Reading(), [0, 33, 96]),
        (Sparse(), [0, 64, None]),  # what it says itself
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_hook_says_which_steps_it_wants(hook, expected):
    assert [hook.next_step(step) for step in (0, 33, 96)] == expected
