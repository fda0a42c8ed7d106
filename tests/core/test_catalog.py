import numpy as np
import pytest

import mox_core as mox
from installed_from import as_released
from mox_core import catalog
from mox_core.errors import UsageError
from mox_core.plugins import ExporterOffer

PLUGIN = """
from mox_core.plugins import *

@hookimpl
def mox_networks():
    meta = NetworkMeta(default_image_size=299, default_labels_offset=1)
    yield NetworkOffer("net_v1_50", "demo.plugin:record", summary="a network", meta=meta)

@hookimpl
def mox_augmentations():
    yield AugmentationOffer("net_v1_50", "demo.plugin:record", summary="an augmentation")

@hookimpl
def mox_optimizers():
    yield OptimizerOffer("sgd", "demo.plugin:record", summary="an optimizer")
    yield OptimizerOffer("lost", "demo.lost:make", summary="an optimizer whose module is missing")

@hookimpl
def mox_optimizer_wrappers():
    yield OptimizerWrapperOffer("lars", "demo.plugin:record", summary="a wrapper")

@hookimpl
def mox_datasets():
    meta = DatasetMeta(num_classes=10, splits_to_sizes={"train": 6, "test": 1})
    yield DatasetOffer("mnist", "demo.plugin:record", summary="digits", meta=meta)

@hookimpl
def mox_exporters():
    yield ExporterOffer("TF_SERVING", "demo.plugin:record", summary="a format")
    yield ExporterOffer("tf-lite", "demo.plugin:record", summary="another")

def record(*args, **kwargs):
    return args, kwargs
"""

NETWORK_DEFAULTS = {
    "weight_decay": 0.0,
    "data_format": "NHWC",
    "batch_norm_fused": False,
    "batch_renorm": False,
    "image_height": None,
    "image_width": None,
}


def record(*args, **kwargs):
    return args, kwargs


pytestmark = pytest.mark.usefixtures("fresh_plugins")


@pytest.fixture(autouse=True)
def _demo_plugin(install_fake):
    install_fake("demo", "demo", PLUGIN)


@pytest.mark.parametrize("name", ["net_v1_50", "demo/net_v1_50", record])
def test_a_network_is_built_with_the_options_of_the_manual(name):
    args, options = mox.get_model_fn(name, mox.ModeKeys.TRAIN, 1000)
    assert args == ()
    assert options == {"run_mode": "TRAIN", "num_classes": 1000, **NETWORK_DEFAULTS}


def test_all_options_of_a_network_are_passed_on():
    _, options = mox.get_model_fn(
        "net_v1_50",
        "EVAL",
        10,
        1e-4,
        "NCHW",
        True,
        True,
        32,
        48,
        None,
        official=True,  # in the original's order
    )
    assert options == {
        "run_mode": "EVAL",
        "num_classes": 10,
        "weight_decay": 1e-4,
        "data_format": "NCHW",
        "batch_norm_fused": True,
        "batch_renorm": True,
        "image_height": 32,
        "image_width": 48,
        "preprocess_fn": None,
        "official": True,
    }


def test_a_preprocessing_of_the_users_own_is_passed_on():
    _, options = mox.get_model_fn("net_v1_50", "TRAIN", 10, preprocess_fn=record)
    assert options["preprocess_fn"] is record


@pytest.mark.parametrize("make", [mox.get_model_fn, mox.get_data_augmentation_fn])
@pytest.mark.parametrize("run_mode", ["train", "", None, "EVALUATION"])
def test_a_run_mode_that_mox_does_not_have_is_refused(make, run_mode):
    with pytest.raises(mox.UsageError) as caught:
        make("net_v1_50", run_mode, 10)
    assert str(caught.value) == (
        f"run_mode is {run_mode!r}; it must be one of "
        "mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL, mox.ModeKeys.PREDICT, mox.ModeKeys.EXPORT."
    )


def test_a_data_format_that_mox_does_not_have_is_refused():
    with pytest.raises(mox.UsageError) as caught:
        mox.get_model_fn("net_v1_50", "TRAIN", 10, data_format="channels_last")
    assert str(caught.value) == "data_format is 'channels_last'; it must be 'NHWC' or 'NCHW'."


