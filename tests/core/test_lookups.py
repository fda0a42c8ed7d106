"""The words in which a look-up fails."""

import pytest

from installed_from import as_released
from mox_core.errors import MoxError, UnknownNameError
from mox_core.plugins import ApiOffer, NetworkMeta, NetworkOffer, OptimizerOffer
from mox_core.plugins.known_names import FIRST_PARTY, MOXING_ALONE
from mox_core.plugins.registry import Plugin, PluginSet


def networks(*names, target="a:b", yields=False):
    meta = NetworkMeta(default_image_size=224, default_labels_offset=0)
    return tuple(NetworkOffer(name, target, summary="a network", meta=meta, yields=yields) for name in names)


RESNETS = Plugin("resnet", "mox-resnet", "0.1.0", offers=networks("resnet_v1_18", "resnet_v1_50", "resnet_v2_50"))
BAD = Plugin("bad", "aa-bad", "1.0", state="broken", reason="ModuleNotFoundError: No module named 'not_there'.")
RESNET50 = (
    "Keras has it, for model_fn: net = keras.applications.ResNet50(weights=None, classes=num_classes, "
    "classifier_activation=None); logits = net(images), images as its preprocess_input makes them\n"
)
OFF = Plugin("hooks", "mox-hooks", "0.1.0", state="off", reason="MOX_DISABLE_PLUGINS")
POLITE = Plugin("polite", "polite-nets", "2.0", offers=networks("resnet_v1_50", target="polite:net", yields=True))
OTHER = Plugin("other", "other-nets", "3.1", offers=networks("resnet_v1_50", "other", target="other.nets:build"))


def complaint_about(plugins, kind, name):
    with pytest.raises(UnknownNameError) as caught:
        PluginSet(plugins).find(kind, name)
    return str(caught.value)


def test_a_name_is_found_with_its_offer():
    assert PluginSet((BAD, RESNETS)).find(NetworkOffer, "resnet_v1_50") is RESNETS.offers[1]


def test_an_unknown_name_is_told_with_all_that_helps():
    assert as_released(complaint_about((BAD, RESNETS), NetworkOffer, "resnet50")) == (
        "unknown network 'resnet50'.\n"
        "Did you mean 'resnet_50'?\n"
        "Install mox-applications, which offers 'resnet_50': pip install mox-applications\n"
        + RESNET50
        + "Known: resnet_v1_18, resnet_v1_50, resnet_v2_50\n"
        "Plugin bad (aa-bad 1.0) is broken: ModuleNotFoundError: No module named 'not_there'."
    )


def test_a_name_of_a_distribution_that_is_not_installed_says_what_to_install():
    assert as_released(complaint_about((RESNETS,), OptimizerOffer, "sgd")) == (
        "unknown optimizer 'sgd'.\nInstall mox-optimizers, which offers it: pip install mox-optimizers\nKnown: none"
    )


def test_a_name_near_to_one_that_is_not_installed_says_what_to_install():
    assert as_released(complaint_about((), NetworkOffer, "resnet_v150")) == (
        "unknown network 'resnet_v150'.\n"
        "Did you mean 'resnet_v1_50'?\n"
        "Install mox-resnet, which offers 'resnet_v1_50': pip install mox-resnet\n"
        "Known: none"
    )


def test_a_suggestion_of_a_name_of_several_networks_names_them_all():
    complaint = complaint_about((RESNETS, POLITE), NetworkOffer, "ResNet_v1_50x")
    assert complaint.splitlines()[1] == "Did you mean 'resnet_v1_50' or 'polite/resnet_v1_50'?"


def test_a_name_of_two_distributions_that_are_not_installed_names_both():
    assert as_released(complaint_about((), NetworkOffer, "mobilenet_v2")) == (
        "unknown network 'mobilenet_v2'.\n"
        "Install mox-applications, which offers it: pip install mox-applications\n"
        "Or install mox-slim-nets, which offers it: pip install mox-slim-nets\n"
        "Keras has it, for model_fn: net = keras.applications.MobileNetV2(weights=None, classes=num_classes, "
        "classifier_activation=None); logits = net(images), images as its preprocess_input makes them\n"
        "Known: none"
    )


@pytest.mark.parametrize("name", ["lenet", "LENET"])
def test_a_network_of_the_manual_says_what_to_install(name):
    complaint = as_released(complaint_about((RESNETS,), NetworkOffer, name))
    assert "Install mox-slim-nets, which offers " in complaint
    assert complaint.splitlines()[1].endswith(": pip install mox-slim-nets")


@pytest.mark.parametrize(
    ("name", "near", "distributions"),
    [("pvanet", "mobilenet_v2", ["mox-applications", "mox-slim-nets"]), ("resnet_v1_50_8k", "resnet_v1_50", [])],
)
def test_a_network_that_only_moxing_has_says_what_is_nearest(name, near, distributions):
    lines = complaint_about((RESNETS,), NetworkOffer, name).splitlines()
    assert lines[1] == f"MoXing has it, and mox does not. Nearest is {near!r}."
    assert [line.split(",")[0].split()[-1] for line in lines if "nstall" in line] == distributions


