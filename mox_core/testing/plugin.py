"""The contract of every plugin, whatever it offers."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from typing import ClassVar

from mox_core.plugins import loader
from mox_core.plugins.offers import CommandOffer, import_target
from mox_core.plugins.registry import READY, Plugin

HEAVY = ("tensorflow", "keras", "numpy")
"""The packages that an entry module must not import, directly or indirectly."""


class PluginContract:
    """Tests for any plugin: one class for each plugin, beside the contracts of its offers.

    They check that the plugin loads; that its entry module imports no TensorFlow, Keras or NumPy; and that the target
    of each offer can be imported, has a summary and, if it is a command, prints its help.

    Example:
        class TestPlugin(PluginContract):
            plugin_name = "my-plugin"

    Attributes:
        plugin_name: the name of the plugin's entry point, not of its distribution.
    """

    plugin_name: ClassVar[str]

    def test_plugin_is_ready(self) -> None:
        """The plugin is installed, loads without an error, and offers something."""
        plugin = self._plugin()
        assert plugin.state == READY, f"{plugin.reason}\n{plugin.traceback}"
        assert plugin.offers, f"plugin {plugin} offers nothing"

    def test_entry_module_imports_without_tensorflow(self) -> None:
        """The entry module imports nothing heavy, so that listing plugins stays fast."""
        plugin = self._plugin()
        program = (
            "import sys\n"
            "from mox_core.plugins import loader\n"
            "name, distribution, *heavy = sys.argv[1:]\n"
            "alone = [d for d in loader.find_distributions() if d.metadata['Name'] == distribution]\n"
            "plugins = loader.load_plugins(alone, environ={}).plugins\n"
            "print(*[p.state for p in plugins if p.name == name], *sorted(set(sys.modules) & set(heavy)))"
        )
        run = subprocess.run(  # noqa: S603  (our own program, in a process that has imported nothing)
            [sys.executable, "-c", program, plugin.name, plugin.distribution, *HEAVY],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout.split() == [READY], f"state, and heavy modules that it imports: {run.stdout}"

    def test_every_target_imports(self) -> None:
        """The target of each offer can be imported."""
        for offer in self._plugin().offers:
            import_target(offer)

    def test_every_offer_has_a_summary(self) -> None:
        """The summary of each offer is not empty, and not its name."""
        for offer in self._plugin().offers:
            assert offer.summary.strip(), f"{offer.kind} {offer.name!r} has no summary"
            assert offer.summary.casefold() != offer.name.casefold(), f"the summary of {offer.name!r} only repeats it"

    def test_every_command_prints_its_help(self) -> None:
        """`mox <command> --help` prints something and has the exit status 0."""
        for offer in self._plugin().offers:
            if isinstance(offer, CommandOffer):
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed):
                    try:
                        status = import_target(offer)(["--help"])
                    except SystemExit as end:  # as argparse ends
                        status = end.code or 0
                assert status == 0, f"`mox {offer.name} --help` ends with status {status}"
                assert printed.getvalue().strip(), f"`mox {offer.name} --help` prints nothing"

    def _plugin(self) -> Plugin:
        plugins = loader.installed_plugins().plugins
        found = [plugin for plugin in plugins if plugin.name == self.plugin_name]
        known = ", ".join(plugin.name for plugin in plugins)
        assert found, f"no plugin {self.plugin_name!r} is installed; installed are: {known}"
        return found[0]
