"""The arguments of `mox.run`: wrong ones are refused by name, before TensorFlow is imported."""

import json
import subprocess

import pytest

import mox_core as mox

MODES = "it must be one of 'TRAIN', 'EVAL', 'PREDICT'."
NEEDS_OPTIMIZER = (
    "optimizer_fn is missing; TRAIN needs it: "
    "optimizer_fn=mox.get_optimizer_fn('momentum', learning_rate=0.1, momentum=0.9)."
)


def input_fn(mode):
    raise AssertionError(f"called for {mode}, though another argument is wrong")


def model_fn(inputs, mode):
    raise AssertionError(f"called with {inputs} for {mode}, though another argument is wrong")


def _export(model, directory):
    raise AssertionError(f"called with {model} for {directory}, though another argument is wrong")


class MomentumOptimizer:
    """Stands for an optimizer: what makes one is that it applies gradients."""

    def apply_gradients(self, pairs):
        raise NotImplementedError

    def __repr__(self):
        return "<MomentumOptimizer>"


GOOD = {
    "input_fn": input_fn,
    "model_fn": model_fn,
    "optimizer_fn": MomentumOptimizer,
    "run_mode": "TRAIN",
    "batch_size": 2,
    "max_number_of_steps": 1,
}


def _not_whole(name, lowest, values=(-1, 1.0, "10", True, [3])):
    return [
        ({name: v}, f"{name} is {v!r}; it must be a whole number, {lowest} or more.") for v in (*values, lowest - 1)
    ]


