"""Discovery, import and checks of the installed plugins, one at a time, so that a broken one affects no other.

pluggy's own loader stops at the first entry point that raises, and silently skips a second one of the same name; so it
is not used. pluggy still marks the hooks and checks their signatures.

Warnings that only the author of a plugin can act on, such as a deprecated hook, are not shown to its users: `mox
plugins`, `mox check` and `mox doctor` print them, and `MOX_STRICT_PLUGINS` makes them Python warnings.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import importlib.util
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

import importlib_metadata
import pluggy
from attrs import evolve, frozen
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.errors import MoxError, PluginError
from mox_core.name_lists import listed
from mox_core.plugins import hookspecs
from mox_core.plugins.hookspecs import OFFERS, PROJECT
from mox_core.plugins.offers import ApiOffer
from mox_core.plugins.registry import BROKEN, OFF, Plugin, PluginSet
from mox_core.public_names import HOMES
from mox_core.version import version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mox_core.plugins.offers import Offer

DISABLE: Final = "MOX_DISABLE_PLUGINS"
"""Environment variable: the names of plugins to switch off, separated by commas."""

STRICT: Final = "MOX_STRICT_PLUGINS"
"""Environment variable: if set to anything but 0, a broken plugin is an error at once."""

_READ_IN_RUNS: Final = ("CUDA_", "KERAS_", "MOX_", "TF_", "XLA_")
"""Prefixes of the environment variables that affect runs."""


class Distribution(Protocol):
    """An installed distribution, whichever class importlib_metadata has for it."""

    @property
    def entry_points(self) -> Any:
        """Its entry points."""

    @property
    def metadata(self) -> Any:
        """Its metadata by their names."""

    @property
    def requires(self) -> list[str] | None:
        """Its requirements."""

    def read_text(self, filename: str, /) -> str | None:
        """Return a file of its metadata."""


_being_loaded: ContextVar[str] = ContextVar("mox_plugin_being_loaded")


@functools.cache
def installed_plugins() -> PluginSet:
    """Return the plugins of this process, which are loaded at the first call; `cache_clear()` makes it load them again.

    Raises:
        PluginError: if a plugin is broken and `MOX_STRICT_PLUGINS` is set.
    """
    plugins = load_plugins(find_distributions(), environ=os.environ)
    if is_strict(os.environ) and plugins.broken:
        details = "\n".join(f"{plugin.complaint}\n{plugin.traceback}".rstrip() for plugin in plugins.broken)
        raise PluginError(f"{STRICT} is set and a plugin is broken.\n{details}")
    if is_strict(os.environ):
        for plugin in plugins.plugins:
            for warning in plugin.warnings:
                # Not a DeprecationWarning: Python ignores those outside of __main__.
                warnings.warn(f"plugin {plugin}: {warning}", FutureWarning, stacklevel=2)
    return plugins


def is_strict(environ: Mapping[str, str]) -> bool:
    """Return whether `MOX_STRICT_PLUGINS` is set: then a broken plugin is an error at once."""
    return environ.get(STRICT, "0") not in ("", "0")


def find_distributions() -> Iterable[Distribution]:
    """Return the installed distributions in the order of `sys.path`."""
    return importlib_metadata.distributions()


def load_plugins(distributions: Iterable[Distribution], *, environ: Mapping[str, str]) -> PluginSet:
    """Load the plugins of some distributions; an error of one of them is recorded in its `Plugin`.

    Args:
        distributions: where to look for entry points; of two with one name, the first counts.
        environ: the environment, for `MOX_DISABLE_PLUGINS`.

    Raises:
        PluginError: if a plugin looks up names of plugins while it is being loaded.
    """
    if busy := _being_loaded.get(""):
        raise PluginError(
            f"plugin {busy!r} looks up a name that plugins offer while it is being loaded itself; "
            "an entry module may hold names only, so import what the plugin needs where it is used."
        )
    switched_off = {name.strip() for name in environ.get(DISABLE, "").split(",")}
    plugins: list[Plugin] = []
    seen: set[tuple[str, str]] = set()
    for found in _find_entry_points(distributions):
        plugin = found.plugin
        if plugin.name in switched_off:
            plugins.append(evolve(plugin, state=OFF, reason=DISABLE))
        elif (plugin.distribution, plugin.name) in seen:
            plugins.append(evolve(plugin, state=BROKEN, reason="its distribution has another plugin of its name"))
        else:
            seen.add((plugin.distribution, plugin.name))
            plugins.append(_load(found))
    return PluginSet(tuple(plugins))


@frozen
class _Found:
    """A plugin that is not loaded yet, with the requirements of its distribution."""

    plugin: Plugin
    requires: list[str]
    load: Callable[[], object]


def _find_entry_points(distributions: Iterable[Distribution]) -> list[_Found]:
    """Return the plugins of all distributions, sorted; of a distribution that is found twice, the first counts."""
    found: list[_Found] = []
    seen: set[str] = set()
    for distribution in distributions:
        of_this = _read_entry_points(distribution)
        if of_this and (key := canonicalize_name(of_this[0].plugin.distribution)) not in seen:
            seen.add(key)
            found.extend(of_this)
    return sorted(found, key=lambda one: (one.plugin.name, one.plugin.distribution))


def _read_entry_points(distribution: Distribution) -> list[_Found]:
    try:
        entry_points = [entry for entry in distribution.entry_points if entry.group == PROJECT]
    except Exception as error:  # noqa: BLE001  (the file may contain anything)
        if f"[{PROJECT}]" not in (distribution.read_text("entry_points.txt") or ""):
            return []
        name, version, requires = read_metadata(distribution)
        unreadable = PluginError(f"its entry_points.txt cannot be read: {type(error).__name__}: {error}")
        return [_Found(Plugin(name, name, version), requires, functools.partial(_raise, unreadable))]
    if not entry_points:
        return []  # before the metadata are read: most distributions have no plugin
    name, version, requires = read_metadata(distribution)
    return [
        _Found(Plugin(entry.name, name, version, module=entry.module), requires, entry.load) for entry in entry_points
    ]


def read_metadata(distribution: Distribution) -> tuple[str, str, list[str]]:
    """Return name, version and requirements of a distribution; ('?', '?', []) if its metadata cannot be read."""
    try:
        return distribution.metadata["Name"], distribution.metadata["Version"], distribution.requires or []
    except Exception:  # noqa: BLE001  (an interrupted uninstall leaves such folders)
        return "?", "?", []


def _raise(error: Exception) -> NoReturn:
    raise error


def _load(found: _Found) -> Plugin:
    """Import a plugin, and return it with its offers, or as BROKEN with the reason."""
    loaded = set(sys.modules)
    token = _being_loaded.set(found.plugin.name)
    start = time.perf_counter()
    try:
        _check_core(found.requires, version())
        with _unchanged_environment():
            offers, notes = _collect_offers(found.load(), found.plugin.name)
        plugin = evolve(found.plugin, offers=offers, warnings=notes)
    except (Exception, SystemExit) as error:  # noqa: BLE001  (a plugin may raise anything)
        message = " ".join(_with_path(error).split())
        reason = message if isinstance(error, MoxError) else f"{type(error).__name__}: {message}"
        lines = traceback.format_exception(error)
        plugin = evolve(found.plugin, state=BROKEN, reason=reason, traceback="".join(lines))
    finally:
        _being_loaded.reset(token)
    imports = _packages(set(sys.modules) - loaded, without=plugin.module)
    return evolve(plugin, seconds=time.perf_counter() - start, imports=imports)


def _with_path(error: BaseException) -> str:
    """Return the text of an error; one of syntax names its file by the last part of its path only."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.msg} ({error.filename}, line {error.lineno})"
    return str(error)


