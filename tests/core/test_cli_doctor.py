import os
import re
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from mox_core.commands.findings import problems, settings
from mox_core.commands.machine import Machine, TensorFlow, ask_tensorflow
from mox_core.plugins import OptimizerOffer
from mox_core.plugins.registry import Plugin, PluginSet

SGD = OptimizerOffer("sgd", "a:b", summary="plain descent")
GPU = {"type": "GPU", "device_name": "a GPU"}
CUDA = TensorFlow(version="2.21.0", cuda="12.5", devices=[{"type": "CPU"}])


def machine(*plugins, tensorflow=CUDA, **facts):
    return Machine(plugins=PluginSet(plugins), tensorflow=tensorflow, **facts)


def test_a_machine_without_a_known_problem_has_none():
    assert problems(machine(Plugin("good", "good", "1.0", offers=(SGD,), seconds=0.1))) == []
    assert settings(machine(environ={"PATH": "/bin", "TF_CLI_CONFIG_FILE": "of another program"})) == []


PLUGINS = {
    "broken": (
        [Plugin("bad", "bad", "1.0", state="broken", reason="ModuleNotFoundError: No module named 'not_there'")],
        (
            "Plugin bad (bad 1.0) is broken: ModuleNotFoundError: No module named 'not_there'. "
            "`mox plugins -v` prints where."
        ),
    ),
    "slow": (
        [Plugin("slow", "slow", "2.1", seconds=4.21, imports=("tensorflow", "keras", "numpy", "absl"))],
        (
            "Plugin slow (slow 2.1) takes 4.2 s to load: its entry module imports tensorflow, keras, numpy. Its author "
            "should import them in the modules that its targets name."
        ),
    ),
    "slow by itself": (
        [Plugin("slow", "slow", "2.1", seconds=0.11)],
        "Plugin slow (slow 2.1) takes 0.1 s to load.",
    ),
    "a hook that is to go": (
        [Plugin("old", "old", "1.0", warnings=("mox_x goes with mox 0.3 (/home/ada (me)/plugin.py, line 4)",))],
        "Plugin old (old 1.0), for its author: mox_x goes with mox 0.3 (plugin.py, line 4)",
    ),
    "one name twice": (
        [Plugin("good", "good", "1.0", offers=(SGD,)), Plugin("other", "other", "1.0", offers=(SGD,))],
        "The optimizer 'sgd' is offered by 2 plugins: write 'good/sgd' or 'other/sgd'.",
    ),
}


@pytest.mark.parametrize(("plugins", "problem"), PLUGINS.values(), ids=PLUGINS)
def test_a_plugin_that_its_author_or_user_should_look_at_is_named(plugins, problem):
    assert problems(machine(*plugins)) == [problem]


def needs(*lines):
    return {"mox-core 0.1.0": tuple(map(Requirement, lines))}


MACHINES = {
    "no TensorFlow": (
        {"tensorflow": TensorFlow(failure="ModuleNotFoundError: No module named 'tensorflow'")},
        (
            "TensorFlow cannot be used: ModuleNotFoundError: No module named 'tensorflow'. "
            "Try `python -c 'import tensorflow, keras'`."
        ),
    ),
    "another backend": (
        {"tensorflow": TensorFlow(version="2.21.0", backend="jax")},
        (
            "Keras computes on 'jax', and mox needs 'tensorflow': set KERAS_BACKEND=tensorflow, or change it in "
            "keras.json."
        ),
    ),
    "another backend by the environment": (
        {"environ": {"KERAS_BACKEND": "torch"}},
        (
            "Keras computes on 'torch', and mox needs 'tensorflow': set KERAS_BACKEND=tensorflow, or change it in "
            "keras.json."
        ),
    ),
    "Keras 2": (
        {"environ": {"TF_USE_LEGACY_KERAS": "1"}},
        "TF_USE_LEGACY_KERAS is set: tf.keras is Keras 2 then, with which mox is not tested. Unset it.",
    ),
    "Keras out of range": (
        {"needs": needs("keras<3.16,>=3.10", "numpy>=1.26"), "versions": {"keras": "3.16.0", "numpy": "2.4.0"}},
        "keras 3.16.0 is installed, and mox-core 0.1.0 is made for <3.16,>=3.10: pip install 'keras<3.16,>=3.10'",
    ),
    "no tensorboard": (
        {"needs": needs("tensorboard>=2.19", "Absl.Py>=2"), "versions": {"absl-py": "2.1"}},
        "tensorboard is not installed, and mox-core 0.1.0 needs it: pip install 'tensorboard>=2.19'",
    ),
    "slim without its layers": (
        {"versions": {"tf-slim": "1.1.0"}},
        "tf-slim is installed and tf-keras, which its layers need, is not: pip install tf-keras",
    ),
    "a GPU that is not found": (
        {"has_nvidia_driver": True},
        (
            "There is a driver for NVIDIA's GPUs, and TensorFlow sees no GPU: probably it does not find the libraries "
            "of CUDA. pip install 'tensorflow[and-cuda]' brings them."
        ),
    ),
    "a GPU and a TensorFlow without CUDA": (
        {"has_nvidia_driver": True, "tensorflow": TensorFlow(version="2.21.0", devices=[{"type": "CPU"}])},
        (
            "There is a driver for NVIDIA's GPUs, and TensorFlow sees no GPU: probably it is built without CUDA. "
            "pip install 'tensorflow[and-cuda]' brings them."
        ),
    ),
    "a misspelt variable": (
        {"environ": {"MOX_DISABLED_PLUGINS": "a", "MOX_STRICT_PLUGINS": "1", "MOX_ZOO_FOLDER": "of a plugin"}},
        "The environment variable MOX_DISABLED_PLUGINS means nothing to mox. Did you mean 'MOX_DISABLE_PLUGINS'?",
    ),
}


