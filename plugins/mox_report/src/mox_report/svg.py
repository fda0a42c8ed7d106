"""A figure of Matplotlib as SVG inside of a page: in the page's font and, by its stylesheet, in its colours.

Figures are drawn in colours that stand for variables of the stylesheet, so that one drawing serves light and dark.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from mox_report.reading import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

INK, MUTED, GRID, SURFACE, ACCENT = "#010101", "#020202", "#030303", "#040404", "#050505"
SERIES: Final = tuple(f"#0100{number:02x}" for number in range(1, 7))
_VARIABLES: Final = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    SURFACE: "var(--surface)",
    ACCENT: "var(--accent)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, 1)},
}
_COLOUR: Final = re.compile("|".join(_VARIABLES))
_FONT: Final = re.compile(r"font: (?:\w+ )?([\d.]+px) [^;]*")
_SETTINGS: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # text stays text: it is found, copied and read aloud
    "svg.hashsalt": "mox",  # the same figure gives the same page
    "text.parse_math": False,  # names with dollar signs
    "text.usetex": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # it comes with Matplotlib; the page's own is a little narrower
    "font.size": 9.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
    "ytick.left": False,
    "path.simplify_threshold": 0.3,
}
_NAMESPACE: Final = re.compile(r"\{.*\}")


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Draw as pages want it for the block."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # not as the user's matplotlibrc says
        mpl.rcParams.update(_SETTINGS)
        warnings.filterwarnings("ignore", category=UserWarning, module="matplotlib")  # letters that its font lacks
        yield


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure of a size in inches, and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot(facecolor="none")
    return figure, axes


def svg_of(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an element of a page.

    Args:
        figure: the figure.
        name: what the ids in it begin with, another one for each figure of a page.
        description: what it shows, for those who do not see it.
    """
    file = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    root = ET.fromstring(file.getvalue())  # noqa: S314
    for element in list(root.iter()):
        _adapt(element, name)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.attrib |= {"role": "img", "aria-label": printable(description)}
    for parent in list(root.iter()):
        for child in [each for each in parent if each.tag in {"metadata", "style"}]:  # a style would be the page's
            parent.remove(child)
    return ET.tostring(root, encoding="unicode", short_empty_elements=False)


def _adapt(element: ET.Element, name: str) -> None:
    """Take namespaces from an element, begin its ids with a name, and put variables in the place of colours."""
    element.tag = _NAMESPACE.sub("", element.tag)
    given = {_NAMESPACE.sub("", key): value for key, value in element.attrib.items()}
    element.attrib.clear()
    for key, value in given.items():
        if key == "id":
            element.set(key, f"{name}-{value}")
        elif key == "href":
            element.set(key, value.replace("#", f"#{name}-"))
        elif key == "clip-path":
            element.set(key, value.replace("url(#", f"url(#{name}-"))
        elif key == "style":
            coloured = _COLOUR.sub(lambda match: _VARIABLES[match[0]], value)
            element.set(key, _FONT.sub(r"font-size: \1", coloured))
        else:
            element.set(key, value)
