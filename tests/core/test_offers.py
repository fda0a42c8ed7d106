import pytest
from attrs.exceptions import FrozenInstanceError

from mox_core.errors import PluginError, UsageError
from mox_core.plugins import (
    ApiOffer,
    CommandOffer,
    DatasetMeta,
    DatasetOffer,
    NetworkMeta,
    NetworkOffer,
    OptimizerOffer,
)
from mox_core.plugins.offers import import_target


def offer(**changes):
    return OptimizerOffer(**{"name": "sgd", "target": "package.module:sgd", "summary": "plain descent"} | changes)


def test_an_offer_is_a_value():
    assert offer() == offer()
    assert hash(offer()) == hash(offer())
    assert offer() != offer(name="adam")
    with pytest.raises(FrozenInstanceError):
        offer().name = "adam"


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a\n", 3, None])
def test_a_name_must_be_a_word_without_slash(name):
    with pytest.raises(UsageError) as caught:
        offer(name=name)
    assert str(caught.value) == (
        f"the name of OptimizerOffer is {name!r}; "
        "it must be a string that is not empty, without spaces and without '/'."
    )


@pytest.mark.parametrize("target", ["", "package", "package.module", "package:a.b", ":sgd", "a..b:c", "a b:c", None])
def test_a_target_must_name_a_module_and_an_object(target):
    with pytest.raises(UsageError) as caught:
        offer(target=target)
    assert str(caught.value) == (
        f"the target of optimizer 'sgd' is {target!r}; it must be a string like 'package.module:object'."
    )


@pytest.mark.parametrize("summary", ["", " ", "two\nlines", None])
def test_a_summary_must_be_one_line(summary):
    with pytest.raises(UsageError) as caught:
        offer(summary=summary)
    assert str(caught.value) == (
        f"the summary of optimizer 'sgd' is {summary!r}; it must be one line that says what it is."
    )


@pytest.mark.parametrize("name", ["", "my-hook", "_Hook", "3D", None])
def test_a_public_name_must_be_an_identifier(name):
    with pytest.raises(UsageError) as caught:
        ApiOffer(name, "a:b", summary="a hook")
    assert str(caught.value) == (
        f"the name of ApiOffer is {name!r}; it must be an identifier without a leading underscore."
    )


@pytest.mark.parametrize("name", ["", "-v", "two words", "a/b", None])
def test_a_command_must_not_look_like_an_option(name):
    with pytest.raises(UsageError) as caught:
        CommandOffer(name, "a:b", summary="a command")
    assert str(caught.value) == (
        f"the name of CommandOffer is {name!r}; "
        "it must be a string that is not empty, without spaces and '/', and does not begin with '-'."
    )


def test_a_network_must_have_its_meta():
    with pytest.raises(UsageError) as caught:
        NetworkOffer("net", "a:b", summary="a network", meta={"default_image_size": 224})
    assert str(caught.value) == ("the meta of network 'net' is {'default_image_size': 224}; it must be a NetworkMeta.")


def test_an_offer_yields_or_does_not():
    with pytest.raises(UsageError, match=r"^yields of optimizer 'sgd' is 'often'; it must be True or False\.$"):
        offer(yields="often")


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "224", None])
def test_a_default_image_size_must_be_a_positive_number(size):
    with pytest.raises(UsageError) as caught:
        NetworkMeta(default_image_size=size, default_labels_offset=0)
    assert str(caught.value) == (
        f"default_image_size of NetworkMeta is {size!r}; it must be a whole number of at least 1."
    )


def test_the_pattern_of_the_logits_is_slims_unless_said_otherwise():
    assert NetworkMeta(224, 1).default_logits_pattern == "logits"


def test_the_splits_of_a_data_set_keep_their_order():
    meta = DatasetMeta(num_classes=10, splits_to_sizes={"train": 60_000, "test": 10_000})
    assert DatasetOffer("mnist", "a:b", summary="digits", meta=meta).meta.splits_to_sizes == {
        "train": 60_000,
        "test": 10_000,
    }
    assert list(meta.splits_to_sizes) == ["train", "test"]


@pytest.mark.parametrize(("split", "size"), [(0, 5), ("train", -1), ("train", "5"), ("train", True)])
def test_the_sizes_of_splits_must_be_numbers(split, size):
    with pytest.raises(UsageError) as caught:
        DatasetMeta(10, {split: size})
    assert str(caught.value) == (
        f"splits_to_sizes of DatasetMeta holds {split!r}: {size!r}; it must map names of splits to numbers of samples."
    )


def test_a_target_is_imported_when_asked_for():
    assert import_target(offer(target="os.path:join")) is __import__("os").path.join


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("not_there:x", "ModuleNotFoundError: No module named 'not_there'"),
        ("os.path:not_there", r"AttributeError: module '\w+' has no attribute 'not_there'"),
    ],
)
def test_a_target_that_cannot_be_imported_is_an_error_with_the_reason(target, reason):
    with pytest.raises(PluginError, match=rf"^optimizer 'sgd' cannot be imported from '{target}': {reason}$") as caught:
        import_target(offer(target=target))
    assert isinstance(caught.value.__cause__, (ImportError, AttributeError))
