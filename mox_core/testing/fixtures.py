"""The fixtures of the test kit. pytest finds them by the entry point `mox` of the group `pytest11`."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Protocol

import importlib_metadata
import pytest

from mox_core import tracebacks
from mox_core.errors import MoxError
from mox_core.plugins import loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mox_core.plugins.registry import PluginSet


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of slow checks, which `pytest -m "not slow"` leaves out."""
    config.addinivalue_line("markers", "slow: takes longer than ten seconds, or a process of its own")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(call: pytest.CallInfo[object]) -> None:
    """Show errors of mox with the lines of the test and of what it calls."""
    if call.excinfo is not None and isinstance(call.excinfo.value, MoxError):
        call.excinfo = pytest.ExceptionInfo.from_exception(tracebacks.for_display(call.excinfo.value))


class InstallFake(Protocol):
    """The function that the fixture `install_fake` returns."""

    def __call__(
        self,
        dist: str,
        plugin_name: str,
        source: str,
        *,
        requires: Sequence[str] = ("mox-core",),
        version: str = "1.0",
        entry_point: str | None = None,
    ) -> Path:
        """Install a distribution with one plugin on `sys.path`; a second call for it adds another plugin.

        Args:
            dist: the name of the distribution. Its package has the same name, with underscores.
            plugin_name: the name of the entry point.
            source: the source code of the package's module `plugin`.
            requires: the requirements of the distribution.
            version: the version of the distribution.
            entry_point: the value of the entry point; by default the module `plugin`.

        Returns:
            The folder on `sys.path`, for the PYTHONPATH of another process.
        """


@pytest.fixture
def fresh_plugins(monkeypatch: pytest.MonkeyPatch, _fake_site_packages: Path) -> Iterator[Callable[[], PluginSet]]:
    """Hide the installed plugins, but not those of `install_fake`; call the fixture for the present `PluginSet`."""
    monkeypatch.delenv(loader.DISABLE, raising=False)
    monkeypatch.delenv(loader.STRICT, raising=False)
    folder = str(_fake_site_packages)
    monkeypatch.setattr(loader, "find_distributions", lambda: importlib_metadata.distributions(path=[folder]))
    loader.installed_plugins.cache_clear()
    yield loader.installed_plugins
    loader.installed_plugins.cache_clear()


@pytest.fixture
def install_fake(_fake_site_packages: Path) -> InstallFake:
    """Install a distribution on `sys.path` without pip; see `InstallFake`."""

    def install(
        dist: str,
        plugin_name: str,
        source: str,
        *,
        requires: Sequence[str] = ("mox-core",),
        version: str = "1.0",
        entry_point: str | None = None,
    ) -> Path:
        package = re.sub(r"[^a-zA-Z0-9]+", "_", dist)
        folder = _fake_site_packages / package
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").touch()
        (folder / "plugin.py").write_text(source, encoding="utf-8")
        info = _fake_site_packages / f"{package}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
        metadata = f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n{needs}"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        entry_points = info / "entry_points.txt"
        before = entry_points.read_text(encoding="utf-8") if entry_points.exists() else "[mox]\n"
        line = f"{plugin_name} = {entry_point or f'{package}.plugin'}\n"
        entry_points.write_text(before.replace(line, "") + line, encoding="utf-8")
        loader.installed_plugins.cache_clear()
        return _fake_site_packages

    return install


@pytest.fixture
def _fake_site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put an empty folder first on `sys.path`, and afterwards drop the modules that were imported from it."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    loader.installed_plugins.cache_clear()
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]
