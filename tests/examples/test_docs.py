"""What the documents say is true: their Python blocks run, their links lead somewhere, their languages agree.

The blocks of a document run in its order as one session, in a folder that holds `my_images`. A comment on the line
above a block, which does not show when the document is rendered, changes that:

    <!-- not run: reason -->   the block is only shown
    <!-- raises -->            it raises, and the ```text block behind it is the text of the error
    <!-- prints -->            it prints what the ```text block behind it holds
    <!-- runs alone -->        it runs in a process of its own, before the session

A block that begins with a comment like `# samples.py` is that file; plugins (`# src/mox_tiny/plugin.py`) are installed.
`...` in such a ```text block stands for anything. Lines like `STEPS = 2000` run with small numbers.
"""

import json
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import forked

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")])
HOOK_PAGES = sorted(ROOT.glob("docs/hooks/mox_*.md"))
SMALL = {"SIZE": 32, "BATCH": 4, "STEPS": 4}

SESSION = """
import contextlib, io, json, sys
from pathlib import Path

documents, said = {}, {}
for path, how, document in json.loads(Path(sys.argv.pop(1)).read_text("utf-8")):
    names, printed = documents.setdefault(document, {"__name__": "__main__"}), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed) if how == "prints" else contextlib.nullcontext():
            exec(compile(Path(path).read_text("utf-8"), path, "exec"), names)
    except Exception as error:
        if how != "raises":
            raise
        said[path] = str(error)
    else:
        said[path] = printed.getvalue() if how == "prints" else "(no error)"
    Path("said.json").write_text(json.dumps(said), "utf-8")
"""


class Block(NamedTuple):
    language: str
    line: int
    text: str
    how: str


def blocks_of(path):
    lines = path.read_text("utf-8").splitlines()
    found, start = [], None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if start is None:
            start = number
            continue
        above = re.fullmatch(r"<!-- (not run|raises|prints|runs alone)(: .+)? -->", lines[start - 1])
        text = "".join(f"{each}\n" for each in lines[start + 1 : number])
        found.append(Block(lines[start][3:], start + 1, text, above[1] if above else "runs"))
        start = None
    assert start is None, f"{path.name}: the block of line {start} is not closed"
    return found


def file_of(block):
    """The path of the file that a block is, None where it is none."""
    found = re.match(r"# (\S+\.py)\n", block.text) if block.language == "python" else None
    return found and found[1]


def is_run(block):
    return block.language == "python" and block.how != "not run" and not file_of(block)


RUN = [path for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))] if any(map(is_run, blocks_of(path)))]


def files_of(documents):
    return {file_of(block): block.text for document in documents for block in blocks_of(document) if file_of(block)}


def install(files, install_fake):
    """Install the plugins among files; return the folder that they are in."""
    for name, text in files.items():
        if name.endswith("/plugin.py"):
            package = Path(name).parent.name
            site = install_fake(package.replace("_", "-"), package.removeprefix("mox_"), text)
    for name, text in files.items():
        if name.startswith("src/"):
            (site / name.removeprefix("src/")).write_text(text, "utf-8")
    return site


def shrunk(text):
    return re.sub(
        rf"^({'|'.join(SMALL)}) = \d+", lambda found: f"{found[1]} = {SMALL[found[1]]}", text, flags=re.MULTILINE
    )


