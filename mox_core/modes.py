"""The modes in which `input_fn` and `model_fn` are called."""

from __future__ import annotations

from typing import Final


class ModeKeys:
    """Names of the modes, as `mox.run` and the user's functions exchange them.

    Attributes:
        TRAIN: variables are updated; `ModelSpec.loss` is required.
        EVAL: means of `ModelSpec.log_info` over the input.
        PREDICT: `ModelSpec.output_info` goes to `output_fn`.
        EXPORT: `model_fn` is called once more after the run, to build what is exported. It cannot be given to
            `mox.run`.
    """

    TRAIN: Final = "TRAIN"
    EVAL: Final = "EVAL"
    PREDICT: Final = "PREDICT"
    EXPORT: Final = "EXPORT"


RUN_MODES: Final = (ModeKeys.TRAIN, ModeKeys.EVAL, ModeKeys.PREDICT)
"""The modes that `mox.run` takes as `run_mode`."""
