"""What commands show on a terminal: a real one, of the kernel. What pipes read is tested beside each command."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios

import pytest

import forked
from mox_core.terminal import pages

STYLE = re.compile(r"\x1b\[([0-9;]*)m")

LONG = """
from mox_core.plugins import *

@hookimpl
def mox_commands():
    yield CommandOffer("zoo", "zoo.plugin:main", summary="fetches networks that others have trained " + "or not " * 9)

@hookimpl
def mox_exporters():
    for number in range(20):
        yield ExporterOffer(f"FORMAT_{number}", "zoo.plugin:main", summary="a format")

def main(arguments):
    '''Fetch what there is, from wherever it is, with a line that is longer than sixty characters.'''
"""


@pytest.fixture
def on_terminal(install_fake):
    """Runs `mox` on a terminal of some width beside one plugin; returns the lines and the styles that it is sent."""
    folder = install_fake("zoo", "zoo", LONG)
    program = f"""
import importlib_metadata, sys
from mox_core.plugins import loader
loader.find_distributions = lambda: importlib_metadata.distributions(path=[{str(folder)!r}])
from mox_core import cli
sys.exit(cli.main(sys.argv[1:]))
"""

    def run(width, *arguments, **environ):
        mine, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
        kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
        process = forked.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=its,
            stdout=its,
            stderr=its,
            env={**kept, "TERM": "xterm-256color", "PYTHONPATH": str(folder), "MOX_STRICT_PLUGINS": "0", **environ},
        )
        os.close(its)
        written = b""
        while True:
            try:
                written += os.read(mine, 1 << 16)
            except OSError:  # the other end is closed
                break
        os.close(mine)
        assert process.wait() == 0, written.decode()
        text = written.decode().replace("\r\n", "\n")
        return [line.rstrip() for line in STYLE.sub("", text).splitlines()], set(STYLE.findall(text)) - {"0"}

    return run


@pytest.mark.parametrize("width", [60, 100, 140])
@pytest.mark.parametrize("arguments", [(), ("plugins",), ("plugins", "-v"), ("show", "command", "zoo")])
def test_no_line_is_wider_than_the_terminal(on_terminal, width, arguments):
    lines, styles = on_terminal(width, *arguments)
    assert max(map(len, lines)) <= width
    assert any(style.endswith("36") for style in styles)  # names are cyan


def test_the_commands_stand_in_one_table(on_terminal):
    lines, _ = on_terminal(100)
    start = lines.index("") + 1
    (heading,) = [line for line in lines[start:] if line.startswith("  command ")]
    column = heading.index("what it does")
    rows = lines[lines.index(heading) + 1 : lines.index("", lines.index(heading))]
    assert [row[2:column].strip() for row in rows if row[2] != " "] == [
        *("plugins", "show", "doctor", "new-plugin", "check", "predict", "weights", "launch", "zoo"),
    ]
    assert {row[column - 2 : column] for row in rows} == {"  "}
    first, second = rows[-2:]  # the long summary goes on below itself
    assert first[column:].startswith("fetches networks that others")
    assert first.endswith("  zoo")
    assert second[:column].isspace()


def test_offers_stand_below_each_other_and_docstrings_go_on_where_they_begin(on_terminal):
    lines, _ = on_terminal(60, "plugins")
    assert lines[0] == "zoo  zoo 1.0  ready"
    assert lines[1].startswith("  mox_exporters  FORMAT_0, FORMAT_1")
    assert lines[2].startswith("                 FORMAT_")
    assert lines[-1] == "  mox_commands   zoo"
    lines, _ = on_terminal(60, "show", "command", "zoo")
    assert lines[-2:] == [
        "  Fetch what there is, from wherever it is, with a line that",
        "  is longer than sixty characters.",
    ]


def test_colours_are_left_out_where_the_user_says_so(on_terminal):
    coloured, styles = on_terminal(100, "plugins")
    plain, others = on_terminal(100, "plugins", NO_COLOR="1")
    assert plain == coloured
    assert {number for style in styles for number in style.split(";")} & {"32", "36"}
    assert not {number for style in others for number in style.split(";")} & {"32", "36"}
    dumb, none = on_terminal(100, "plugins", TERM="dumb")
    assert none == set()
    assert dumb[-1] == "  mox_commands: zoo"


def test_columns_stand_below_each_other_where_characters_are_two_wide():
    rows = [["日落", "1"], ["sunset", "2"], ["cafe\u0301", "3"]]
    assert list(pages.aligned(pages.Table(rows, indent=0))) == ["日落    1", "sunset  2", "cafe\u0301    3"]