@contextlib.contextmanager
def _unchanged_environment() -> Iterator[None]:
    """Raise a PluginError if the block changes environment variables that affect runs; restore them."""
    before = dict(os.environ)
    try:
        yield
    finally:
        differing = {name for name, value in before.items() ^ dict(os.environ).items()}
        changed = sorted(name for name in differing if name.startswith(_READ_IN_RUNS))
        for name in changed:
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]
    if changed:
        raise PluginError(
            f"its entry module changes the environment variable {listed(changed, 'and')}, and with it runs that name "
            "nothing of it; an entry module may hold names only"
        )


def _packages(modules: Iterable[str], *, without: str) -> tuple[str, ...]:
    """Return the top-level packages of some modules, largest first, without those of Python, mox and `without`."""
    own = {*sys.stdlib_module_names, "mox_core", without.partition(".")[0]}
    sizes = collections.Counter(module.partition(".")[0] for module in modules)
    return tuple(name for name, _ in sizes.most_common() if name not in own and not name.startswith("_"))


def _check_core(requires: list[str], version: str) -> None:
    """Raise a PluginError, before the plugin is imported, if it requires another version of mox-core."""
    for line in requires:
        if canonicalize_name(re.split(r"[^\w.-]", line.strip(), maxsplit=1)[0]) != "mox-core":
            continue
        try:
            requirement = Requirement(line)
        except InvalidRequirement as error:
            raise PluginError(f"its requirement {line!r} cannot be read") from error
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and not requirement.specifier.contains(version, prereleases=True):
            raise PluginError(f"it needs mox-core{requirement.specifier}, and mox-core {version} is installed")


