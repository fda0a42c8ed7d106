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

    A subclass implements `support_aggregation`, `support_sync_workers` and `run_inter_mode`, and overrides those of the
    other methods that it needs; they do nothing here. `__init__` takes nothing.

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
        """Prepare; called once, when `model_fn` has been traced and no step has run."""

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Prepare what needs the variables; called once, when they are initialized or restored.

        Args:
            session: runs fetches of `model_fn`'s tensors, as `session.run(fetches, feed_dict=None)`.
            coord: asks the loop to stop, as `coord.request_stop()`.
        """

    def before_run(self, run_context: Any) -> Any:
        """Say what the coming step is to fetch and to be fed.

        Args:
            run_context: has `request_stop()` and `session`.

        Returns:
            A `tf.compat.v1.train.SessionRunArgs`, or None.
        """

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Take what was fetched.

        Args:
            run_context: has `request_stop()` and `session`.
            run_values: has `results`, in the structure of the fetches that `before_run` asked for.
        """

    def end(self, session: Any) -> None:
        """Finish; called once, when the last step has run and no error ended the loop.

        Args:
            session: as in `after_create_session`.
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
        """Whether the hooks that the replicas made are one: if True, only the first replica's is called."""

    @abstractmethod
    def support_sync_workers(self) -> bool:
        """Whether the hook keeps the workers of a distributed job in step: if True, every worker calls it."""

    @abstractmethod
    def run_inter_mode(self) -> bool:
        """Whether the hook runs the inter mode of `mox.run(inter_mode=...)`, as validation while training does."""


def missing_methods(hook_class: type) -> list[str]:
    """Return which of the three required methods a class lacks, or has only as the base's."""

    def lacks(name: str) -> bool:
        method = getattr(hook_class, name, None)
        return method is None or getattr(method, "__isabstractmethod__", False)

    return [name for name in REQUIRED_METHODS if lacks(name)]
