"""Every plugin of ours installed: what known_names.py says of them is true."""

import pytest

from mox_core.plugins import AugmentationOffer, NetworkOffer, loader
from mox_core.plugins.hookspecs import OFFERS
from mox_core.plugins.known_names import FIRST_PARTY


@pytest.fixture(scope="module")
def plugins():
    return loader.load_plugins(loader.find_distributions(), environ={}).plugins


@pytest.mark.parametrize("distribution", FIRST_PARTY)
def test_a_distribution_offers_the_names_that_the_table_has(plugins, distribution):
    ours = [plugin for plugin in plugins if plugin.distribution == distribution]
    assert [(plugin.state, plugin.reason) for plugin in ours] == [("ready", "")]
    offered = {
        hook: {offer.name for plugin in ours for offer in plugin.offers if isinstance(offer, kind)}
        for hook, kind in OFFERS.items()
    }
    assert {hook: names for hook, names in offered.items() if names} == {
        hook: set(names) for hook, names in FIRST_PARTY[distribution].items()
    }


def test_every_distribution_of_ours_is_in_the_table(plugins):
    assert {plugin.distribution for plugin in plugins if plugin.distribution.startswith("mox-")} == set(FIRST_PARTY)


def test_no_name_is_offered_twice_but_by_one_that_yields(plugins):
    for kind in OFFERS.values():
        offers = [offer for plugin in plugins for offer in plugin.offers if isinstance(offer, kind)]
        names = [offer.name for offer in offers if not offer.yields]
        assert len(names) == len(set(names)), kind.__name__


def test_names_of_the_manual_are_slims_where_keras_has_networks_of_these_names_too():
    plugins = loader.installed_plugins()
    both = {"mobilenet_v1", "mobilenet_v2", "inception_v3", "inception_resnet_v2", "nasnet_mobile", "nasnet_large"}
    for kind in (NetworkOffer, AugmentationOffer):
        for name in both | {"vgg_16", "vgg_19"}:
            owner, offer = plugins.find_with_owner(kind, name)
            assert (owner.distribution, offer.name) == ("mox-slim-nets", name)
            assert plugins.find_with_owner(kind, f"applications/{name}")[0].distribution == "mox-applications"
