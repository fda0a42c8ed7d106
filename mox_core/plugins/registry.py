"""The plugins of this process as one value: lookup of names, and the help for unknown ones."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from attrs import frozen

from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.errors import UnknownNameError
from mox_core.name_lists import listed
from mox_core.plugins.hookspecs import OFFERS
from mox_core.plugins.keras_names import in_keras
from mox_core.plugins.known_names import FIRST_PARTY, MOXING_ALONE
from mox_core.plugins.offers import NetworkOffer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mox_core.plugins.offers import Offer

READY: Final = "ready"
OFF: Final = "off"
BROKEN: Final = "broken"

AnyOffer = TypeVar("AnyOffer", bound="Offer")


def _sorted(names: Iterable[str]) -> list[str]:
    """Sort names with the numbers in them as numbers, each once."""
    return sorted(set(names), key=lambda name: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", name)])


@frozen
class Plugin:
    """One entry point of the group `mox`, and the result of loading it.

    Attributes:
        name: the name of the entry point.
        distribution: the name of its distribution.
        version: the version of its distribution.
        state: READY, OFF (switched off by the user) or BROKEN.
        reason: why it is not ready, in one line.
        traceback: the traceback if code of the plugin raised.
        offers: its offers; empty unless it is ready.
        module: its entry module.
        warnings: what its author should change, though it still works.
        seconds: seconds that loading it took.
        imports: the packages that loading it imported first, largest first, without those of Python, mox and itself.
    """

    name: str
    distribution: str
    version: str
    state: str = READY
    reason: str = ""
    traceback: str = ""
    offers: tuple[Offer, ...] = ()
    module: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    imports: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"

    @property
    def complaint(self) -> str:
        """The sentence for a user who looks for something that this plugin may offer."""
        if self.state == OFF:
            return f"Plugin {self} is switched off by {self.reason}."
        return f"Plugin {self} is broken: {self.reason}{'' if self.reason.endswith(('.', '?')) else '.'}"


def place_of(distribution: str) -> str:
    """Return what pip installs a first-party distribution from: in a checkout of mox, its folder there."""
    folder = Path(__file__).parents[2] / "plugins" / distribution.replace("-", "_")
    return f"-e {shlex.quote(str(folder))}" if (folder / "pyproject.toml").is_file() else distribution


@frozen
class PluginSet:
    """The installed plugins, in the order of their names."""

    plugins: tuple[Plugin, ...] = ()

    @property
    def broken(self) -> list[Plugin]:
        """The plugins that could not be loaded."""
        return [plugin for plugin in self.plugins if plugin.state == BROKEN]

    def names(self, kind: type[Offer]) -> list[str]:
        """Return every name that is offered, each once, sorted (`v1_18` before `v1_101`)."""
        return _sorted(offer.name for _, offer in self._offered(kind))

    def owners(self, kind: type[AnyOffer], name: str) -> list[tuple[Plugin, AnyOffer]]:
        """Return each plugin that offers `name`, or `plugin/name`, with the offer."""
        owner, _, short = name.rpartition("/")
        offers = [(plugin, offer) for plugin, offer in self._offered(kind) if offer.name == short]
        if not owner:
            return offers
        exact = [(plugin, offer) for plugin, offer in offers if self._qualifier(plugin) == owner]
        return exact or [(plugin, offer) for plugin, offer in offers if plugin.name == owner]

    def claimants(self, kind: type[AnyOffer], name: str) -> list[tuple[Plugin, AnyOffer]]:
        """Return those of the owners of a name to which it goes: those that do not yield, if there are any.

        One owner is what the name means; several, and it is ambiguous.
        """
        owners = self.owners(kind, name)
        return [owner for owner in owners if not owner[1].yields] or owners

    def qualified(self, plugin: Plugin, offer: Offer) -> str:
        """Return the unique name `plugin/name` of an offer."""
        return f"{self._qualifier(plugin)}/{offer.name}"

    def find(self, kind: type[AnyOffer], name: str) -> AnyOffer:
        """Return the offer of `name`, or of `plugin/name`.

        Raises:
            UnknownNameError: if no plugin offers it, or more than one.
        """
        return self.find_with_owner(kind, name)[1]

    def find_with_owner(self, kind: type[AnyOffer], name: str) -> tuple[Plugin, AnyOffer]:
        """Return the plugin of `name`, or of `plugin/name`, with the offer.

        Raises:
            UnknownNameError: if no plugin offers it, or more than one.
        """
        claimants = self.claimants(kind, name)
        if not claimants:
            raise UnknownNameError(self.help(kind, name, heading=f"unknown {kind.kind} {name!r}."))
        if len(claimants) > 1:
            owners = self.owners(kind, name)
            plugins = " and ".join(str(plugin) for plugin, _ in owners)
            choices = listed([self.qualified(*owner) for owner in owners], "or")
            raise UnknownNameError(
                f"{kind.kind} {name!r} is offered by {len(owners)} plugins: {plugins}.\nSay which one: {choices}."
            )
        return claimants[0]

    def help(
        self,
        kind: type[Offer],
        asked: str,
        *,
        heading: str,
        more_names: Iterable[str] = (),
        written: Callable[[str], str] = str,
    ) -> str:
        """Return the help for an unknown name: similar and known names, broken plugins, and what to install.

        Args:
            kind: the type of the offer that was looked up.
            asked: the name that was looked up.
            heading: the first line.
            more_names: known names beside those that plugins offer.
            written: returns how a known name is written where it was looked up.
        """
        known = self._qualified_names(kind) if "/" in asked else _sorted([*self.names(kind), *more_names])
        elsewhere = {name: homes for name, homes in self._not_installed(kind).items() if name not in known}
        short = asked.rpartition("/")[2].casefold()
        of_others = [each for each in known if "/" in asked and each.rpartition("/")[2].casefold() == short]
        exact = [] if of_others else [name for name in elsewhere if name.casefold() == short]
        of_moxing = MOXING_ALONE.get(asked.casefold(), "") if kind is NetworkOffer and not exact else ""
        near = exact or ([of_moxing] if of_moxing else nearest(asked, of_others, at_least=0.0))
        near = near or nearest(asked, [*known, *elsewhere])
        lines = [heading, f"MoXing has it, and mox does not. Nearest is {written(of_moxing)!r}." if of_moxing else ""]
        meant = [each for name in near for each in [name, *self._yielding(kind, name)]]
        lines.append("" if exact or of_moxing else did_you_mean(list(map(written, meant))))
        for number, distribution in enumerate(sorted({home for name in near for home in elsewhere.get(name, ())})):
            names = [name for name in near if distribution in elsewhere.get(name, ())]
            what = "it" if names == [asked] else listed(names, "and")
            install = "Or install" if number and len(near) == 1 else "Install"
            lines.append(f"{install} {distribution}, which offers {what}: pip install {place_of(distribution)}")
        there = asked in known or (exact and kind is not NetworkOffer)
        lines.append("" if there else in_keras(kind, asked))
        lines.append("Known: " + (", ".join(map(written, known)) or "none"))
        lines.extend(plugin.complaint for plugin in self.plugins if plugin.state != READY)
        return "\n".join(filter(None, lines))

    def _yielding(self, kind: type[Offer], name: str) -> list[str]:
        """Return the unique names of the offers of a name to which it does not go."""
        owners, claimants = self.owners(kind, name), self.claimants(kind, name)
        return [self.qualified(*owner) for owner in owners if owner not in claimants]

    def _offered(self, kind: type[AnyOffer]) -> Iterable[tuple[Plugin, AnyOffer]]:
        return ((plugin, offer) for plugin in self.plugins for offer in plugin.offers if isinstance(offer, kind))

    def _qualified_names(self, kind: type[Offer]) -> list[str]:
        return _sorted(self.qualified(plugin, offer) for plugin, offer in self._offered(kind))

    def _qualifier(self, plugin: Plugin) -> str:
        """Return the plugin's name, or its distribution's name if another distribution has a plugin of that name."""
        shared = any(other.name == plugin.name and other is not plugin for other in self.plugins)
        return plugin.distribution if shared else plugin.name

    def _not_installed(self, kind: type[Offer]) -> dict[str, list[str]]:
        """Return the distributions of each name that first-party distributions offer which are not installed."""
        installed = {plugin.distribution for plugin in self.plugins}
        homes: dict[str, list[str]] = {}
        for distribution, offers in FIRST_PARTY.items():
            for hook, names in offers.items():
                if distribution not in installed and OFFERS[hook] is kind:
                    for name in names:
                        homes.setdefault(name, []).append(distribution)
        return homes
