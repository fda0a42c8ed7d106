"""The modes in which `input_fn` and `model_fn` are called."""

from __future__ import annotations

from typing import Final


class ModeKeys:
    """The modes in which `mox.run` calls `input_fn(mode)` and `model_fn(inputs, mode)`; each is a str.

    Attributes:
        TRAIN: update the variables; `ModelSpec.loss` is required.
        EVAL: compute the means of `ModelSpec.log_info` over the input.
        PREDICT: pass the values of `ModelSpec.output_info` to `output_fn`.
        EXPORT: build the model that is exported: `model_fn` is called once more for it. It is no `run_mode` of
            `mox.run`.
    """

    TRAIN: Final = "TRAIN"
    EVAL: Final = "EVAL"
    PREDICT: Final = "PREDICT"
    EXPORT: Final = "EXPORT"


RUN_MODES: Final = (ModeKeys.TRAIN, ModeKeys.EVAL, ModeKeys.PREDICT)
"""The values of `run_mode` in `mox.run`."""