def _collect_offers(entry: object, name: str) -> tuple[tuple[Offer, ...], tuple[str, ...]]:
    """Call the hooks of one plugin, in a plugin manager of its own.

    Returns:
        The offers, and the warnings for its author.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    _check_hook_names(entry, manager)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        manager.register(entry, name=name)
    notes = tuple(f"{each.message} ({each.filename}, line {each.lineno})" for each in caught)
    offers = tuple(
        offer
        for caller in manager.get_hookcallers(entry) or []
        if caller.has_spec()
        for implementation in caller.get_hookimpls()
        for offer in _call(caller.name, implementation)
    )
    return offers, notes


def _check_hook_names(entry: object, manager: pluggy.PluginManager) -> None:
    """Raise a PluginError for what pluggy ignores: an unmarked function, an unknown hook, no hook at all."""
    marked = {attribute: manager.parse_hookimpl_opts(entry, attribute) for attribute in dir(entry)}
    for attribute, options in marked.items():
        if options is None and attribute in OFFERS and callable(getattr(entry, attribute)):
            raise PluginError(f"its function {attribute!r} is not marked with @hookimpl")
        if options is not None and not options["optionalhook"] and (options["specname"] or attribute) not in OFFERS:
            hint = did_you_mean(nearest(attribute, OFFERS)) or f"The hooks are {', '.join(OFFERS)}."
            raise PluginError(f"mox has no hook {attribute!r}. {hint}")
    if not any(marked.values()):
        raise PluginError(
            f"{entry!r} is no plugin: it has no function marked with @hookimpl. The hooks are {', '.join(OFFERS)}."
        )


def _is_own_name(name: str) -> bool:
    return name in HOMES or importlib.util.find_spec(f"mox_core.{name}") is not None


def _call(hook: str, implementation: pluggy.HookImpl) -> list[Offer]:
    """Call one hook of one plugin, and check and return its offers."""
    wanted = OFFERS[hook]
    answer = implementation.function(*(hookspecs.ARGUMENTS[name] for name in implementation.argnames))
    if not isinstance(answer, Iterable):
        raise PluginError(f"{hook} returned {answer!r}; it must yield {wanted.__name__} objects")
    offers: dict[str, Offer] = {}
    for offer in answer:
        if not isinstance(offer, wanted):
            raise PluginError(f"{hook} yielded {offer!r}; it must yield {wanted.__name__} objects")
        if offer.name in offers:
            raise PluginError(f"{hook} yields the {offer.kind} {offer.name!r} twice")
        if isinstance(offer, ApiOffer) and _is_own_name(offer.name):
            raise PluginError(f"{hook} yields {offer.name!r}, which is a name of mox-core itself")
        offers[offer.name] = offer
    return list(offers.values())
