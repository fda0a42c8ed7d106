"""What of a checkpoint is restored: of other programs, of other models, and what flags choose."""

import re

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from checkpoints import BIAS, WEIGHTS, steps_in, write_v1
from mox_core.errors import CheckpointError

TRAIN, EVAL = mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL


def test_a_checkpoint_of_a_tf1_script_restores_by_name_also_from_log_dir(run_regression, variables, tmp_path):
    values = {"weights": WEIGHTS, "bias": BIAS}
    values |= {"weights/Momentum": np.zeros(3, np.float32), "bias/Momentum": np.float32(0)}
    write_v1(tmp_path / "foreign.ckpt", values)
    assert run_regression(EVAL, log_dir=tmp_path).checkpoint == str(tmp_path / "foreign.ckpt")
    result = run_regression(TRAIN, log_dir=tmp_path, max_number_of_steps=2)
    assert steps_in(tmp_path) == [0, 2], "it has no global step"
    np.testing.assert_array_equal(variables(tmp_path / "model.ckpt-0")["weights"], WEIGHTS)
    assert result.checkpoint == tf.train.latest_checkpoint(str(tmp_path))
    assert (tmp_path / "foreign.ckpt.index").exists(), "it is not ours to remove"


def _wider(regression):
    """The model with a variable more, and `bias` of another shape."""

    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        more = tf.compat.v1.get_variable("more/logits", [2], initializer=tf.compat.v1.ones_initializer())
        return mox.ModelSpec(loss=spec.loss + tf.reduce_sum(more**2), log_info=spec.log_info)

    return model_fn


def test_fine_tuning_names_what_is_missing_and_what_is_not_used(run_regression, regression, said, variables, tmp_path):
    prefix = write_v1(tmp_path / "net.ckpt", {"weights": WEIGHTS, "bias": BIAS, "old/logits": BIAS})
    options = {"model_fn": _wider(regression), "optimizer_fn": regression.sgd, "max_number_of_steps": 1}
    run_regression(TRAIN, checkpoint_path=prefix, log_dir=tmp_path / "log", **options)
    assert "WARNING:tensorflow:1 variable is not in the checkpoint and keeps its initial value: more/logits" in (
        said.lines
    )
    assert "INFO:tensorflow:1 values of the checkpoint are not used: old/logits" in said.lines
    first = variables(tmp_path / "log" / "model.ckpt-0")
    np.testing.assert_array_equal(first["weights"], WEIGHTS)
    np.testing.assert_array_equal(first["more/logits"], [1, 1])


def test_a_run_of_another_model_does_not_go_on_and_names_what_is_missing(run_regression, regression, tmp_path):
    prefix = run_regression(TRAIN, log_dir=tmp_path, max_number_of_steps=1, optimizer_fn=regression.sgd).checkpoint
    words = f"1 variables of the model are not in checkpoint '{prefix}': more/logits. To train on from its values with"
    options = {"model_fn": _wider(regression), "optimizer_fn": regression.sgd, "max_number_of_steps": 2}
    with pytest.raises(CheckpointError, match=f"^{re.escape(words)} a changed model, use a new log_dir"):
        run_regression(TRAIN, log_dir=tmp_path, **options)
    with pytest.raises(CheckpointError, match=f"^{re.escape(words)}"):
        run_regression(EVAL, log_dir=tmp_path, model_fn=_wider(regression))


def test_variables_of_another_shape_are_named_with_both_shapes(run_regression, tmp_path):
    prefix = write_v1(tmp_path / "net.ckpt", {"weights": np.zeros([5], np.float32), "bias": BIAS})
    with pytest.raises(CheckpointError) as caught:
        run_regression(TRAIN, checkpoint_path=prefix, max_number_of_steps=1)
    assert str(caught.value) == (
        f"1 variables have another shape in checkpoint '{prefix}': weights (model (3,), checkpoint (5,)). "
        "Leave them out with --checkpoint_exclude_patterns=<name>,... , or build the model that wrote it."
    )
    mox.set_flag("checkpoint_exclude_patterns", "^weights$")
    run_regression(TRAIN, checkpoint_path=prefix, max_number_of_steps=1)


def test_a_checkpoint_of_which_nothing_fits_is_refused(run_regression, tmp_path):
    prefix = write_v1(tmp_path / "net.ckpt", {"other": BIAS, "global_step": np.int64(3)})
    with pytest.raises(CheckpointError, match=r"has none of the model's variables\. It has: (other|global_step), "):
        run_regression(TRAIN, checkpoint_path=prefix, max_number_of_steps=9)