def test_the_meta_of_a_network_is_known_by_name():
    meta = mox.get_model_meta("net_v1_50")
    assert (meta.default_image_size, meta.default_labels_offset, meta.default_logits_pattern) == (299, 1, "logits")


@pytest.mark.parametrize("name", ["net_v1_50", record])
def test_an_augmentation_is_made_for_a_mode_and_a_size(name):
    assert mox.get_data_augmentation_fn(name, "TRAIN", 224, 192, fast=True) == (
        (),
        {"run_mode": "TRAIN", "output_height": 224, "output_width": 192, "fast": True},
    )
    assert mox.get_data_augmentation_fn(name, "EVAL") == (
        (),
        {"run_mode": "EVAL", "output_height": None, "output_width": None},
    )


@pytest.mark.parametrize("name", ["sgd", record])
def test_an_optimizer_is_made_when_its_function_is_called(name):
    optimizer_fn = mox.get_optimizer_fn(name, learning_rate=0.1, momentum=0.9)
    assert optimizer_fn() == ((0.1,), {"momentum": 0.9})
    assert mox.get_optimizer_fn(name, 0.1, None, 0.5)() == ((0.1, 0.5), {})


def test_an_unknown_optimizer_is_refused_before_it_is_made():
    with pytest.raises(mox.UnknownNameError) as caught:
        mox.get_optimizer_fn("sgdd", 0.1)
    assert str(caught.value) == "unknown optimizer 'sgdd'.\nDid you mean 'sgd'?\nKnown: lost, sgd"


def test_the_module_of_an_optimizer_is_imported_when_its_function_is_called():
    optimizer_fn = mox.get_optimizer_fn("lost", 0.1)
    with pytest.raises(mox.PluginError) as caught:
        optimizer_fn()
    assert str(caught.value) == (
        "optimizer 'lost' cannot be imported from 'demo.lost:make': ModuleNotFoundError: No module named 'demo.lost'"
    )


def test_an_optimizer_without_learning_rate_is_refused():
    with pytest.raises(mox.UsageError) as caught:
        mox.get_optimizer_fn("sgd")
    assert str(caught.value) == (
        "get_optimizer_fn('sgd') lacks learning_rate; "
        "it must be a number, a Keras schedule, a callable of the step, or a tensor."
    )


@pytest.mark.parametrize("name", ["lars", record])
def test_wrappers_nest_around_an_optimizer(name):
    inner = mox.get_optimizer_wrapper_fn(name, "optimizer", ratio=0.001)()
    outer = mox.get_optimizer_wrapper_fn(name, inner, num_batches=8)()
    assert outer == (((("optimizer",), {"ratio": 0.001}),), {"num_batches": 8})


def test_an_option_that_a_wrapper_does_not_have_is_refused_with_those_it_has():
    def slowed(optimizer, *, factor=0.5, period=1):
        return optimizer, factor, period

    assert mox.get_optimizer_wrapper_fn(slowed, "optimizer", period=3)() == ("optimizer", 0.5, 3)
    with pytest.raises(mox.UsageError) as caught:
        mox.get_optimizer_wrapper_fn(slowed, "optimizer", factr=0.1)()
    assert str(caught.value).partition(": ")[2] == (
        "got an unexpected keyword argument 'factr'.\nDid you mean 'factor'?\nOptions: factor, period."
    )


def test_a_data_set_is_opened_by_name():
    assert mox.get_dataset(name="mnist", split_name="train", dataset_dir="/data", capacity=256) == (
        (),
        {"split_name": "train", "dataset_dir": "/data", "capacity": 256},
    )
    assert mox.get_dataset_meta("mnist").num_classes == 10
    assert mox.get_dataset_meta("mnist").splits_to_sizes == {"train": 6, "test": 1}


@pytest.mark.parametrize("look_up", [mox.get_model_meta, mox.get_dataset_meta])
def test_what_is_no_name_is_refused(look_up):
    with pytest.raises(mox.UsageError, match=r"^(network|data set) 3 is no name; it must be a string\.$"):
        look_up(3)


def test_an_exporter_is_found_by_name_or_is_the_users_own_function():
    assert catalog.find_target(ExporterOffer, mox.ExportKeys.TF_SERVING)("model", "folder") == (("model", "folder"), {})
    assert catalog.find_target(ExporterOffer, record) is record


