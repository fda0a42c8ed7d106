"""What `model_fn` returns in each mode, and what mox says when it returns something else.

    python examples/model_spec.py [folder]

Fits a line through noisy points: TRAIN needs a loss, EVAL log_info, PREDICT output_info, and the exported model an
export_spec. After that, `model_fn`s that are wrong in one thing each show how mox refuses them: before any step is run,
and with the way out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

import mox_core as mox

X = np.linspace(-1, 1, 64, dtype=np.float32)
Y = 2 * X + 0.5 + 0.1 * np.random.default_rng(1).normal(size=64).astype(np.float32)


def input_fn(mode):
    """One point: a pair of numbers."""
    points = tf.data.Dataset.from_tensor_slices((X, Y))
    return points.repeat() if mode == mox.ModeKeys.TRAIN else points


def line(inputs):
    """The line's value at x, and its mean squared error."""
    x, y = inputs  # a list, with one input too: then write `x = inputs[0]`, or `[x] = inputs`
    slope = tf.compat.v1.get_variable("slope", [], initializer=tf.compat.v1.zeros_initializer())
    height = tf.compat.v1.get_variable("height", [], initializer=tf.compat.v1.zeros_initializer())
    predicted = slope * x + height
    return x, predicted, tf.reduce_mean((predicted - y) ** 2)


def model_fn(inputs, mode):
    """Return for each mode what it needs; all fields in all modes would do as well."""
    x, predicted, error = line(inputs)
    if mode == mox.ModeKeys.TRAIN:
        return mox.ModelSpec(loss=error, log_info={"error": error})
    if mode == mox.ModeKeys.EVAL:
        return mox.ModelSpec(log_info={"error": error})
    if mode == mox.ModeKeys.PREDICT:
        return mox.ModelSpec(output_info={"x": x, "y": predicted})
    return mox.ModelSpec(export_spec=mox.ExportSpec(inputs_dict={"x": x}, outputs_dict={"y": predicted}))


WRONG = {
    "no loss in TRAIN": lambda _x, _y, error: {"log_info": {"error": error}},
    "a loss for each sample": lambda _x, y, _error: {"loss": y**2},
    "a name instead of a tensor": lambda _x, _y, error: {"loss": error, "log_info": "error"},
    "a vector in log_info": lambda _x, y, error: {"loss": error, "log_info": {"y": y}},
    "no ExportSpec": lambda x, y, error: {"loss": error, "export_spec": {"x": x, "y": y}},
    "a hook's class": lambda _x, _y, error: {"loss": error, "hooks": [mox.AggregativeSessionRunHook]},
    "a scope without variables": lambda _x, _y, error: {"loss": error, "var_scopes": ["generator"]},
}


def refused(fields) -> str:
    """Return what mox says to a model_fn that returns such fields in TRAIN."""
    try:
        mox.run(
            input_fn=input_fn,
            model_fn=lambda inputs, mode: mox.ModelSpec(**fields(*line(inputs))),  # noqa: ARG005
            optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.1),
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=16,
            max_number_of_steps=1,
        )
    except mox.UsageError as error:
        return str(error)
    return "nothing"


def main(folder: Path):
    """Run all modes; return the result of TRAIN and of EVAL, the predictions, and what was said to wrong fields."""
    common = {"input_fn": input_fn, "model_fn": model_fn, "batch_size": 16}
    trained = mox.run(
        **common,
        optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.3),
        run_mode=mox.ModeKeys.TRAIN,
        max_number_of_steps=100,
        log_every_n_steps=50,
        log_dir=folder,
        export_model=mox.ExportKeys.TF_SERVING,
    )
    evaluated = mox.run(**common, run_mode=mox.ModeKeys.EVAL, checkpoint_path=folder)
    batches = []
    mox.run(
        **common,
        run_mode=mox.ModeKeys.PREDICT,
        checkpoint_path=folder,
        output_fn=batches.extend,
        output_every_n_steps=1,
    )
    predicted = np.concatenate([batch["y"] for batch in batches])
    print(f"the line goes from {predicted[0]:.2f} at x=-1 to {predicted[-1]:.2f} at x=1\n")
    said = {what: refused(fields) for what, fields in WRONG.items()}
    for what, text in said.items():
        print(f"{what}:\n    {text}")
    return trained, evaluated, predicted, said


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/model_spec"))
