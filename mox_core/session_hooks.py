"""The base of the hooks that `model_fn` hands to the loop in `mox.ModelSpec(hooks=[...])`.

It imports no TensorFlow; what its methods are given is what `tf.compat.v1.train.SessionRunHook`'s are given.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self

REQUIRED_METHODS: Final = ("support_aggregation", "support_sync_workers", "run_inter_mode")
"""What every hook must say of itself."""


class AggregativeSessionRunHook:
    """Code of the user's that the loop calls at the beginning, around steps and at the end.

    A subclass implements three methods that say what it is, and overrides those of the others that it needs; they do
    nothing here. `__init__` takes nothing.

    | method | True | False |
    | --- | --- | --- |
    | `support_aggregation` | one instance for all replicas, fed the mean of what it monitors | one for each replica |
    | `support_sync_workers` | acts on all workers, at the same step | acts where it is, on its own |
    | `run_inter_mode` | drives the inter mode | is a hook of its own mode only |

    A hook that was written as a `tf.compat.v1.train.SessionRunHook` needs this class as its base, and the three
    methods.

    Between two steps for which some hook wants `before_run` and `after_run`, the engine runs many steps in one compiled
    call, which is what makes small models fast. Say in `next_step` which steps those are, if not every one.

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
        UsageError: if a subclass that lacks one of the three methods is instantiated.
    """

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Refuse a class that lacks a required method, before its `__init__` runs."""
        if missing := missing_methods(cls):
            raise UsageError(
                f"hook {cls.__name__!r} lacks {' and '.join(missing)}; "
                "add to the class, for each: def NAME(self): return False  (or True)"
            )
        return super().__new__(cls)

    def __init__(self) -> None:
        """Take nothing; without this, arguments that no subclass takes would be swallowed."""

    def begin(self) -> None:
        """Prepare; called once, when `model_fn` has been traced and no step has run.

        Ops may still be made here, in the graph of `model_fn`, which is the default one.
        """

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Prepare what needs the variables; called once, when they are initialized or restored.

        Args:
            session: computes what `model_fn` has made, as `session.run(fetches, feed_dict=None)`.
            coord: asks the loop to stop, as `coord.request_stop()`.
        """

    def before_run(self, run_context: Any) -> Any:
        """Say what the coming step is to fetch and to be fed.

        Args:
            run_context: has `request_stop()` and `session`.

        Returns:
            A `tf.compat.v1.train.SessionRunArgs`, or None. Its fetches are tensors, operations and variables, or their
            names, one of them or any nest of lists, tuples, named tuples and dicts; its feed_dict has tensors that
            `model_fn` has made, placeholders for instance.
        """

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Take what was fetched.

        Args:
            run_context: has `request_stop()`, `session`, `global_step`, `learning_rate` and, while training, what
                evaluates: `run_inter_mode(max_steps)`.
            run_values: has `results`, in the structure of the fetches that `before_run` asked for: arrays, and None for
                operations.
        """

    def end(self, session: Any) -> None:
        """Finish; called once for each hook that has begun, in whichever way the training ends.

        All hooks get it, in order. What it raises after an error is logged, and does not hide that error.

        Args:
            session: as in `after_create_session`; `session.complete` tells whether the run came to its end, rather than
                by an error or a signal.
        """

    def next_step(self, step: int) -> int | None:
        """Return the next step for which the hook wants `before_run` and `after_run`.

        Between two such steps the engine runs many steps in one compiled call. By default it is every step if the class
        overrides one of the two methods, and none if it does not.

        Args:
            step: the local step that comes next; the first of a run is 0.

        Returns:
            A local step, `step` itself or a later one, or None: no step from here on.
        """
        methods = ("before_run", "after_run")
        wants = any(getattr(type(self), name) is not getattr(AggregativeSessionRunHook, name) for name in methods)
        return step if wants else None

    @abstractmethod
    def support_aggregation(self) -> bool:
        """Whether one instance serves all replicas, and is fed the mean of what it monitors; else each has its own."""

    @abstractmethod
    def support_sync_workers(self) -> bool:
        """Whether it acts on all workers of a distributed job at the same step; else each acts on its own."""

    @abstractmethod
    def run_inter_mode(self) -> bool:
        """Whether it drives the inter mode of `mox.run(inter_mode=...)`, as validation while training does."""


def missing_methods(hook_class: type) -> list[str]:
    """Return which of the three required methods a class lacks, or has only as the base's."""

    def lacks(name: str) -> bool:
        method = getattr(hook_class, name, None)
        return method is None or getattr(method, "__isabstractmethod__", False)

    return [name for name in REQUIRED_METHODS if lacks(name)]
