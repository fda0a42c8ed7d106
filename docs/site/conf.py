"""The site of these documents, built by `make docs` with Sphinx. They stay plain Markdown that reads well by itself.

Sphinx reads them where they lie, from the root of the repository, so that a link from one to another, to a plugin's
README or to an example is the same in the site and in the tree. What leads nowhere ends the build.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the reference imports what it describes
sys.path.insert(0, str(Path(__file__).parent))

ROOT = Path(__file__).parents[2]

project = "mox"
author = "The mox authors"
copyright = "the mox authors"  # noqa: A001  (Sphinx's name)

extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "plugins/*/README.md", "examples/*/README.md", "benchmarks/*.md"]
exclude_patterns = [".*", "build", "dist"]
myst_heading_anchors = 4
templates_path = ["templates"]

html_theme = "furo"
html_title = "mox"
html_show_sourcelink = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["before_after.css"]
html_additional_pages = {"index": "to_first_page.html"}

NAVIGATION = {
    "Start": [
        "README",
        "docs/guide",
        "docs/weights",
        "docs/state-and-effects",
        "docs/manual",
        "docs/distributed",
        "docs/scaling",
        "docs/files",
        "docs/fine-tuning",
        "docs/report",
        "docs/serving",
        "docs/errors",
    ],
    "Come from elsewhere": ["docs/migrating", "docs/moxing-users"],
    "Publish a plugin": [
        "docs/tutorial",
        "docs/plugins",
        "docs/hooks/index",
        "docs/testing-plugins",
        "examples/extension/README",
    ],
    "Reference": [
        "docs/reference",
        "docs/architecture",
        "docs/tensorflow-internals",
        "benchmarks/README",
        "SECURITY",
        "CONTRIBUTING",
        "CHANGELOG",
    ],
    "中文": ["docs/index.zh-CN", "README.zh-CN"],
}
"""What the side of each page lists. Other pages of docs/ and the plugins' READMEs come behind it."""


def complete(_app: Sphinx, page: str, source: list[str]) -> None:
    """Add to a page what it lacks as a file: the tables of contents, and what docstrings say."""
    if page == root_doc:
        named = {root_doc, *(name for names in NAVIGATION.values() for name in names)}
        pages = [f"docs/{path.stem}" for path in sorted(ROOT.glob("docs/*.md"))]
        plugins = [f"plugins/{path.parent.name}/README" for path in sorted(ROOT.glob("plugins/*/README.md"))]
        more = {"More": [name for name in pages if name not in named], "Plugins": plugins}
        for caption, names in {**NAVIGATION, **more}.items():
            source[0] += _table_of_contents(caption, names) if names else ""
    elif page == "docs/hooks/index":
        hooks = [f"docs/hooks/{path.stem}" for path in sorted(ROOT.glob("docs/hooks/mox_*.md"))]
        source[0] += _table_of_contents("Hooks", hooks)
    elif page == "docs/reference":
        source[0] = re.sub(r"^- `(mox|mox_core\.sdk)\.(\w+)`: (.*)\n*", _entry, source[0], flags=re.MULTILINE)


def _table_of_contents(caption: str, names: list[str]) -> str:
    """As Markdown alone shows it, it would be a block of code."""
    lines = [f":caption: {caption}", ":hidden:", "", *(f"/{name}" for name in names)]
    return "\n".join(["", "", "```{toctree}", *lines, "```", ""])


def _entry(line: re.Match[str]) -> str:
    """What stands in the place of a line `- mox.NAME: ...` or `- mox_core.sdk.NAME: ...` of the reference."""
    import docstrings  # noqa: PLC0415  (beside this file; the path was not there before)

    import mox_core as mox  # noqa: PLC0415  (its names import TensorFlow)
    from mox_core import sdk  # noqa: PLC0415  (as above)

    module, short, summary = line.groups()
    of_sdk = module == "mox_core.sdk"
    described, name = getattr(sdk if of_sdk else mox, short), f"{module}.{short}"
    heading = f"{'####' if of_sdk else '###'} {name}"
    if of_sdk and not (inspect.isclass(described) or inspect.isfunction(described)):  # a constant, or a type
        return f"{heading}\n\n{summary[0].upper()}{summary[1:]}.\n\n"
    signature = docstrings.signature_of(name, described)
    return f"{heading}\n\n```python\n{signature}\n```\n\n{docstrings.as_markdown(described)}\n\n"


def copy_pictures(app: Sphinx, exception: Exception | None) -> None:
    """Copy the pictures that a README shows by HTML, light and dark, of which Sphinx knows nothing."""
    if exception is None:
        shutil.copytree(
            ROOT / "docs/images",
            Path(app.outdir, "docs/images"),
            ignore=shutil.ignore_patterns("*.py"),
            dirs_exist_ok=True,
        )


def setup(app: Sphinx) -> None:
    """Register what this site adds to Sphinx."""
    app.connect("source-read", complete)
    app.connect("build-finished", copy_pictures)
