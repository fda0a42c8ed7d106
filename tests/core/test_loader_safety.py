"""What a plugin cannot do: run unasked, change runs that do not name it, hide what another offers, be slow unnamed."""

import os
import subprocess
import sys

import pytest

from mox_core.errors import UnknownNameError
from mox_core.plugins import OptimizerOffer

GOOD = """
from mox_core.plugins import OptimizerOffer, hookimpl

@hookimpl
def mox_optimizers():
    yield OptimizerOffer("sgd", "good.plugin:make", summary="a good one")
"""

EAGER = "import os, pathlib\npathlib.Path(os.environ['MARK']).touch()\n" + GOOD

HARMLESS = {
    "importing mox": "import mox_core",
    "using what the core has": "import mox_core as mox; mox.run, mox.ModelSpec, mox.ModeKeys.TRAIN, mox.get_model_fn",
    "setting flags": "import mox_core as mox; mox.set_flag('num_gpus', 2); mox.get_flag('num_gpus')",
    "importing the command": "import mox_core.cli, mox_core.commands.plugins, mox_core.commands.show",
    "asking for the version": "import sys, mox_core.cli; sys.exit(mox_core.cli.main(['--version']))",
    "launching": "import sys, mox_core.cli; sys.exit(mox_core.cli.main(['launch', '--help']))",
    "the fixtures that pytest loads": "import mox_core.testing.fixtures",
}


def run_beside(folder, mark, program):
    environ = {**os.environ, "PYTHONPATH": str(folder), "MARK": str(mark), "MOX_STRICT_PLUGINS": "0"}
    subprocess.run([sys.executable, "-c", program], env=environ, check=True, capture_output=True, text=True)
    return mark.exists()


@pytest.mark.parametrize("program", HARMLESS.values(), ids=HARMLESS)
def test_no_plugin_runs_while_nobody_asks_for_one(install_fake, tmp_path, program):
    assert not run_beside(install_fake("eager", "eager", EAGER), tmp_path / "ran", program)


