"""Names that NumPy has dropped since scripts of TensorFlow 1 were written."""

from __future__ import annotations

from typing import Any, Final

from mox_tf1.views import View, constant, module

_RENAMED: Final = {
    "Inf": "inf",
    "NAN": "nan",
    "NaN": "nan",
    "alltrue": "all",
    "complex_": "complex128",
    "cumproduct": "cumprod",
    "float_": "float64",
    "in1d": "isin",
    "infty": "inf",
    "PINF": "inf",
    "product": "prod",
    "round_": "round",
    "row_stack": "vstack",
    "sometrue": "any",
    "string_": "bytes_",
    "trapz": "trapezoid",
    "unicode_": "str_",
}
"""Dropped names, and those under which NumPy has the same today."""

_TYPES: Final = {"bool": bool, "complex": complex, "float": float, "int": int, "object": object, "str": str}
"""Names that were Python's own types; `numpy.bool` has come back as a type of NumPy."""


def numpy_view() -> View:
    """Return NumPy with the names that it has dropped."""
    numpy = module("numpy")
    own: dict[str, Any] = {name: constant(kind) for name, kind in _TYPES.items()}
    own |= {old: _renamed(old, new) for old, new in _RENAMED.items()}
    own |= {
        "NINF": lambda: -numpy().inf,
        "asscalar": constant(lambda array: array.item()),
        "long": constant(int),
        "msort": lambda: lambda array: numpy().sort(array, axis=0),
        "random": _random_view,
        "unicode": constant(str),
    }
    return View("numpy", own, behind=numpy, submodules=True)


def _renamed(old: str, new: str) -> Any:
    def find() -> Any:
        numpy = module("numpy")()
        return getattr(numpy, new) if hasattr(numpy, new) else getattr(numpy, old)

    return find


def _random_view() -> View:
    real = module("numpy.random")

    def random_integers(low: int, high: int | None = None, size: Any = None) -> Any:
        """Draw whole numbers from low to high, high included; from 1 to low where high is not given."""
        low, high = (1, low) if high is None else (low, high)
        return real().randint(low, high + 1, size)

    return View("numpy.random", {"random_integers": constant(random_integers)}, behind=real)
