"""Finds, imports and checks the installed plugins, one at a time, so that a broken one breaks nothing but itself.

pluggy's own loader stops at the first entry point that raises and skips a second one of the same name without a word;
hence this one. pluggy still marks the hooks and checks their signatures.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import traceback
from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, NoReturn

import importlib_metadata
import pluggy
from attrs import evolve, frozen
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

import mox_core
from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.errors import MoxError, PluginError
from mox_core.plugins import hookspecs
from mox_core.plugins.hookspecs import OFFERS, PROJECT
from mox_core.plugins.offers import ApiOffer
from mox_core.plugins.registry import BROKEN, OFF, Plugin, PluginSet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from importlib_metadata import IDistribution as Distribution

    from mox_core.plugins.offers import Offer

DISABLE: Final = "MOX_DISABLE_PLUGINS"
"""Environment variable: names of plugins to leave out, separated by commas."""

STRICT: Final = "MOX_STRICT_PLUGINS"
"""Environment variable: if set to anything but 0, a broken plugin is an error at once."""

_being_loaded: ContextVar[str] = ContextVar("mox_plugin_being_loaded")


@functools.cache
def installed_plugins() -> PluginSet:
    """Return the plugins of this process, loaded when first asked for; `cache_clear()` makes it look again.

    Raises:
        PluginError: if a plugin is broken and `MOX_STRICT_PLUGINS` is set.
    """
    plugins = load_plugins(find_distributions(), environ=os.environ)
    if is_strict(os.environ) and plugins.broken:
        details = "\n".join(f"{plugin.complaint}\n{plugin.traceback}".rstrip() for plugin in plugins.broken)
        raise PluginError(f"{STRICT} is set and a plugin is broken.\n{details}")
    return plugins


def is_strict(environ: Mapping[str, str]) -> bool:
    """Whether a broken plugin is an error at once."""
    return environ.get(STRICT, "0") not in ("", "0")


def find_distributions() -> Iterable[Distribution]:
    """Return what is installed, in the order of `sys.path`."""
    return importlib_metadata.distributions()


def load_plugins(distributions: Iterable[Distribution], *, environ: Mapping[str, str]) -> PluginSet:
    """Load the plugins of some distributions; what is wrong with one of them is kept in its `Plugin`.

    Args:
        distributions: where to look for entry points; of two of one name, the first counts.
        environ: where to look for `MOX_DISABLE_PLUGINS`.

    Raises:
        PluginError: if a plugin asks for the names of plugins while it is being loaded.
    """
    if busy := _being_loaded.get(""):
        raise PluginError(
            f"plugin {busy!r} looks up a name that plugins offer while it is being loaded itself; "
            "an entry module may hold names only, so import what the plugin needs where it is used."
        )
    switched_off = {name.strip() for name in environ.get(DISABLE, "").split(",")}
    plugins: list[Plugin] = []
    owners: dict[str, Plugin] = {}
    for found in _find_entry_points(distributions):
        plugin = found.plugin
        if plugin.name in switched_off:
            plugins.append(evolve(plugin, state=OFF, reason=DISABLE))
        elif plugin.name in owners:
            plugins.append(evolve(plugin, state=BROKEN, reason=f"its name is taken by {owners[plugin.name]}"))
        else:
            owners[plugin.name] = plugin
            plugins.append(_load(found))
    return PluginSet(tuple(plugins))


@frozen
class _Found:
    """A plugin that was found and not loaded yet."""

    plugin: Plugin
    requires: list[str]
    load: Callable[[], object]


def _find_entry_points(distributions: Iterable[Distribution]) -> list[_Found]:
    """Return the plugins of all distributions by name; of one distribution on the path twice, those of the first."""
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
    except Exception as error:  # noqa: BLE001  (whatever other programs wrote there)
        if f"[{PROJECT}]" not in (distribution.read_text("entry_points.txt") or ""):
            return []
        name, version, requires = _read_metadata(distribution)
        unreadable = PluginError(f"its entry_points.txt cannot be read: {type(error).__name__}: {error}")
        return [_Found(Plugin(name, name, version), requires, functools.partial(_raise, unreadable))]
    if not entry_points:
        return []  # before its metadata are read: most of what is installed ends here
    name, version, requires = _read_metadata(distribution)
    return [_Found(Plugin(entry.name, name, version), requires, entry.load) for entry in entry_points]


def _read_metadata(distribution: Distribution) -> tuple[str, str, list[str]]:
    """Return name, version and requirements."""
    try:
        return distribution.metadata["Name"], distribution.metadata["Version"], distribution.requires or []
    except Exception:  # noqa: BLE001  (a folder that an interrupted uninstall left)
        return "?", "?", []


def _raise(error: Exception) -> NoReturn:
    raise error


def _load(found: _Found) -> Plugin:
    """Return the plugin with its offers, or with the reason why it has none."""
    token = _being_loaded.set(found.plugin.name)
    try:
        _check_core(found.requires, mox_core.__version__)
        offers = _collect_offers(found.load(), found.plugin.name)
    except (Exception, SystemExit) as error:  # noqa: BLE001  (this is the guard: a plugin may raise anything)
        message = " ".join(str(error).split())
        reason = message if isinstance(error, MoxError) else f"{type(error).__name__}: {message}"
        return evolve(found.plugin, state=BROKEN, reason=reason, traceback="".join(traceback.format_exception(error)))
    finally:
        _being_loaded.reset(token)
    return evolve(found.plugin, offers=offers)


def _check_core(requires: list[str], version: str) -> None:
    """Refuse a plugin that was made for another mox-core, before it is imported."""
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


def _collect_offers(entry: object, name: str) -> tuple[Offer, ...]:
    """Ask one plugin for everything it offers, in a plugin manager of its own."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    _check_hook_names(entry, manager)
    manager.register(entry, name=name)
    return tuple(
        offer
        for caller in manager.get_hookcallers(entry) or []
        if caller.has_spec()
        for implementation in caller.get_hookimpls()
        for offer in _ask(caller.name, implementation.function)
    )


def _check_hook_names(entry: object, manager: pluggy.PluginManager) -> None:
    """Refuse what pluggy would pass over: an unmarked function, a hook that mox does not have, no hook at all."""
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
    return name in mox_core.__all__ or importlib.util.find_spec(f"mox_core.{name}") is not None


def _ask(hook: str, function: Callable[[], object]) -> list[Offer]:
    """Return what one hook of one plugin yields, checked."""
    wanted = OFFERS[hook]
    answer = function()
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