def test_a_plugin_runs_when_somebody_asks_what_is_installed(install_fake, tmp_path):
    program = "import mox_core as mox; list(mox.NetworkKeys)"
    assert run_beside(install_fake("eager", "eager", EAGER), tmp_path / "ran", program)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("os.environ['TF_USE_LEGACY_KERAS'] = '1'", "'TF_USE_LEGACY_KERAS'"),
        ("os.environ.update(KERAS_BACKEND='jax', XLA_FLAGS='--x')", "'KERAS_BACKEND' and 'XLA_FLAGS'"),
        ("os.environ['CUDA_VISIBLE_DEVICES'] = '-1'", "'CUDA_VISIBLE_DEVICES'"),
        ("os.environ.pop('TF_CONFIG')", "'TF_CONFIG'"),
        ("os.environ['MOX_DISABLE_PLUGINS'] = 'sgd'", "'MOX_DISABLE_PLUGINS'"),
    ],
)
@pytest.mark.parametrize("where", ["as it is imported", "in its hook"])
def test_a_plugin_that_sets_what_all_runs_read_is_set_aside_and_that_taken_back(
    fresh_plugins, install_fake, monkeypatch, line, names, where
):
    monkeypatch.setenv("TF_CONFIG", "{}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    before = dict(os.environ)
    source = GOOD + f"    import os; {line}\n" if where == "in its hook" else f"import os\n{line}\n{GOOD}"
    install_fake("bad", "bad", source)
    install_fake("good", "good", GOOD)
    bad, good = fresh_plugins().plugins
    assert (bad.state, good.state, dict(os.environ)) == ("broken", "ready", before)
    assert bad.reason == (
        f"its entry module changes the environment variable {names}, and with it runs that name nothing of it; "
        "an entry module may hold names only"
    )


def test_what_a_plugin_that_breaks_has_set_is_taken_back_too(fresh_plugins, install_fake):
    install_fake("bad", "bad", "import os\nos.environ['TF_USE_LEGACY_KERAS'] = '1'\nimport not_there")
    (bad,) = fresh_plugins().plugins
    assert bad.reason == "ModuleNotFoundError: No module named 'not_there'"
    assert "TF_USE_LEGACY_KERAS" not in os.environ


def test_a_plugin_may_set_variables_that_no_run_reads(fresh_plugins, install_fake):
    install_fake("good", "good", "import os\nos.environ['MYNET_CACHE'] = 'here'\n" + GOOD)
    assert [plugin.state for plugin in fresh_plugins().plugins] == ["ready"]
    assert os.environ.pop("MYNET_CACHE") == "here"


@pytest.mark.parametrize("option", ["tryfirst=True", "trylast=True"])
def test_a_plugin_that_wants_to_be_first_does_not_hide_what_another_offers(fresh_plugins, install_fake, option):
    install_fake("good", "good", GOOD)
    install_fake("greedy", "greedy", GOOD.replace("@hookimpl", f"@hookimpl({option})"))
    with pytest.raises(UnknownNameError, match="Say which one: 'good/sgd' or 'greedy/sgd'"):
        fresh_plugins().find(OptimizerOffer, "sgd")
    assert fresh_plugins().find(OptimizerOffer, "good/sgd").target == "good.plugin:make"


def test_a_plugin_that_takes_the_name_of_another_does_not_hide_what_that_offers(fresh_plugins, install_fake):
    more = '    yield OptimizerOffer("more", "a_rival.plugin:more", summary="another one")\n'
    install_fake("good", "descent", GOOD)
    install_fake("a-rival", "descent", GOOD.replace("good.plugin", "a_rival.plugin") + more, version="2.0")
    plugins = fresh_plugins()
    assert [str(plugin) for plugin in plugins.plugins] == ["descent (a-rival 2.0)", "descent (good 1.0)"]
    for asked in ("sgd", "descent/sgd"):
        with pytest.raises(UnknownNameError) as caught:
            plugins.find(OptimizerOffer, asked)
        assert str(caught.value) == (
            f"optimizer {asked!r} is offered by 2 plugins: descent (a-rival 2.0) and descent (good 1.0).\n"
            "Say which one: 'a-rival/sgd' or 'good/sgd'."
        )
    assert plugins.find(OptimizerOffer, "a-rival/sgd").target == "a_rival.plugin:make"
    assert plugins.find(OptimizerOffer, "descent/more").target == "a_rival.plugin:more"


def test_a_plugin_named_like_its_distribution_is_found_by_that_name_beside_a_rival(fresh_plugins, install_fake):
    install_fake("good", "good", GOOD)
    install_fake("a-rival", "good", GOOD.replace("good.plugin", "a_rival.plugin"))
    assert fresh_plugins().find(OptimizerOffer, "good/sgd").target == "good.plugin:make"
    assert fresh_plugins().find(OptimizerOffer, "a-rival/sgd").target == "a_rival.plugin:make"


@pytest.mark.parametrize("option", ["wrapper=True", "hookwrapper=True"])
def test_a_plugin_cannot_stand_around_the_hooks_of_others(fresh_plugins, install_fake, option):
    source = f"""
        from mox_core.plugins import hookimpl

        @hookimpl({option})
        def mox_optimizers():
            yield
            return []
    """
    install_fake("good", "good", GOOD)
    install_fake("greedy", "greedy", "if True:" + source)
    good, greedy = fresh_plugins().plugins
    assert (good.state, greedy.state) == ("ready", "broken")
    assert greedy.reason == "mox_optimizers yielded None; it must yield OptimizerOffer objects"
    assert fresh_plugins().names(OptimizerOffer) == ["sgd"]


def test_what_another_plugin_offers_cannot_be_changed(fresh_plugins, install_fake):
    install_fake("good", "good", GOOD)
    offer = fresh_plugins().find(OptimizerOffer, "sgd")
    with pytest.raises(AttributeError):
        offer.target = "greedy.plugin:make"


def test_what_loading_took_is_kept(fresh_plugins, install_fake):
    install_fake("heavy", "heavy", HEAVY)
    folder = install_fake("good", "good", GOOD)
    for name in ("big", "bigger"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").touch()
    for name in ("one", "two"):
        (folder / "bigger" / f"{name}.py").touch()
    good, heavy = fresh_plugins().plugins
    assert heavy.imports == ("bigger", "big")
    assert heavy.seconds > 0.05
    assert good.imports == ()
    assert heavy.state == good.state == "ready"


HEAVY = (
    """
import time
import wave  # Python's own are not told

import big
import bigger.one, bigger.two
import mox_core.strings
import heavy  # nor are mox's and those of the plugin

end = time.perf_counter() + 0.05
while time.perf_counter() < end:
    pass
"""
    + GOOD
)