@pytest.mark.parametrize(
    ("flags", "restored"),
    [
        ({"checkpoint_exclude_patterns": "global_step,bias"}, {"weights"}),
        ({"checkpoint_include_patterns": "weights"}, {"weights"}),
        ({"checkpoint_include_patterns": "w, bias", "checkpoint_exclude_patterns": "we.*s"}, {"bias"}),
        ({}, {"weights", "bias", "global_step"}),
    ],
    ids=["exclude", "include", "both", "neither"],
)
def test_patterns_choose_what_checkpoint_path_restores(
    flags, restored, run_regression, regression, said, variables, tmp_path
):
    values = {"weights": WEIGHTS, "bias": BIAS, "global_step": np.int64(7)}
    prefix = write_v1(tmp_path / "net.ckpt", values)
    for name, value in flags.items():
        mox.set_flag(name, value)
    log_dir = tmp_path / "log"
    run_regression(TRAIN, checkpoint_path=prefix, log_dir=log_dir, max_number_of_steps=8, optimizer_fn=regression.sgd)
    first = variables(log_dir / f"model.ckpt-{7 if 'global_step' in restored else 0}")
    assert {name for name, value in values.items() if np.array_equal(first[name], value)} == restored
    left_out = [name for name in ("weights", "bias", "global_step") if name not in restored]
    said_so = [line for line in said.lines if "left out by the flags" in line]
    if left_out:
        assert said_so == [
            f"INFO:tensorflow:{len(left_out)} variables are left out by the flags and keep their initial values: "
            + ", ".join(left_out)
        ]
    else:
        assert said_so == []

    # They are about checkpoint_path: from its own log_dir a run restores everything.
    result = run_regression(TRAIN, log_dir=log_dir, max_number_of_steps=9, optimizer_fn=regression.sgd)
    assert result.steps == 1


def test_an_evaluation_warns_of_variables_that_flags_leave_out(run_regression, said, tmp_path):
    prefix = write_v1(tmp_path / "net.ckpt", {"weights": WEIGHTS, "bias": BIAS})
    mox.set_flag("checkpoint_exclude_patterns", "bias")
    run_regression(EVAL, checkpoint_path=prefix)
    assert "WARNING:tensorflow:1 variable is left out by the flags and keeps its initial value: bias" in said.lines


@pytest.mark.parametrize("flag", ["checkpoint_exclude_patterns", "checkpoint_include_patterns"])
def test_a_pattern_that_matches_neither_model_nor_checkpoint_is_refused(flag, run_regression, said, tmp_path):
    prefix = write_v1(tmp_path / "net.ckpt", {"weights": WEIGHTS, "bias": BIAS, "old/logits": BIAS})
    for mode in (TRAIN, EVAL):
        mox.set_flag(flag, "bias,wieghts")
        with pytest.raises(mox.UsageError) as raised:
            run_regression(mode, checkpoint_path=prefix, max_number_of_steps=1, log_dir=tmp_path / "log")
        assert str(raised.value) == (f"--{flag} holds 'wieghts', which matches no variable. Did you mean 'weights'?")
    mox.set_flag(flag, "bias,^old/,global_step")  # what the checkpoint alone has, and what no other program writes
    run_regression(TRAIN, checkpoint_path=prefix, max_number_of_steps=1, log_dir=tmp_path / "log")
    assert not [line for line in said.lines if "are not used: " in line and "bias" in line]
    mox.set_flag(flag, "no_such")  # which says nothing of a log_dir's own checkpoint
    run_regression(TRAIN, checkpoint_path=prefix, max_number_of_steps=2, log_dir=tmp_path / "log")


def test_patterns_that_leave_nothing_to_restore_are_refused(run_regression, said, tmp_path):
    prefix = write_v1(tmp_path / "net.ckpt", {"weights": WEIGHTS, "bias": BIAS})
    mox.set_flag("checkpoint_exclude_patterns", "weights,bias")
    with pytest.raises(mox.UsageError) as raised:
        run_regression(TRAIN, checkpoint_path=prefix, max_number_of_steps=1)
    assert str(raised.value) == (
        "--checkpoint_include_patterns= and --checkpoint_exclude_patterns=weights,bias leave nothing of "
        f"'{prefix}' to restore, which has weights, bias. To begin with none of its values, leave checkpoint_path out."
    )
    assert said.starting("Restoring") == []


def test_a_pattern_that_is_no_regular_expression_is_refused(run_regression, tmp_path):
    mox.set_flag("checkpoint_exclude_patterns", "logits,(")
    with pytest.raises(mox.UsageError, match=r"^flag 'checkpoint_exclude_patterns' holds '\(', which is no regular"):
        run_regression(TRAIN, checkpoint_path=tmp_path, max_number_of_steps=1)


def test_a_run_with_other_sources_goes_on_with_their_beginning_and_says_so(run_regression, regression, said, tmp_path):
    from mox_core.sdk import SampleSource

    run_regression(TRAIN, log_dir=tmp_path, max_number_of_steps=1)

    def input_fn(mode):  # noqa: ARG001
        features, targets = (
            SampleSource(num_samples=40, fetch=lambda i, a=array: {"it": tf.gather(a, i)}, describe=str).read()["it"]
            for array in (regression.features, regression.targets)
        )
        return features, targets

    result = run_regression(TRAIN, log_dir=tmp_path, max_number_of_steps=2, input_fn=input_fn)
    assert (
        f"WARNING:tensorflow:the input of this run has other sources than that of {tmp_path}/model.ckpt-1: it starts "
        "from its beginning."
    ) in said.lines
    assert result.metrics["highest"] == pytest.approx(regression.targets[:4].max())
