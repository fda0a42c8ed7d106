"""The base class of session hooks, which `model_fn` returns in `mox.ModelSpec(hooks=[...])`.

The arguments of its methods are those of `tf.compat.v1.train.SessionRunHook`. TensorFlow is not imported.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self

REQUIRED_METHODS: Final = ("support_aggregation", "support_sync_workers", "run_inter_mode")
"""The methods that every subclass implements."""


class AggregativeSessionRunHook:
    """The base class of session hooks, whose methods are called at the beginning, around steps and at the end of a run.

    A subclass implements `support_aggregation`, `support_sync_workers` and `run_inter_mode`, and overrides those of the
    other methods that it needs; the base class's do nothing. `__init__` takes no arguments.

    | method | True | False |
    | --- | --- | --- |
    | `support_aggregation` | one instance for all replicas; it sees the fetches of the first | one for each replica |
    | `support_sync_workers` | runs on all workers, at the same step | runs on each worker independently |
    | `run_inter_mode` | runs the inter mode | runs in its own mode only |

    A `tf.compat.v1.train.SessionRunHook` becomes such a hook with this class as its base, and the three methods.

    Between two steps with `before_run` and `after_run` of some hook, many steps run in one compiled call, which makes
    small models fast. Override `next_step` if the hook does not need every step.

    Example:
        class PrintLoss(mox.AggregativeSessionRunHook):
            def __init__(self, loss):
                super().__init__()
                self.loss = loss

            def next_step(self, step):
                return -(-step // 100) * 100  # 0, 100, 200, ...

            def before_run(self, run_context):
                return tf.compat.v1.train.SessionRunArgs(self.loss)

            def after_run(self, run_context, run_values):
                print(run_values.results)

            def support_aggregation(self):
                return False

            def support_sync_workers(self):
                return False

            def run_inter_mode(self):
                return False

    Raises:
        UsageError: if an instance is made of a subclass that lacks one of the three methods.
    """

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Raise a UsageError, before `__init__` runs, if the class lacks a required method."""
        if missing := missing_methods(cls):
            raise UsageError(
                f"hook {cls.__name__!r} lacks {' and '.join(missing)}; "
                "add to the class, for each: def NAME(self): return False  (or True)"
            )
        return super().__new__(cls)

    def __init__(self) -> None:
        """Take no arguments; otherwise `__new__` would accept any."""

    def begin(self) -> None:
        """Do nothing; override to act once, after `model_fn` has been traced and before the first step.

        Operations can still be added to the graph of `model_fn`, which is the default graph.
        """

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Do nothing; override to act once, after the variables are initialized or restored.

        Args:
            session: has `run(fetches, feed_dict=None)`, `graph`, the graph of `model_fn`, and `mode`, its mode.
            coord: has `request_stop()`, which ends the run.
        """

    def before_run(self, run_context: Any) -> Any:
        """Return the fetches and the feed_dict of the coming step.

        Args:
            run_context: has `request_stop()` and `session`.

        Returns:
            A `tf.compat.v1.train.SessionRunArgs`, or None. Its fetches are tensors, operations, variables or their
            names: one, or nested lists, tuples, named tuples and dicts of them. The keys of its feed_dict are tensors
            of `model_fn`, such as placeholders.
        """

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Receive the values of the fetches.

        Args:
            run_context: has `request_stop()`, `session`, `global_step`, `learning_rate` and, in TRAIN,
                `run_inter_mode(max_steps)`, which evaluates.
            run_values: has `results`, in the structure of the fetches of `before_run`: a NumPy array for each tensor
                and variable, None for each operation.
        """

    def after_inter_mode(self, run_context: Any) -> None:
        """Do nothing; override in a hook of EVAL that is to see the evaluations of a training, too.

        It then has `before_run` and `after_run` around their batches, each with the global step of the training, and
        this at the end of each evaluation that is complete. An evaluation takes one call for a batch then.

        Args:
            run_context: that of the last batch.
        """

    def end(self, session: Any) -> None:
        """Do nothing; override to act at the end of the run, also after an error, if `begin` has succeeded.

        All hooks are called, in order. An exception that it raises after an error is logged, and does not hide that
        error.

        Args:
            session: as in `after_create_session`; `session.complete` is False if an error or a signal ended the run.
        """

    def next_step(self, step: int) -> int | None:
        """Return the next step around which `before_run` and `after_run` are to be called.

        The steps between run in one compiled call. The default is every step if the class overrides one of the two
        methods, and no step otherwise.

        Args:
            step: the local step that comes next; the first step of a run is 0.

        Returns:
            A local step, `step` or a later one, or None for no further step.
        """
        methods = ("before_run", "after_run")
        wants = any(getattr(type(self), name) is not getattr(AggregativeSessionRunHook, name) for name in methods)
        return step if wants else None

    @abstractmethod
    def support_aggregation(self) -> bool:
        """Return True for one instance for all replicas, which sees the fetches of the first; False for one each."""

    @abstractmethod
    def support_sync_workers(self) -> bool:
        """Return True if it runs on all workers of a distributed job at the same step; False if independently."""

    @abstractmethod
    def run_inter_mode(self) -> bool:
        """Return True if it runs the inter mode of `mox.run(inter_mode=...)`, such as validation during training."""


class Hook(AggregativeSessionRunHook):
    """A session hook that has the answers which are right for most: one for each replica and worker, no evaluations.

    Example:
        class Progress(mox.Hook):
            def after_run(self, run_context, run_values):
                print(run_context.global_step)
    """

    def support_aggregation(self) -> bool:
        """Return False: each replica has a hook of its own."""
        return False

    def support_sync_workers(self) -> bool:
        """Return False: each worker runs it by itself."""
        return False

    def run_inter_mode(self) -> bool:
        """Return False: it evaluates nothing."""
        return False


def watches_inter_mode(hook: AggregativeSessionRunHook) -> bool:
    """Whether a hook of EVAL is to see the evaluations of a training: it overrides `after_inter_mode`."""
    return type(hook).after_inter_mode is not AggregativeSessionRunHook.after_inter_mode


def missing_methods(hook_class: type) -> list[str]:
    """Return the names of the required methods that a class lacks, or does not override."""

    def lacks(name: str) -> bool:
        method = getattr(hook_class, name, None)
        return method is None or getattr(method, "__isabstractmethod__", False)

    return [name for name in REQUIRED_METHODS if lacks(name)]