def test_keys_are_the_installed_names():
    assert mox.NetworkKeys.NET_V1_50 == "net_v1_50"
    assert mox.PreprocessingKeys.NET_V1_50 == "net_v1_50"
    assert mox.OptimizerKeys.SGD == "sgd"
    assert mox.ExportKeys.TF_SERVING == "TF_SERVING"
    assert mox.ExportKeys.TF_LITE == "tf-lite"
    assert list(mox.OptimizerKeys) == ["lost", "sgd"]
    assert dir(mox.OptimizerKeys) == ["LOST", "SGD"]
    assert "sgd" in mox.OptimizerKeys
    assert repr(mox.OptimizerKeys) == "OptimizerKeys(lost, sgd)"


def test_a_missing_key_says_what_to_install():
    assert not hasattr(mox.NetworkKeys, "RESNET_V1_50")
    with pytest.raises(AttributeError) as caught:
        mox.NetworkKeys.RESNET_V1_50  # noqa: B018
    assert isinstance(caught.value, mox.UnknownNameError)
    assert as_released(str(caught.value)) == (
        "NetworkKeys has no 'RESNET_V1_50'.\n"
        "Install mox-resnet, which offers 'resnet_v1_50': pip install mox-resnet\n"
        "Known: NET_V1_50"
    )


@pytest.mark.parametrize("asked", ["NETV1_50", "net_v1_50"])
def test_a_misspelt_key_proposes_the_nearest_attribute(asked):
    with pytest.raises(mox.UnknownNameError) as caught:
        getattr(mox.NetworkKeys, asked)
    assert str(caught.value) == f"NetworkKeys has no {asked!r}.\nDid you mean 'NET_V1_50'?\nKnown: NET_V1_50"


def test_a_key_of_two_names_asks_for_the_name(install_fake):
    source = "from mox_core.plugins import *\n@hookimpl\ndef mox_optimizers():\n"
    install_fake("two", "two", source + "    yield OptimizerOffer('SGD', 'two.plugin:make', summary='another')\n")
    with pytest.raises(mox.UnknownNameError) as caught:
        mox.OptimizerKeys.SGD  # noqa: B018
    assert str(caught.value) == "OptimizerKeys.SGD may be 'SGD' or 'sgd'; write the name itself."


def test_which_of_two_plugins_a_name_is_of_is_said_once(install_fake, caplog):
    source = (
        "from mox_core.plugins import *\n@hookimpl\ndef mox_networks():\n"
        "    meta = NetworkMeta(default_image_size=8, default_labels_offset=3)\n"
        "    yield NetworkOffer('net_v1_50', 'polite.plugin:build', summary='another', meta=meta, yields=True)\n"
    )
    install_fake("polite-nets", "polite", source)
    with caplog.at_level("INFO", logger="tensorflow"):
        assert [mox.get_model_meta("net_v1_50").default_labels_offset for _ in range(2)] == [1, 1]
        assert mox.get_model_meta("polite/net_v1_50").default_labels_offset == 3
    assert [record.getMessage() for record in caplog.records] == [
        "network 'net_v1_50' is 'demo/net_v1_50'; there is 'polite/net_v1_50', too."
    ]


def test_a_network_that_returns_logits_alone_has_no_end_points():
    logits = np.zeros([2, 3])  # two images: to unpack it would be no error, and wrong

    def network(**_options):
        return lambda _images: logits

    returned, end_points = mox.get_model_fn(network, mox.ModeKeys.TRAIN, 3)(np.zeros([2, 8, 8, 3]))
    assert returned is logits
    assert end_points == {}


@pytest.mark.parametrize("result", [None, (1, 2, 3), {"logits": 1}])
def test_a_network_that_returns_something_else_is_told_what_a_network_is(result):
    def network(**_options):
        return lambda _images: result

    rule = (
        r"returned .* for its images; a network is a function of images that returns \(logits, end_points\): a tensor"
    )
    with pytest.raises(UsageError, match=rule):
        mox.get_model_fn(network, mox.ModeKeys.TRAIN, 3)(np.zeros([2, 8, 8, 3]))