def test_every_network_of_the_manual_is_offered_or_has_a_nearest_one():
    names = [
        *("alexnet_v2", "cifarnet", "overfeat", "inception_resnet_v2", "lenet", "pvanet"),
        *(f"vgg_{kind}{norm}" for kind in ("a", "16", "19") for norm in ("", "_bn")),
        *(f"inception_v{version}" for version in (1, 2, 3, 4)),
        *(f"resnet_v1_{layers}" for layers in ("18", "20", "50", "50_8k", "101", "110", "152", "200")),
        *(f"resnet_v2_{layers}" for layers in (50, 101, 152, 200)),
        *(f"resnext_{kind}_{layers}" for kind in "bc" for layers in (50, 101)),
        *(f"mobilenet_v1{width}" for width in ("", "_075", "_050", "_025")),
        *(f"mobilenet_v2{width}" for width in ("", "_140", "_035")),
        *("nasnet_cifar", "nasnet_mobile", "nasnet_large", "pnasnet_large", "pnasnet_mobile"),
        *("resnet_v1_50_mox", "resnet_v1_50_oct", "xception_41", "xception_65", "xception_71"),
    ]
    offered = {name for offers in FIRST_PARTY.values() for name in offers.get("mox_networks", ())}
    assert [name for name in names if name not in offered and name not in MOXING_ALONE] == []
    assert offered.isdisjoint(MOXING_ALONE)
    assert set(MOXING_ALONE.values()) <= offered


def test_what_is_installed_and_switched_off_is_not_to_be_installed():
    assert complaint_about((OFF,), ApiOffer, "FeedSessionRunHook") == (
        "unknown public name 'FeedSessionRunHook'.\n"
        "Known: none\n"
        "Plugin hooks (mox-hooks 0.1.0) is switched off by MOX_DISABLE_PLUGINS."
    )


def test_a_name_near_to_nothing_is_told_without_a_guess():
    assert complaint_about((RESNETS,), NetworkOffer, "gpt2") == (
        "unknown network 'gpt2'.\nKnown: resnet_v1_18, resnet_v1_50, resnet_v2_50"
    )


def test_a_name_of_another_kind_is_not_found():
    assert complaint_about((RESNETS,), ApiOffer, "resnet_v1_50").startswith("unknown public name 'resnet_v1_50'.\n")


def test_a_name_that_two_plugins_offer_is_an_error_that_names_both():
    assert complaint_about((OTHER, RESNETS), NetworkOffer, "resnet_v1_50") == (
        "network 'resnet_v1_50' is offered by 2 plugins: other (other-nets 3.1) and resnet (mox-resnet 0.1.0).\n"
        "Say which one: 'other/resnet_v1_50' or 'resnet/resnet_v1_50'."
    )


def test_other_names_of_plugins_that_share_one_are_found():
    assert PluginSet((OTHER, RESNETS)).find(NetworkOffer, "resnet_v1_18") is RESNETS.offers[0]


@pytest.mark.parametrize("order", [(POLITE, RESNETS), (RESNETS, POLITE)])
def test_a_name_goes_to_the_plugin_that_does_not_yield(order):
    plugins = PluginSet(order)
    assert plugins.find_with_owner(NetworkOffer, "resnet_v1_50") == (RESNETS, RESNETS.offers[1])
    assert plugins.find(NetworkOffer, "polite/resnet_v1_50") is POLITE.offers[0]
    assert plugins.find(NetworkOffer, "resnet/resnet_v1_50") is RESNETS.offers[1]


def test_a_plugin_that_yields_has_its_name_where_no_other_offers_it():
    assert PluginSet((POLITE, OFF)).find(NetworkOffer, "resnet_v1_50") is POLITE.offers[0]


def test_a_name_is_ambiguous_where_two_do_not_yield_and_where_two_do():
    shy = Plugin("shy", "shy-nets", "0.1", offers=networks("resnet_v1_50", yields=True))
    assert complaint_about((OTHER, POLITE, RESNETS), NetworkOffer, "resnet_v1_50").endswith(
        "Say which one: 'other/resnet_v1_50', 'polite/resnet_v1_50' or 'resnet/resnet_v1_50'."
    )
    assert complaint_about((POLITE, shy), NetworkOffer, "resnet_v1_50").endswith(
        "Say which one: 'polite/resnet_v1_50' or 'shy/resnet_v1_50'."
    )


@pytest.mark.parametrize(("name", "expected"), [("other/resnet_v1_50", OTHER), ("resnet/resnet_v1_50", RESNETS)])
def test_a_plugins_name_and_a_slash_pick_one_of_two(name, expected):
    assert PluginSet((OTHER, RESNETS)).find(NetworkOffer, name) in expected.offers


def test_an_unknown_plugin_before_the_slash_is_told_with_what_could_be_meant():
    assert complaint_about((OTHER, RESNETS), NetworkOffer, "resnets/resnet_v1_50") == (
        "unknown network 'resnets/resnet_v1_50'.\n"
        "Did you mean 'resnet/resnet_v1_50'?\n"
        "Known: other/other, other/resnet_v1_50, resnet/resnet_v1_18, resnet/resnet_v1_50, resnet/resnet_v2_50"
    )


def test_a_name_before_which_the_plugin_is_wrong_is_told_with_the_plugin_that_has_it():
    assert complaint_about((OTHER, RESNETS), NetworkOffer, "other/resnet_v2_50") == (
        "unknown network 'other/resnet_v2_50'.\n"
        "Did you mean 'resnet/resnet_v2_50'?\n"
        "Known: other/other, other/resnet_v1_50, resnet/resnet_v1_18, resnet/resnet_v1_50, resnet/resnet_v2_50"
    )


def test_names_are_listed_once_and_by_their_numbers():
    many = Plugin("many", "many", "1.0", offers=networks("b", "net_101", "net_18", "a_2", "resnet_v1_50"))
    assert PluginSet((many, OTHER)).names(NetworkOffer) == ["a_2", "b", "net_18", "net_101", "other", "resnet_v1_50"]


def test_a_failed_look_up_is_a_lookup_error_that_prints_its_lines():
    assert issubclass(UnknownNameError, (LookupError, MoxError))
    assert not issubclass(UnknownNameError, KeyError)  # prints its message through repr, in one line