def prose(path):
    """The text of a document without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def is_like(said, expected):
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("..."))
    return re.fullmatch(pattern, said.strip(), re.DOTALL) is not None


@pytest.fixture
def folder(tmp_path):
    """A folder with images of two classes, of different sizes and formats."""
    random = np.random.default_rng(0)
    for number in range(40):
        path = tmp_path / "my_images" / ("daisy", "rose")[number % 2] / f"{number}.{('jpg', 'png')[number // 2 % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, [40 + number, 60, 3], np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path


def with_path(*folders):
    """The environment, with folders from which Python imports first."""
    path = [*map(str, folders), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def run_blocks(documents, folder, python_path=()):
    """Run the blocks of documents in one process, each document with names of its own; return what the session logs."""
    for name, text in files_of(documents).items():
        if "/" not in name:
            (folder / name).write_text(text, "utf-8")
    steps = [step for document in documents for step in steps_of(document, folder)]
    session = [step for step in steps if step[1] != "runs alone"]
    (folder / "session.json").write_text(json.dumps([step[:3] for step in session]), "utf-8")
    (folder / "session.py").write_text(SESSION, "utf-8")
    programs = [[script] for script, how, *_ in steps if how == "runs alone"]
    for program in [*programs, ["session.py", "session.json"]]:
        run = forked.run(
            [sys.executable, *program],
            env=with_path(*python_path),
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
    said = json.loads((folder / "said.json").read_text("utf-8"))
    for script, _, _, expected in session:
        assert expected is None or is_like(said[script], expected), f"{script} said:\n{said[script]}\nnot:\n{expected}"
    return run.stderr


def steps_of(document, folder):
    """Write each block that is run as a script: (its path, how it is run, the document, what it is to say)."""
    blocks = blocks_of(document)
    for block, behind in zip(blocks, [*blocks[1:], None], strict=True):
        if not is_run(block):
            continue
        script = folder / f"{document.stem}_line_{block.line}.py"
        script.write_text("\n" * block.line + shrunk(block.text), "utf-8")  # lines have their numbers in the document
        expected = behind.text if block.how in {"raises", "prints"} else None
        assert expected is None or behind.language == "text", f"line {block.line} needs a text block behind it"
        yield str(script), block.how, document.stem, expected


@pytest.mark.slow
@pytest.mark.parametrize("document", RUN, ids=lambda path: path.stem)
def test_the_python_blocks_of_a_document_run_as_one_session(document, folder):
    logged = run_blocks([document], folder)
    for warning in re.findall(r"^WARNING:.*$", document.read_text("utf-8"), re.MULTILINE):
        assert warning in logged


@pytest.mark.slow
def test_the_plugins_on_the_pages_of_the_hooks_run_together(install_fake, folder):
    files = files_of(HOOK_PAGES)
    assert len([name for name in files if name.endswith("/plugin.py")]) == len(HOOK_PAGES)
    run_blocks(HOOK_PAGES, folder, [install(files, install_fake)])


@pytest.mark.slow
@pytest.mark.parametrize("documents", [[ROOT / "docs/plugins.md"], HOOK_PAGES], ids=["plugins", "hooks"])
def test_the_plugins_of_a_document_pass_their_tests(documents, install_fake, tmp_path):
    files = files_of(documents)
    site = install(files, install_fake)
    tests = {name: text for name, text in files.items() if name.startswith("tests/")}
    assert tests
    for name, text in tests.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    run = forked.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path / "tests"],
        env=with_path(site),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("page", ["README", "docs/index"])
def test_both_languages_of_a_page_have_the_same_code_sections_and_links(page):
    english, chinese = ROOT / f"{page}.md", ROOT / f"{page}.zh-CN.md"
    languages = {english.name, chinese.name}

    def outline(path):
        links = [target for target in re.findall(r"\]\(([^)]+)\)", prose(path)) if target not in languages]
        return re.findall(r"^#+", prose(path), re.MULTILINE), [link.replace(".zh-CN.md", ".md") for link in links]

    code = [[(block.language, block.text, block.how) for block in blocks_of(path)] for path in (english, chinese)]
    assert code[0] == code[1]
    assert outline(english) == outline(chinese)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_sections_that_exist(document):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", prose(document)):
        if re.match(r"[a-z]+:", target):
            continue
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), f"{document.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
            known = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in known, f"{document.name} links to {target}#{anchor}, and there are {known}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_make_targets_that_a_document_names_exist(document):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^ *)make ([a-z]+)", document.read_text("utf-8"), re.MULTILINE))
    assert named <= targets, named - targets