WRONG = [
    ({"run_mode": "invalid"}, f"run_mode is 'invalid'; {MODES}"),
    ({"run_mode": None}, f"run_mode is None; {MODES}"),
    ({"run_mode": "train"}, f"run_mode is 'train'; {MODES} Did you mean 'TRAIN'?"),
    ({"run_mode": "EXPORT"}, f"run_mode is 'EXPORT'; {MODES} EXPORT is not run: pass export_model."),
    ({"input_fn": None}, "input_fn is missing; it must be a function: def input_fn(mode, **kwargs)."),
    ({"input_fn": [1, 2]}, "input_fn is [1, 2]; it must be a function: def input_fn(mode, **kwargs)."),
    (
        {"input_fn": lambda: 0},
        "input_fn is called as input_fn(mode), which <lambda>() does not take: too many positional arguments.",
    ),
    (
        {"input_fn": lambda mode, path: (mode, path)},
        (
            "input_fn is called as input_fn(mode), which <lambda>(mode, path) does not take: "
            "missing a required argument: 'path'."
        ),
    ),
    (
        {"input_fn": lambda *, mode: mode},
        "input_fn is called as input_fn(mode), which <lambda>(*, mode) does not take: too many positional arguments.",
    ),
    ({"model_fn": None}, "model_fn is missing; it must be a function: def model_fn(inputs, mode, **kwargs)."),
    ({"model_fn": "resnet"}, "model_fn is 'resnet'; it must be a function: def model_fn(inputs, mode, **kwargs)."),
    (
        {"model_fn": lambda inputs: inputs},
        (
            "model_fn is called as model_fn(inputs, mode), which <lambda>(inputs) does not take: "
            "too many positional arguments."
        ),
    ),
    ({"optimizer_fn": None}, NEEDS_OPTIMIZER),
    (
        {"optimizer_fn": MomentumOptimizer()},
        (
            "optimizer_fn is <MomentumOptimizer>; it must be a function that returns an optimizer, not the optimizer: "
            "optimizer_fn=lambda: MomentumOptimizer(...)."
        ),
    ),
    (
        {"optimizer_fn": [MomentumOptimizer, MomentumOptimizer()]},
        (
            "optimizer_fn is <MomentumOptimizer>; it must be a function that returns an optimizer, not the optimizer: "
            "optimizer_fn=lambda: MomentumOptimizer(...)."
        ),
    ),
    (
        {"optimizer_fn": "momentum"},
        (
            "optimizer_fn is 'momentum'; it must be a function that returns an optimizer: "
            "optimizer_fn=mox.get_optimizer_fn('momentum', learning_rate=0.1, momentum=0.9)."
        ),
    ),
    (
        {"optimizer_fn": 0.1},
        (
            "optimizer_fn is 0.1; it must be a function that returns an optimizer: "
            "optimizer_fn=mox.get_optimizer_fn('momentum', learning_rate=0.1, momentum=0.9)."
        ),
    ),
    (
        {"optimizer_fn": []},
        "optimizer_fn is an empty list; it must be a function that returns an optimizer, or one for each loss.",
    ),
    (
        {"optimizer_fn": lambda learning_rate: learning_rate},
        (
            "optimizer_fn is called as optimizer_fn(), which <lambda>(learning_rate) does not take: "
            "missing a required argument: 'learning_rate'."
        ),
    ),
    ({"inter_mode": "TRAIN"}, "inter_mode is 'TRAIN'; it must be mox.ModeKeys.EVAL, or None."),
    ({"inter_mode": True}, "inter_mode is True; it must be mox.ModeKeys.EVAL, or None."),
    (
        {"inter_mode": "EVAL", "run_mode": "EVAL"},
        "inter_mode goes with run_mode TRAIN, and run_mode is 'EVAL': leave inter_mode out.",
    ),
    (
        {"inter_mode": "EVAL", "run_mode": "PREDICT", "output_fn": print, "output_every_n_steps": 1},
        "inter_mode goes with run_mode TRAIN, and run_mode is 'PREDICT': leave inter_mode out.",
    ),
    (
        {"run_mode": "PREDICT"},
        "output_fn is missing; PREDICT gives its results to it: def output_fn(outputs, **kwargs).",
    ),
    (
        {"output_fn": lambda: 0, "output_every_n_steps": 1},
        "output_fn is called as output_fn(outputs), which <lambda>() does not take: too many positional arguments.",
    ),
    (
        {"output_fn": 3, "output_every_n_steps": 1},
        "output_fn is 3; it must be a function: def output_fn(outputs, **kwargs).",
    ),
    *(
        (
            {"output_fn": print, "output_every_n_steps": every},
            (
                f"output_every_n_steps is {every!r}; with output_fn it must be 1 or more: how many steps are handed "
                "over at a time. output_every_n_steps=1 hands over each step by itself."
            ),
        )
        for every in (0, -1, 1.0, "5", None)
    ),
    *_not_whole("output_every_n_steps", 0),
    *_not_whole("batch_size", 1),
    *_not_whole("max_number_of_steps", 0),
    *_not_whole("log_every_n_steps", 1),
    *_not_whole("save_summary_steps", 1),
    *_not_whole("save_model_steps", 1),
    *(({"auto_batch": v}, f"auto_batch is {v!r}; it must be True or False.") for v in (1, None, "False")),
    *(
        ({"save_model_secs": v}, f"save_model_secs is {v!r}; it must be a number of seconds above 0.")
        for v in (0, -1.5, "600", True, float("nan"))
    ),
    (
        {"save_model_secs": 60, "save_model_steps": 0},
        "save_model_steps is 0; it must be a whole number, 1 or more.",
    ),
    *(
        ({name: v}, f"{name} is {v!r}; it must be a path, or None.")
        for name in ("log_dir", "checkpoint_path")
        for v in (3, b"log", ["log"], False)
    ),
    *(
        (
            {name: "s3:/bucket/log"},
            (
                f"{name} is 's3:/bucket/log', with one slash behind 's3:': pathlib and os.path.normpath take the other "
                "one away. Give the URL as a string, and join it by '/'."
            ),
        )
        for name in ("log_dir", "checkpoint_path")
    ),
    *(
        (
            {name: path},
            (
                f"{name} is {path!r}, and TensorFlow reads {found} in a path as part of a pattern: it finds neither "
                "checkpoints nor exported models there. Use a name without."
            ),
        )
        for name in ("log_dir", "checkpoint_path")
        for path, found in (("runs/lr=[0.1]", "["), ("a\\b", "\\"), ("[\\]", "[ and \\"))
    ),
    (
        {"export_model": "TF_SERVING"},
        "export_model needs log_dir: the exported model is written into a version folder there.",
    ),
    (
        {"export_model": True, "log_dir": "log"},
        (
            "export_model is True; it must be a name of mox.ExportKeys, such as mox.ExportKeys.TF_SERVING, "
            "or a function (model, directory). export_model may be a list of them."
        ),
    ),
    (
        {"export_model": ["TF_SERVING", 3], "log_dir": "log"},
        (
            "export_model[1] is 3; it must be a name of mox.ExportKeys, such as mox.ExportKeys.TF_SERVING, "
            "or a function (model, directory). export_model may be a list of them."
        ),
    ),
    (
        {"export_model": [], "log_dir": "log"},
        "export_model is an empty list; leave it out to export nothing.",
    ),
    (
        {"export_model": ("TFLITE", "export/TFLITE"), "log_dir": "log"},
        "export_model has TFLITE twice: leave one of them out.",
    ),
    (
        {"export_model": ["TF_SERVING", "TFLITE", _export], "log_dir": "log"},
        (
            "export_model has TF_SERVING and _export, whose versions would be numbered in the same folder, log_dir "
            "itself. A function goes there as TF_SERVING does, as it has no name: let a plugin offer it, which gives "
            "it one, or export it in a run with another log_dir."
        ),
    ),
    (
        {"export_model": lambda model: model, "log_dir": "log"},
        (
            "export_model is called as export_model(model, directory), which <lambda>(model) does not take: "
            "too many positional arguments."
        ),
    ),
    (
        {"fetch_strategy_fn": print},
        "fetch_strategy_fn is not supported, nothing is known of its meaning: leave it out.",
    ),
]


