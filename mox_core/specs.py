"""What `input_fn` and `model_fn` return: `InputSpec`, `ModelSpec` and `ExportSpec`.

TensorFlow is not imported: the engine checks the tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from mox_core.errors import UsageError
from mox_core.session_hooks import AggregativeSessionRunHook, missing_methods
from mox_core.whole_numbers import is_whole_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from attrs import Attribute


def _check_tensors(spec: object, attribute: Attribute[Any], tensors: object) -> None:
    label = f"{attribute.name} of {type(spec).__name__}"
    if not isinstance(tensors, dict):
        raise UsageError(f"{label} is {tensors!r}; it must be a dict from names to tensors.")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not name:
            raise UsageError(f"{label} has the key {name!r}; keys are names: strings that are not empty.")
        if tensor is None:
            raise UsageError(f"{label} has None for {name!r}; leave the key out, or give a tensor.")


def _check_tensors_if_any(spec: object, attribute: Attribute[Any], tensors: object) -> None:
    if tensors is not None:
        _check_tensors(spec, attribute, tensors)


def _check_signature(spec: object, attribute: Attribute[Any], tensors: object) -> None:
    _check_tensors(spec, attribute, tensors)
    if not tensors:
        raise UsageError(f"{attribute.name} of {type(spec).__name__} is empty; an exported model needs at least one.")


def _check_version(_spec: object, _attribute: Attribute[Any], version: object) -> None:
    if is_whole_number(version, least=-1):
        return
    if isinstance(version, str) and version not in ("", ".", "..") and not set(version) & set("/\\"):
        return
    raise UsageError(
        f"version of ExportSpec is {version!r}; it must be -1 (one more than the highest that exists), "
        "a whole number from 0, or the name of a folder without separators."
    )


def _check_class_names(_spec: object, _attribute: Attribute[Any], names: object) -> None:
    if names is None or (isinstance(names, (list, tuple)) and names and all(isinstance(n, str) and n for n in names)):
        return
    raise UsageError(f"class_names of ExportSpec is {names!r}; it must be a list of names by label, or None.")


def _check_loss(_spec: object, _attribute: Attribute[Any], loss: object) -> None:
    if isinstance(loss, (str, dict, set)) or callable(loss):
        raise UsageError(f"loss of ModelSpec is {loss!r}; it must be a scalar tensor or a list of scalar tensors.")
    if isinstance(loss, (list, tuple)) and (not loss or any(one is None for one in loss)):
        raise UsageError(f"loss of ModelSpec is {loss!r}; a list of losses must hold a scalar tensor for each.")


def _check_var_scopes(spec: ModelSpec, _attribute: Attribute[Any], scopes: object) -> None:
    if scopes is None:
        return
    several = isinstance(spec.loss, (list, tuple))
    groups = scopes if several else [scopes]
    rule = "a list of names of variable scopes for each loss" if several else "a list of names of variable scopes"
    if not isinstance(groups, (list, tuple)) or not all(map(_are_names, groups)):
        raise UsageError(f"var_scopes of ModelSpec is {scopes!r}; it must be {rule}.")
    if several and len(groups) != len(spec.loss):
        raise UsageError(
            f"var_scopes of ModelSpec has {len(groups)} lists, loss has {len(spec.loss)}; it must be {rule}."
        )
    for number, names in enumerate(groups):
        if not names:
            raise UsageError(
                f"var_scopes{f'[{number}]' if several else ''} of ModelSpec is {names!r}: the loss would move nothing. "
                "Name its scopes, or leave var_scopes out: then every loss moves all trainable variables."
            )


def _are_names(names: object) -> bool:
    return isinstance(names, (list, tuple)) and all(isinstance(name, str) and name for name in names)


def _check_export_spec(_spec: object, _attribute: Attribute[Any], export_spec: object) -> None:
    if export_spec is not None and not isinstance(export_spec, ExportSpec):
        raise UsageError(
            f"export_spec of ModelSpec is {export_spec!r}; "
            "write mox.ExportSpec(inputs_dict={...}, outputs_dict={...})."
        )


def _refuse_compressor_spec(_spec: object, _attribute: Attribute[Any], compressor_spec: object) -> None:
    if compressor_spec is not None:
        raise UsageError(
            f"compressor_spec of ModelSpec is {compressor_spec!r}; it was made by a package of MoXing for pruning that "
            "was never public, and mox prunes no models: leave it out."
        )


def _to_tuple(hooks: Sequence[Any] | None) -> tuple[Any, ...]:
    if hooks is None:
        return ()
    if not isinstance(hooks, (list, tuple)):
        raise UsageError(f"hooks of ModelSpec is {hooks!r}; it must be a list of hooks.")
    return tuple(hooks)


def _check_hooks(_spec: object, _attribute: Attribute[Any], hooks: tuple[object, ...]) -> None:
    for number, hook in enumerate(hooks):
        if isinstance(hook, AggregativeSessionRunHook):
            continue
        if isinstance(hook, type):
            raise UsageError(f"hooks[{number}] of ModelSpec is the class {hook.__name__!r}; give an instance of it.")
        missing = missing_methods(type(hook))
        also = f" and give it {', '.join(missing)}" if missing else ""
        raise UsageError(
            f"hooks[{number}] of ModelSpec is a {type(hook).__name__!r}; "
            f"derive its class from mox.AggregativeSessionRunHook{also}."
        )


class InputSpec:
    """Several inputs, each a list of tensors: `input_fn` may return it, and `model_fn` is then given one.

        def input_fn(mode):
            inputs = mox.InputSpec(split_to_device=True)
            inputs.new_input([image, label])
            return inputs

        def model_fn(inputs, mode):
            images, labels = inputs.get_input(0)

    Args:
        split_to_device: whether the devices of `--num_gpus` share one batch, each with a part of it. By default each
            has a batch of its own, as it has without an InputSpec. Nothing changes on one device.

    Raises:
        UsageError: if it is neither True nor False.
    """

    def __init__(self, split_to_device: bool = False) -> None:  # noqa: FBT001, FBT002  (the original's)
        if type(split_to_device) is not bool:
            raise UsageError(f"InputSpec: split_to_device is {split_to_device!r}; it must be True or False.")
        self.split_to_device = split_to_device
        self.inputs: list[list[Any]] = []

    def __repr__(self) -> str:
        return f"mox.InputSpec(split_to_device={self.split_to_device}) with {len(self.inputs)} inputs"

    def new_input(self, tensors: Any) -> None:
        """Add an input.

        Args:
            tensors: a list of what may be an input: tensors, or structures of them. A single one is taken as a list.

        Raises:
            UsageError: if the list is empty, or holds a dataset.
        """
        added = list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
        if not added:
            raise UsageError("InputSpec: new_input was given no tensors.")
        if any(hasattr(each, "element_spec") for each in added):
            raise UsageError(
                "InputSpec: new_input was given a dataset, and takes tensors: write "
                "inputs.new_input(mox.get_next(dataset)), or return the dataset itself from input_fn."
            )
        self.inputs.append(added)

    def get_input(self, index: int) -> list[Any]:
        """Return the tensors of an input, in the order in which `new_input` was called.

        Args:
            index: its number, from 0.

        Raises:
            UsageError: if there are not so many.
        """
        if not is_whole_number(index, least=0) or index >= len(self.inputs):
            raise UsageError(f"InputSpec: there is no input {index!r}; there are {len(self.inputs)}, numbered from 0.")
        return self.inputs[index]


@frozen(eq=False)  # tensors have no plain equality
class ExportSpec:
    """The inputs and outputs of an exported model, under the names that its users feed and read.

    Attributes:
        inputs_dict: a dict from names to tensors: elements of `model_fn`'s `inputs`, or tensors computed from them.
        outputs_dict: a dict from names to tensors that depend on the inputs and on variables. What else of `inputs` and
            of the model's placeholders they depend on becomes a further input, and a warning names it.
        version: name of the model's folder in `log_dir`: a whole number from 0, a str without separators, or -1 for one
            more than the highest number that exists (1 if none does).
        class_names: the names of the classes by label, which an export of TF_SERVING carries for `mox predict`. None:
            those of the data set that `input_fn` reads, if it tells them.

    Raises:
        UsageError: if an attribute has another form; both dicts must have at least one entry.
    """

    inputs_dict: Mapping[str, Any] = field(validator=_check_signature)
    outputs_dict: Mapping[str, Any] = field(validator=_check_signature)
    version: int | str = field(default=-1, validator=_check_version)
    class_names: Sequence[str] | None = field(default=None, validator=_check_class_names, kw_only=True)


@frozen(eq=False)
class ModelSpec:
    """The model that `model_fn` returns. TRAIN needs loss, EVAL log_info, PREDICT output_info, EXPORT export_spec.

    Attributes:
        loss: a scalar tensor, or a list of them, each with an optimizer of its own.
        var_scopes: a list of names of variable scopes, whose trainable variables the loss updates; None: all trainable
            variables. With a list of losses, a list of such lists.
        log_info: a dict from names to scalar tensors and metrics, which are logged every `log_every_n_steps` steps and
            written as summaries. EVAL computes the means of tensors over the samples, and reads metrics once: those of
            `keras.metrics`, their results, and pairs (value, update_op) of `tf.compat.v1.metrics`.
        output_info: a dict from names to tensors, whose values are passed to `output_fn` as arrays.
        export_spec: a `mox.ExportSpec`, the inputs and outputs of the exported model.
        hooks: a list of instances of subclasses of `mox.AggregativeSessionRunHook`.
        compressor_spec: None; MoXing took here what its own pruning had made.

    Raises:
        UsageError: if an attribute has another form.
    """

    loss: Any = field(default=None, validator=_check_loss)
    var_scopes: Sequence[str] | Sequence[Sequence[str]] | None = field(default=None, validator=_check_var_scopes)
    log_info: Mapping[str, Any] | None = field(default=None, validator=_check_tensors_if_any)
    output_info: Mapping[str, Any] | None = field(default=None, validator=_check_tensors_if_any)
    export_spec: ExportSpec | None = field(default=None, validator=_check_export_spec)
    hooks: tuple[AggregativeSessionRunHook, ...] = field(default=(), converter=_to_tuple, validator=_check_hooks)
    compressor_spec: None = field(default=None, kw_only=True, validator=_refuse_compressor_spec, repr=False)