@pytest.mark.parametrize(("facts", "problem"), MACHINES.values(), ids=MACHINES)
def test_a_known_problem_is_told_with_the_way_out(facts, problem):
    assert problems(machine(**facts)) == [problem]


@pytest.mark.parametrize(
    "facts",
    [
        {"has_nvidia_driver": True, "tensorflow": TensorFlow(devices=[{"type": "CPU"}, GPU])},
        {"has_nvidia_driver": True, "environ": {"CUDA_VISIBLE_DEVICES": "-1"}},
        {"has_nvidia_driver": True, "environ": {"CUDA_VISIBLE_DEVICES": ""}},
        {"environ": {"TF_USE_LEGACY_KERAS": "0"}},
        {"versions": {"tf-slim": "1.1.0", "tf-keras": "2.21.0"}},
        {"versions": {"keras": "3.15.1rc1"}, "needs": needs("keras<3.16,>=3.10")},
        {"needs": needs("mox-core>=99")},  # the plugin itself is broken then, and says so
    ],
)
def test_what_only_looks_like_a_problem_is_none(facts):
    assert problems(machine(**facts)) == []


def test_settings_are_told_without_values_that_may_be_secret():
    private = "user:word@proxy.example"
    environ = {
        "TF_CONFIG": f'{{"cluster": {{"worker": ["{private}"]}}}}',
        "HTTPS_PROXY": private,
        "no_proxy": private,
        "PYTHONPATH": private,
        "http_proxy": "",
        "MOX_DISABLE_PLUGINS": "lars",
        "CUDA_VISIBLE_DEVICES": "0,1",
        "TF_VAR_password": private,
    }
    proxied = "sends traffic through a proxy; mox reaches the hosts of its own job without it"
    hidden = "whose value is left out here,"
    flags = "the flags --worker_hosts and --ps_hosts go before it"
    assert settings(machine(environ=environ)) == [
        "`MOX_DISABLE_PLUGINS=lars` leaves plugins out",
        "`CUDA_VISIBLE_DEVICES=0,1` chooses the GPUs that TensorFlow sees",
        f"`TF_CONFIG`, {hidden} makes this process one of a cluster; {flags}",
        f"`PYTHONPATH`, {hidden} adds folders to look for packages in",
        f"`HTTPS_PROXY`, {hidden} {proxied}",
        f"`no_proxy`, {hidden} names hosts that are reached without a proxy",
    ]


ENDS = {
    "it cannot be imported": ("import not_there", "ModuleNotFoundError: No module named 'not_there'"),
    "it crashes": ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "its process is ended by SIGILL"),
    "it exits": ("raise SystemExit(3)", "its process fails"),
    "it hangs": ("import threading; threading.Event().wait()", "it says nothing for 0.5 seconds"),
}


@pytest.mark.parametrize(("question", "failure"), ENDS.values(), ids=ENDS)
def test_however_tensorflow_fails_the_report_says_it(question, failure):
    assert ask_tensorflow(question, patience=0.5 if "wait" in question else 60) == TensorFlow(failure=failure)


def test_what_tensorflow_prints_besides_does_not_matter():
    question = """print('hello'); print('{"version": "2.21.0", "devices": [{"type": "CPU"}], "cuda": ""}')"""
    assert ask_tensorflow(question) == TensorFlow(version="2.21.0", devices=({"type": "CPU"},))


@pytest.mark.parametrize("path", ["", ":", "."])
def test_nothing_in_the_present_folder_is_run(tmp_path, monkeypatch, path):
    for name in ("tensorflow", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", path)
    found = ask_tensorflow(
        "import json, importlib.util; print(json.dumps({'version': importlib.util.find_spec('tensorflow').origin}))"
    )
    assert not found.failure
    assert "site-packages" in found.version


SLOW = """
import time
import big
from mox_core.plugins import OptimizerOffer, hookimpl

end = time.perf_counter() + 0.2
while time.perf_counter() < end:
    pass

@hookimpl
def mox_optimizers():
    yield OptimizerOffer("slowly", "slow.plugin:make", summary="a slow one")
"""


def test_a_real_machine_is_reported_as_markdown_and_problems_are_the_exit_status(install_fake):
    folder = install_fake("slow", "slow", SLOW)
    (folder / "big.py").touch()
    run = subprocess.run(
        [sys.executable, "-m", "mox_core.cli", "doctor"],
        env={**os.environ, "PYTHONPATH": str(folder), "MOX_STRICT_PLUGINS": "0", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = run.stdout.splitlines()
    assert lines[:4] == ["### mox doctor", "", "| what | version |", "| --- | --- |"]
    cells = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", run.stdout, re.MULTILINE))
    python = "{}.{}.{}".format(*sys.version_info)
    assert cells["Python"].startswith(python)
    assert cells["mox-core"] == "0.1.0"
    assert cells["tensorflow"].startswith("2.")
    assert cells["Keras computes on"] == "tensorflow"
    assert cells["CPUs"] == str(os.cpu_count())
    (row,) = [line for line in lines if line.startswith("| slow |")]
    assert re.fullmatch(r"\| slow \| slow 1\.0 \| ready \| optimizer: 1 \| \d+\.\d{3} \|", row)
    found = lines[lines.index("Problems:") + 2 : lines.index("Settings in the environment:") - 1]
    named = [line for line in found if re.match(r"- Plugin slow \(slow 1\.0\) takes \d+\.\d s to load: ", line)]
    assert len(named) == 1
    assert "its entry module imports big. Its author should import them in the modules that" in named[0]
    assert "- `PYTHONPATH`, whose value is left out here, adds folders to look for packages in" in lines
    assert str(folder) not in run.stdout
    assert run.returncode == 1, run.stderr
