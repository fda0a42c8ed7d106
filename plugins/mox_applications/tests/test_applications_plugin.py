"""What mox-applications offers: each network and augmentation, and its facts."""

import keras

import mox_core as mox
from mox_applications.families import APPLICATIONS
from mox_core.plugins import NetworkOffer, loader
from mox_core.testing import PluginContract

# Keras's documents have them: keras.io/api/applications, "size" of the images of each model.
SIZES = {
    "convnext_xlarge": 224,
    "efficientnet_b4": 380,
    "efficientnet_b7": 600,
    "efficientnet_v2_s": 384,
    "inception_v3": 299,
    "nasnet_large": 331,
    "vgg_19": 224,
    "xception": 299,
}


class TestPlugin(PluginContract):
    plugin_name = "applications"


def test_every_function_of_keras_applications_is_offered():
    functions = {name for name in dir(keras.applications) if name[0].isupper()}
    assert {each.function for each in APPLICATIONS.values()} == functions


def test_networks_are_made_for_the_images_that_keras_documents():
    for name, size in SIZES.items():
        meta = mox.get_model_meta(f"applications/{name}")
        assert (meta.default_image_size, meta.default_labels_offset) == (size, 0), name


def test_names_of_the_manual_yield_and_keras_own_do_not():
    plugins = loader.installed_plugins()
    yielding = {
        offer.name
        for plugin in plugins.plugins
        if plugin.name == "applications"
        for offer in plugin.offers
        if isinstance(offer, NetworkOffer) and offer.yields
    }
    assert yielding == {
        *("inception_resnet_v2", "inception_v3", "mobilenet_v1", "mobilenet_v2", "nasnet_large", "nasnet_mobile"),
        *("vgg_16", "vgg_19"),
    }
