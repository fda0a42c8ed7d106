import numpy as np
import pytest
from attrs.exceptions import FrozenInstanceError

from mox_core.errors import UsageError
from mox_core.session_hooks import AggregativeSessionRunHook
from mox_core.specs import ExportSpec, ModelSpec


class Tensor:
    """Stands for one: like a symbolic tensor, it refuses to be compared or to be a truth value."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        raise TypeError("no comparison")

    def __bool__(self):
        raise TypeError("no truth value")

    def __repr__(self):
        return "<tensor>"


class Hook(AggregativeSessionRunHook):
    def support_aggregation(self):
        return False

    def support_sync_workers(self):
        return False

    def run_inter_mode(self):
        return False


class ForeignHook:
    def run_inter_mode(self):
        return False


TENSOR = Tensor()


def refusal(make, *args, **kwargs):
    with pytest.raises(UsageError) as caught:
        make(*args, **kwargs)
    return str(caught.value)


def test_everything_in_a_model_spec_is_optional():
    spec = ModelSpec()
    assert (spec.loss, spec.var_scopes, spec.log_info, spec.output_info, spec.export_spec) == (None,) * 5
    assert spec.hooks == ()


def test_a_model_spec_keeps_what_it_is_given():
    hook, export_spec = Hook(), ExportSpec({"images": TENSOR}, {"logits": TENSOR})
    spec = ModelSpec(TENSOR, ["net"], {"loss": TENSOR}, {"logits": TENSOR}, export_spec, [hook])
    assert spec.loss is TENSOR
    assert spec.var_scopes == ["net"]
    assert spec.log_info["loss"] is TENSOR
    assert spec.output_info["logits"] is TENSOR
    assert spec.export_spec is export_spec
    assert spec.hooks == (hook,)


def test_a_spec_cannot_be_changed_and_is_equal_to_itself_alone():
    spec = ModelSpec(loss=TENSOR)
    with pytest.raises(FrozenInstanceError):
        spec.loss = None
    assert spec == spec  # noqa: PLR0124
    assert spec != ModelSpec(loss=TENSOR)


def test_several_losses_have_several_lists_of_scopes():
    spec = ModelSpec(loss=[TENSOR, TENSOR], var_scopes=[["discriminator"], ["generator"]])
    assert spec.var_scopes == [["discriminator"], ["generator"]]


@pytest.mark.parametrize("loss", ["loss", {"loss": 1}, len])
def test_a_loss_that_cannot_be_one_is_refused(loss):
    assert refusal(ModelSpec, loss=loss) == (
        f"loss of ModelSpec is {loss!r}; it must be a scalar tensor or a list of scalar tensors."
    )


@pytest.mark.parametrize("loss", [[], [TENSOR, None]])
def test_a_list_of_losses_must_hold_losses(loss):
    assert refusal(ModelSpec, loss=loss) == (
        f"loss of ModelSpec is {loss!r}; a list of losses must hold a scalar tensor for each."
    )


@pytest.mark.parametrize("scopes", ["net", [""], [["net"]], [3], {"net"}])
def test_the_scopes_of_one_loss_must_be_a_list_of_names(scopes):
    assert refusal(ModelSpec, loss=TENSOR, var_scopes=scopes) == (
        f"var_scopes of ModelSpec is {scopes!r}; it must be a list of names of variable scopes."
    )


def test_the_scopes_of_several_losses_must_be_a_list_for_each():
    rule = "a list of names of variable scopes for each loss."
    assert refusal(ModelSpec, loss=[TENSOR, TENSOR], var_scopes=["d", "g"]) == (
        f"var_scopes of ModelSpec is ['d', 'g']; it must be {rule}"
    )
    assert refusal(ModelSpec, loss=[TENSOR, TENSOR], var_scopes=[["d"]]) == (
        f"var_scopes of ModelSpec has 1 lists, loss has 2; it must be {rule}"
    )


@pytest.mark.parametrize(
    ("loss", "scopes", "said"),
    [
        (TENSOR, [], "var_scopes of ModelSpec is []"),
        ([TENSOR, TENSOR], [["discriminator"], []], "var_scopes[1] of ModelSpec is []"),
    ],
)
def test_a_loss_without_scopes_beside_scopes_is_refused(loss, scopes, said):
    assert refusal(ModelSpec, loss=loss, var_scopes=scopes) == (
        f"{said}: the loss would move nothing. "
        "Name its scopes, or leave var_scopes out: then every loss moves all trainable variables."
    )


def test_none_is_no_list_of_scopes_beside_others():
    assert refusal(ModelSpec, loss=[TENSOR, TENSOR], var_scopes=[["discriminator"], None]) == (
        "var_scopes of ModelSpec is [['discriminator'], None]; "
        "it must be a list of names of variable scopes for each loss."
    )


@pytest.mark.parametrize("name", ["log_info", "output_info"])
def test_infos_must_be_dicts_from_names_to_tensors(name):
    label = f"{name} of ModelSpec"
    assert refusal(ModelSpec, **{name: [TENSOR]}) == f"{label} is [<tensor>]; it must be a dict from names to tensors."
    assert refusal(ModelSpec, **{name: {3: TENSOR}}) == (
        f"{label} has the key 3; keys are names: strings that are not empty."
    )
    assert refusal(ModelSpec, **{name: {"loss": None}}) == (
        f"{label} has None for 'loss'; leave the key out, or give a tensor."
    )


def test_a_dict_is_no_export_spec():
    assert refusal(ModelSpec, export_spec={"a": 1}) == (
        "export_spec of ModelSpec is {'a': 1}; write mox.ExportSpec(inputs_dict={...}, outputs_dict={...})."
    )


def test_hooks_must_be_a_list():
    hook = Hook()
    assert refusal(ModelSpec, hooks=hook) == f"hooks of ModelSpec is {hook!r}; it must be a list of hooks."
    assert ModelSpec(hooks=None).hooks == ()


def test_a_hook_of_another_kind_is_told_what_it_lacks():
    assert refusal(ModelSpec, hooks=[Hook(), ForeignHook()]) == (
        "hooks[1] of ModelSpec is a 'ForeignHook'; derive its class from mox.AggregativeSessionRunHook "
        "and give it support_aggregation, support_sync_workers."
    )


def test_a_class_is_no_hook():
    assert refusal(ModelSpec, hooks=[Hook]) == "hooks[0] of ModelSpec is the class 'Hook'; give an instance of it."


@pytest.mark.parametrize("version", [-1, 0, 1, np.int64(3), 20260131, "model", "v1.2", "1"])
def test_a_version_is_a_number_or_a_folders_name(version):
    assert ExportSpec({"x": TENSOR}, {"y": TENSOR}, version).version == version


@pytest.mark.parametrize("version", [-2, 1.0, True, None, "", ".", "..", "a/b", "a\\b"])
def test_a_version_that_is_neither_is_refused(version):
    assert refusal(ExportSpec, {"x": TENSOR}, {"y": TENSOR}, version) == (
        f"version of ExportSpec is {version!r}; it must be -1 (one more than the highest that exists), "
        "a whole number from 0, or the name of a folder without separators."
    )


@pytest.mark.parametrize("name", ["inputs_dict", "outputs_dict"])
def test_a_signature_must_have_names_and_tensors(name):
    def make(tensors):
        return ExportSpec(**{"inputs_dict": {"x": TENSOR}, "outputs_dict": {"y": TENSOR}, name: tensors})

    label = f"{name} of ExportSpec"
    assert refusal(make, None) == f"{label} is None; it must be a dict from names to tensors."
    assert refusal(make, {}) == f"{label} is empty; an exported model needs at least one."
    assert refusal(make, {"": TENSOR}) == f"{label} has the key ''; keys are names: strings that are not empty."


def test_what_moxings_pruning_made_is_refused_in_words():
    assert refusal(ModelSpec, compressor_spec=7) == (
        "compressor_spec of ModelSpec is 7; it was made by a package of MoXing for pruning that was never public, and "
        "mox prunes no models: leave it out."
    )
    assert ModelSpec(compressor_spec=None) is not None
