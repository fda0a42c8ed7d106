"""Variables in which hooks keep their state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.engine.optimizer.wrappers import state_variable
from mox_core.engine.variables.names import HOOKS
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from mox_core.session_hooks import AggregativeSessionRunHook


def hook_variable(hook: AggregativeSessionRunHook, name: str, initial_value: Any) -> tf.Variable:
    """Return a variable for the state of a hook, which a resumed run restores.

    It is called `hooks/<class>/<name>`, `hooks/<class>/<name>_1` for a second hook of the class, and saved with the
    model. A run that starts from checkpoint_path begins with the initial value. Call this in the hook's `__init__`;
    read the value by `variable.numpy()` from `after_create_session` on, and change it by `variable.assign(value)` in
    `after_run`: a checkpoint of that step holds it.

    Args:
        hook: the hook whose variable it is.
        name: name of the variable.
        initial_value: a number or an array; its dtype is the variable's.

    Raises:
        UsageError: outside `model_fn`.
    """
    if tf.executing_eagerly():
        kind = type(hook).__name__
        raise UsageError(f"{kind} was made outside of model_fn, where its state cannot be saved: make it inside.")
    return state_variable(f"{HOOKS}{type(hook).__name__}/{name}", lambda: initial_value)