def _refusal(changed):
    with pytest.raises(mox.UsageError) as refused:
        mox.run(**GOOD | changed)
    return str(refused.value)


@pytest.mark.parametrize(("changed", "text"), WRONG, ids=[" ".join(changed) for changed, _ in WRONG])
def test_a_wrong_argument_is_refused_by_name(changed, text):
    assert _refusal(changed) == text


def test_the_first_thing_that_is_missing_is_named_where_nothing_is_given():
    with pytest.raises(mox.UsageError, match=r"^run_mode is 'invalid'; it must be one of"):
        mox.run()
    with pytest.raises(mox.UsageError, match=r"^input_fn is missing; it must be a function"):
        mox.run(run_mode="TRAIN")


def test_an_exporter_that_nobody_offers_is_refused_with_the_nearest_name():
    with pytest.raises(mox.UnknownNameError) as refused:
        mox.run(**GOOD, log_dir="log", export_model="TF_SERVNG")
    assert str(refused.value).splitlines()[:2] == ["unknown exporter 'TF_SERVNG'.", "Did you mean 'TF_SERVING'?"]


@pytest.mark.parametrize(
    ("flag", "value", "text"),
    [
        (
            "worker_hosts",
            "a:1,b:1",
            (
                "--job_name is missing, and the flags name 2 worker_hosts and 0 ps_hosts: start a process for each of "
                "them, with --job_name=worker or --job_name=ps and its --task_index."
            ),
        ),
        (
            "checkpoint_exclude_patterns",
            "global_step, logits(",
            (
                "flag 'checkpoint_exclude_patterns' holds 'logits(', which is no regular expression: "
                "missing ), unterminated subpattern at position 6."
            ),
        ),
    ],
)
def test_a_flag_that_asks_for_what_is_not_there_is_refused(flag, value, text):
    mox.set_flag(flag, value)
    assert _refusal({}) == text


def test_all_that_is_refused_before_tensorflow_is_imported(run_python):
    program = """
import json, runpy, sys
import mox_core as mox

tests = runpy.run_path(sys.argv[1])
texts = []
for changed, _ in tests["WRONG"]:
    try:
        mox.run(**tests["GOOD"] | changed)
    except mox.UsageError as error:
        texts.append(str(error))
for log_dir in (None, "not there"):
    try:
        mox.run(**tests["GOOD"] | {"run_mode": "EVAL"}, log_dir=log_dir)
    except mox.CheckpointError as error:
        texts.append(str(error))
mox.set_flag("checkpoint_include_patterns", "(")
try:
    mox.run(**tests["GOOD"], log_dir="log", export_model="TF_SERVING")
except mox.UsageError as error:
    texts.append(str(error))
print(json.dumps([texts, sorted({"tensorflow", "keras", "numpy"} & set(sys.modules))]))
"""
    texts, imported = json.loads(run_python(program, __file__, start=subprocess.run).stdout)
    assert texts[:-3] == [text for _, text in WRONG]
    assert [text[:30] for text in texts[-3:-1]] == ["EVAL needs a checkpoint, and l", "EVAL needs a checkpoint and fo"]
    assert texts[-1].startswith("flag 'checkpoint_include_patterns' holds '('")
    assert imported == []


def test_arrays_and_numpy_fractions_are_no_whole_numbers():
    import numpy as np

    for value in (np.float64(3), np.array([3, 4]), np.bool_(True)):
        assert _refusal({"batch_size": value}) == f"batch_size is {value!r}; it must be a whole number, 1 or more."
