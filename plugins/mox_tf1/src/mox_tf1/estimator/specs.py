"""What the functions of an estimator return, and what configures one."""

from __future__ import annotations

import abc
import copy
from typing import TYPE_CHECKING, Any, Final

import attrs
from attrs import field, frozen

from mox_core.errors import UsageError
from mox_tf1.estimator.log import say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from attrs import Attribute


SAVE_SECS: Final = 600
"""Seconds between two checkpoints where `RunConfig` says nothing."""


class ModeKeys:
    """The modes in which `model_fn` is called."""

    TRAIN: Final = "train"
    EVAL: Final = "eval"
    PREDICT: Final = "infer"


_SCAFFOLD: Final = (
    "EstimatorSpec has a scaffold: mox makes and restores variables by itself. Put initial values into model_fn, by "
    "tf.train.init_from_checkpoint or initializers, and leave scaffold out."
)


def _no_scaffold(_spec: object, _attribute: Attribute[None], scaffold: object) -> None:
    if scaffold is not None:
        raise UsageError(_SCAFFOLD)


@frozen(eq=False)
class EstimatorSpec:
    """The model that a `model_fn` of an estimator returns.

    Attributes:
        mode: one of `ModeKeys`.
        predictions: a tensor, or a dict of tensors; PREDICT needs it.
        loss: a scalar tensor; TRAIN and EVAL need it.
        train_op: what an optimizer of `tf.train` returned; TRAIN needs it.
        eval_metric_ops: a dict from names to metrics: pairs (value, update_op), or metrics of Keras.
        export_outputs: a dict from names of signatures to outputs; one of `predictions`, if not given.
        training_chief_hooks: session hooks of TRAIN.
        training_hooks: session hooks of TRAIN.
        scaffold: nothing: it is refused.
        evaluation_hooks: session hooks of EVAL.
        prediction_hooks: session hooks of PREDICT.
    """

    mode: str
    predictions: Any = None
    loss: Any = None
    train_op: Any = None
    eval_metric_ops: Mapping[str, Any] | None = None
    export_outputs: Mapping[str, Any] | None = None
    training_chief_hooks: Sequence[Any] | None = None
    training_hooks: Sequence[Any] | None = None
    scaffold: None = field(default=None, validator=_no_scaffold)
    evaluation_hooks: Sequence[Any] | None = None
    prediction_hooks: Sequence[Any] | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse a spec that lacks what its mode needs, with its name."""
        needed = {ModeKeys.TRAIN: ("loss", "train_op"), ModeKeys.EVAL: ("loss",), ModeKeys.PREDICT: ("predictions",)}
        if self.mode not in needed:
            raise UsageError(f"EstimatorSpec has the mode {self.mode!r}; it is one of {', '.join(map(repr, needed))}.")
        for name in needed[self.mode]:
            if getattr(self, name) is None:
                raise UsageError(f"EstimatorSpec of mode {self.mode!r} lacks {name}.")

    def _replace(self, **changes: Any) -> EstimatorSpec:
        return attrs.evolve(self, **changes)


_NOT_TAKEN: Final = {
    "train_distribute": "several GPUs are used by --num_gpus=2, several machines by --worker_hosts",
    "eval_distribute": "several GPUs are used by --num_gpus=2",
    "experimental_distribute": "several machines are used by --worker_hosts",
}


@frozen(kw_only=True)
class RunConfig:
    """How an estimator trains.

    Attributes:
        model_dir: the folder of checkpoints and summaries.
        tf_random_seed: the seed of a training; None for what `tf.set_random_seed` says, or a new one.
        save_summary_steps: steps between two summaries.
        save_checkpoints_steps: steps between two checkpoints; None for `save_checkpoints_secs`.
        save_checkpoints_secs: seconds between two checkpoints.
        session_config: taken, and without effect: mox has no sessions.
        keep_checkpoint_max: how many checkpoints stay; None or 0 keeps all.
        keep_checkpoint_every_n_hours: taken, and without effect.
        log_step_count_steps: steps between two lines of the log.
        train_distribute: refused, like the other two: mox distributes by flags.
    """

    model_dir: str | None = None
    tf_random_seed: int | None = None
    save_summary_steps: int | None = 100
    save_checkpoints_steps: int | None = None
    save_checkpoints_secs: float | None = None
    session_config: Any = None
    keep_checkpoint_max: int | None = 5
    keep_checkpoint_every_n_hours: float = 10000
    log_step_count_steps: int | None = 100
    train_distribute: None = None
    eval_distribute: None = None
    experimental_distribute: None = None
    device_fn: Any = None
    protocol: Any = None
    session_creation_timeout_secs: float = 7200

    master = ""
    evaluation_master = ""
    is_chief = True
    num_ps_replicas = 0
    num_worker_replicas = 1
    task_id = 0
    task_type = "worker"
    cluster_spec = None

    def __attrs_post_init__(self) -> None:
        """Refuse what mox does otherwise, and two rules for saving."""
        for name, instead in _NOT_TAKEN.items():
            if getattr(self, name) is not None:
                raise UsageError(f"RunConfig has {name}: {instead}. Leave it out.")
        if self.save_checkpoints_steps is not None and self.save_checkpoints_secs is not None:
            raise UsageError("RunConfig has save_checkpoints_steps and save_checkpoints_secs: give one of them.")
        for name in ("device_fn", "session_config"):
            if getattr(self, name) is not None:
                say("%s of RunConfig has no effect: mox places operations by itself.", name)

    def replace(self, **changes: Any) -> RunConfig:
        """Return a copy with other values; one rule for saving takes the place of the other."""
        rules = ("save_checkpoints_steps", "save_checkpoints_secs")
        if any(rule in changes for rule in rules):
            changes = {**dict.fromkeys(rules), **changes}
        return attrs.evolve(self, **changes)


def params_of(params: Any) -> Any:
    """Return a copy of the `params` of an estimator: what a script changes afterwards does not change the model."""
    return copy.deepcopy(params) if params is not None else {}


class _Output(abc.ABC):
    """What a signature of an exported model gives."""

    @abc.abstractmethod
    def outputs_dict(self) -> dict[str, Any]:
        """Return the tensors by the names of the signature."""


@frozen(eq=False)
class PredictOutput(_Output):
    """Any tensors: a dict from names to them, or one, which is called 'output'."""

    outputs: Any

    def outputs_dict(self) -> dict[str, Any]:
        """Return the tensors by the names of the signature."""
        return dict(self.outputs) if isinstance(self.outputs, dict) else {"output": self.outputs}


@frozen(eq=False)
class ClassificationOutput(_Output):
    """Scores, classes (strings), or both."""

    scores: Any = None
    classes: Any = None

    def __attrs_post_init__(self) -> None:
        """Refuse an output of nothing."""
        if self.scores is None and self.classes is None:
            raise UsageError("ClassificationOutput has neither scores nor classes: give one of them.")

    def outputs_dict(self) -> dict[str, Any]:
        """Return the tensors by the names of the signature."""
        both = {"classes": self.classes, "scores": self.scores}
        return {name: tensor for name, tensor in both.items() if tensor is not None}


@frozen(eq=False)
class RegressionOutput(_Output):
    """One number for each sample, which is called 'outputs'."""

    value: Any

    def outputs_dict(self) -> dict[str, Any]:
        """Return the tensor by the name of the signature."""
        return {"outputs": self.value}
