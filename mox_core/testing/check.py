"""The tests that `mox check` runs: the contracts of everything that a plugin offers, without test files.

Contracts that need code of the author, such as the files of a data set, are run as far as possible; the output lists
the rest.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest
from attrs import define, field, frozen

from mox_core import testing
from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.errors import PluginError, UnknownNameError
from mox_core.plugins import loader
from mox_core.plugins.offers import (
    ApiOffer,
    AugmentationOffer,
    DatasetOffer,
    ExporterOffer,
    NetworkOffer,
    OptimizerOffer,
    OptimizerWrapperOffer,
    TrackerOffer,
    import_target,
)
from mox_core.session_hooks import AggregativeSessionRunHook
from mox_core.terminal import printing
from mox_core.terminal.pages import Styled, line
from mox_core.testing import fixtures

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from mox_core.plugins.offers import Offer
    from mox_core.plugins.registry import Plugin

_BY_NAME: Final = {
    NetworkOffer: ("NetworkContract", "network"),
    AugmentationOffer: ("AugmentationContract", "augmentation"),
    OptimizerOffer: ("OptimizerContract", "optimizer"),
    OptimizerWrapperOffer: ("OptimizerWrapperContract", "wrapper"),
    ExporterOffer: ("ExporterContract", "exporter"),
}
"""For each kind of offer whose contract needs only a name: the contract, and the attribute for the name."""

_MODULE: Final = "from mox_core.testing import check\n\nglobals().update(check.given)\n"
_FRAMES: Final = 4
_WORDS: Final = {"passed": "holds", "failed": "FAILS", "skipped": "not run"}
_STYLES: Final = {"passed": "green", "failed": "bold red", "skipped": "yellow"}

given: dict[str, type] = {}
"""The test classes of the generated test module."""


def check(plugin_name_or_module: str) -> int:
    """Check everything that a plugin offers, and print the result of each check.

    Args:
        plugin_name_or_module: the name of its entry point, its entry module or its package: 'mox_mynet.plugin'.

    Returns:
        The exit status: 0, or 1 if a check fails.

    Raises:
        UnknownNameError: if no such plugin is installed.
        PluginError: if pytest did not run all checks.
    """
    plugin = _find(plugin_name_or_module)
    contracts, unwritten = _contracts_of(plugin)
    listener = _Listener(contracts)
    _run_tests(contracts, listener)
    printing.write(line(f"needs a test of its own: {each}") for each in unwritten)
    counts = listener.counts
    style = "bold red" if counts["failed"] else "bold green"
    said = f"{counts['passed']} checks hold, {counts['failed']} fail, {counts['skipped']} were not run."
    printing.write([line(Styled(said, style))])
    return 1 if counts["failed"] else 0


def _find(asked: str) -> Plugin:
    """Return a plugin, whatever its state."""
    plugins = loader.load_plugins(loader.find_distributions(), environ=os.environ).plugins
    for plugin in plugins:
        if asked in (plugin.name, plugin.module, plugin.module.rpartition(".")[0]):
            return plugin
    known = [plugin.name for plugin in plugins]
    lines = [
        f"no plugin is called {asked!r}, and none has such a module.",
        did_you_mean(nearest(asked, [*known, *(plugin.module for plugin in plugins)])),
        f"Installed: {', '.join(known) or 'none'}.",
        "A plugin is installed by `pip install -e .` where its pyproject.toml has [project.entry-points.mox].",
    ]
    raise UnknownNameError("\n".join(filter(None, lines)))


@frozen
class _Contract:
    """A class of tests.

    Attributes:
        label: the plugin or the offer that it checks, for the output.
        tests: the class.
    """

    label: str
    tests: type


def _contracts_of(plugin: Plugin) -> tuple[list[_Contract], list[str]]:
    """Return the contracts that can be run, and a line for each offer that needs a test of its own."""
    own = type("TestPlugin", (testing.PluginContract,), {"plugin_name": plugin.name})
    contracts, unwritten = [_Contract(f"plugin {plugin}", own)], []
    for offer in plugin.offers:
        try:
            target = import_target(offer)
        except PluginError:
            continue  # reported by the contract of the plugin
        if why := _unwritten(offer, target):
            unwritten.append(f"{offer.kind} {offer.name!r}: {why}")
        elif (tests := _tests_of(offer, target, plugin)) is not None:
            contracts.append(_Contract(f"{offer.kind} {offer.name!r}", tests))
    return contracts, unwritten


def _unwritten(offer: Offer, target: Any) -> str:
    """Return what the author has to write before the offer can be checked; empty if nothing."""
    if isinstance(offer, DatasetOffer) or (isinstance(target, type) and hasattr(target, "get")):
        return "it reads data, which DatasetContract.dataset makes."
    if isinstance(offer, TrackerOffer):
        return "it keeps runs where TrackerContract's author says, and TrackerContract.read reads them."
    if isinstance(target, type) and issubclass(target, AggregativeSessionRunHook):
        needed = _required(target, ())
        return f"HookContract.hook makes it; it needs {needed}." if needed else ""
    standing = {OptimizerOffer: ("learning_rate",), OptimizerWrapperOffer: ("optimizer",)}
    if type(offer) in (AugmentationOffer, *standing):
        given_by_mox = ("run_mode", "output_height", "output_width") if isinstance(offer, AugmentationOffer) else ()
        needed = _required(target, given_by_mox, len(standing.get(type(offer), ())))
        return f"give `options` of its contract; it needs {needed}." if needed else ""
    return ""


def _required(target: Any, named: Sequence[str], positional: int = 0) -> str:
    """Return the required arguments of a target that mox does not pass."""
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):  # a callable written in C may have no signature
        return ""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    lacking = [
        each.name
        for each in parameters[positional:]
        if each.default is each.empty and each.kind not in variable and each.name not in named
    ]
    return ", ".join(lacking)


def _tests_of(offer: Offer, target: Any, plugin: Plugin) -> type | None:
    """Return the contract of an offer, with default attributes; None if there is none."""
    if type(offer) in _BY_NAME:
        contract, attribute = _BY_NAME[type(offer)]
        # As `plugin/name`: another plugin may offer the name, too.
        attributes: dict[str, Any] = {attribute: f"{plugin.name}/{offer.name}"}
        if isinstance(offer, ExporterOffer):
            attributes["predict"] = _skip_predict
        return type(f"Test{contract}", (getattr(testing, contract),), attributes)
    if isinstance(offer, ApiOffer) and isinstance(target, type) and issubclass(target, AggregativeSessionRunHook):
        return type("TestHookContract", (testing.HookContract,), {"hook": lambda _self: target()})
    return None


def _skip_predict(*_arguments: Any) -> NoReturn:
    pytest.skip("needs a test of its own: ExporterContract.predict says how the format is loaded")


def _run_tests(contracts: Sequence[_Contract], listener: _Listener) -> None:
    """Run classes of tests with pytest, in this process, without the settings and tests of the current folder."""
    given.clear()
    given.update({f"Test{number}": contract.tests for number, contract in enumerate(contracts)})
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        module = Path(folder, f"test_{Path(folder).name}.py")  # pytest imports no name twice in a process
        module.write_text(_MODULE, encoding="utf-8")
        options = ["--rootdir", folder, "-c", f"{folder}/pytest.ini", f"--basetemp={folder}/runs"]
        apart = ["-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:warnings", "--import-mode=importlib"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # some of them need a terminal
            patch.delenv("PYTEST_ADDOPTS", raising=False)
            status = pytest.main([str(module), *options, *apart], plugins=[listener, fixtures])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise PluginError(f"pytest ends with status {int(status)}, and not all checks were run.")


@define
class _Listener:
    """A plugin of pytest that prints the result of each check at once."""

    _contracts: Sequence[_Contract]
    counts: dict[str, int] = field(factory=lambda: dict.fromkeys(("passed", "failed", "skipped"), 0))
    _last: str = ""
    _errors: dict[str, BaseException] = field(factory=dict)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: Any) -> Generator[None, Any, Any]:
        """Keep the exception, of which the report has only the text."""
        report = yield
        if report.failed:
            self._errors[report.nodeid] = call.excinfo.value
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print the result of one check: of its call, or of its setup or teardown if that failed."""
        if report.when != "call" and report.outcome == "passed":
            return
        _, name, check_name = report.nodeid.split("::")
        label = self._contracts[int(name.removeprefix("Test"))].label
        if label != self._last:
            printing.write([line(Styled(label, "bold"))])
            self._last = label
        self.counts[report.outcome] += 1
        word = Styled(f"{_WORDS[report.outcome]:8}", _STYLES[report.outcome])
        printing.write([line(word, f" {_sentence(check_name)}", indent=2)])
        printing.write(line(reason, indent=11) for reason in self._reasons(report))
        sys.stdout.flush()

    def _reasons(self, report: pytest.TestReport) -> Iterator[str]:
        if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
            yield str(report.longrepr[2]).removeprefix("Skipped: ")
        error = self._errors.pop(report.nodeid, None)
        if error is None:
            return
        text = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        yield from re.split(r"\nassert ", text, maxsplit=1)[0].splitlines()
        if error.__cause__ is not None:
            for part in traceback.format_tb(error.__cause__.__traceback__)[-_FRAMES:]:
                yield from part.rstrip().splitlines()


def _sentence(name: str) -> str:
    words, bracket, case = name.removeprefix("test_").partition("[")
    return words.replace("_", " ") + (f" ({case.rstrip(']')})" if bracket else "")
