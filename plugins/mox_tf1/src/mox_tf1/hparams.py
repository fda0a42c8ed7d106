"""`tf.contrib.training.HParams`: parameters of a model with their types, as a script and its command line set them."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from mox_core.did_you_mean import did_you_mean, nearest

_ASSIGNMENT: Final = re.compile(r"\s*([A-Za-z_]\w*)(?:\[(\d+)\])?\s*=\s*(\[[^\]]*\]|[^,\[]*)\s*(?:,|$)")


class HParams:
    """Parameters as attributes. A value keeps the type with which its parameter was made.

    Args:
        values: the parameters by name.
    """

    def __init__(self, **values: Any) -> None:
        self._names: dict[str, tuple[type, bool]] = {}
        for name, value in values.items():
            self.add_hparam(name, value)

    def add_hparam(self, name: str, value: Any) -> None:
        """Add a parameter; a list holds values of one type."""
        if hasattr(self, name):
            raise ValueError(f"Hyperparameter name is reserved: {name}")
        several = isinstance(value, (list, tuple))
        if several and not value:
            raise ValueError(f"Multi-valued hyperparameters cannot be empty: {name}")
        self._names[name] = (type(value[0] if several else value), several)
        setattr(self, name, list(value) if several else value)

    def set_hparam(self, name: str, value: Any) -> None:
        """Set a parameter that is there."""
        kind, several = self._known(name)
        if several != isinstance(value, (list, tuple)):
            raise ValueError(f"{name} is {'a list' if several else 'no list'}, and was given {value!r}.")
        setattr(self, name, [_as(kind, each, name) for each in value] if several else _as(kind, value, name))

    def del_hparam(self, name: str) -> None:
        """Remove a parameter, if it is there."""
        if self._names.pop(name, None) is not None:
            delattr(self, name)

    def parse(self, values: str) -> HParams:
        """Set parameters by text: 'rate=0.1,units=[4,5],units[1]=6'."""
        place = 0
        while place < len(values):
            match = _ASSIGNMENT.match(values, place)
            if match is None or match.end() == place:
                raise ValueError(f"Malformed hyperparameter value: {values[place:]}")
            name, index, text = match.groups()
            kind, several = self._known(name)
            if text.startswith("["):
                self.set_hparam(name, [_parsed(kind, each.strip(), name) for each in text[1:-1].split(",")])
            elif index is not None:
                getattr(self, name)[int(index)] = _parsed(kind, text.strip(), name)
            else:
                value = _parsed(kind, text.strip(), name)
                self.set_hparam(name, [value] if several else value)
            place = match.end()
        return self

    def override_from_dict(self, values: dict[str, Any]) -> HParams:
        """Set parameters by a dict."""
        for name, value in values.items():
            self.set_hparam(name, value)
        return self

    def parse_json(self, values: str) -> HParams:
        """Set parameters by JSON."""
        return self.override_from_dict(json.loads(values))

    def values(self) -> dict[str, Any]:
        """Return the parameters by name."""
        return {name: getattr(self, name) for name in self._names}

    def to_json(self, indent: int | None = None, separators: Any = None, sort_keys: bool = False) -> str:  # noqa: FBT001, FBT002
        """Return the parameters as JSON."""
        return json.dumps(self.values(), indent=indent, separators=separators, sort_keys=sort_keys)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a parameter, or a default where it is not there."""
        return getattr(self, key) if key in self._names else default

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def __repr__(self) -> str:
        return f"HParams({sorted(self.values().items())})"

    def _known(self, name: str) -> tuple[type, bool]:
        if name not in self._names:
            hint = did_you_mean(nearest(name, self._names))
            raise ValueError(" ".join(filter(None, [f"Unknown hyperparameter name: {name}.", hint])))
        return self._names[name]


def _as(kind: type, value: Any, name: str) -> Any:
    """Return a value with the type of its parameter, as far as nothing is lost by it."""
    if value is None or kind is type(None) or (isinstance(value, kind) and (kind is bool or type(value) is not bool)):
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError(f"Could not cast hyperparameter {name!r} of type {kind.__name__} from value {value!r}.")


def _parsed(kind: type, text: str, name: str) -> Any:
    if kind is bool:
        truth = {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
        if truth is None:
            raise ValueError(f"Could not parse hyperparameter {name!r} of type bool from {text!r}.")
        return truth
    try:
        return kind(text)
    except (TypeError, ValueError):
        raise ValueError(f"Could not parse hyperparameter {name!r} of type {kind.__name__} from {text!r}.") from None
