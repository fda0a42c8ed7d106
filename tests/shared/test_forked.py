"""`forked`: its processes are like those of `subprocess`, but that TensorFlow is there when they start."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import forked


def run(*command, **options):
    return forked.run([sys.executable, *command], **{"capture_output": True, "text": True} | options)


def says(program, *arguments, **options):
    """What a program prints, as JSON."""
    return json.loads(run("-c", f"import json, os, sys; print(json.dumps({program}))", *arguments, **options).stdout)


def test_tensorflow_is_there_and_has_not_computed_and_mox_is_not():
    program = "from tensorflow.python.eager import context; import sys; print(context._context, *sys.modules)"
    used, *modules = run("-c", program).stdout.split()
    assert used == "None"
    assert {"tensorflow", "keras", "numpy"} <= set(modules)
    assert not [name for name in modules if name.startswith("mox")]


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("", 0),
        ("import sys; sys.exit(7)", 7),
        ("import os; os._exit(3)", 3),
        ("1 / 0", 1),
        ("import sys; sys.exit('words')", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import os; os.abort()", -signal.SIGABRT),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
    ],
)
def test_a_process_ends_as_one_that_is_started(program, code):
    ends = [start([sys.executable, "-c", program], capture_output=True) for start in (forked.run, subprocess.run)]
    assert [end.returncode for end in ends] == [code] * 2
    assert [end.stdout for end in ends] == [b""] * 2
    assert [end.stderr.splitlines()[-1:] for end in ends[:1]] == [end.stderr.splitlines()[-1:] for end in ends[1:]]


SEEN = """
import json, os, sys
import __main__

def here():
    pass

seen = {
    "argv": sys.argv[1:], "name": __name__, "main": __main__.here is here and __main__.__dict__ is globals(),
    "cwd": os.getcwd(), "environ": dict(os.environ), "first": sys.path[0], "file": globals().get("__file__"),
    "stdin": sys.stdin.read(), "path": [each for each in sys.path if each.endswith("/given")],
}
print(json.dumps(seen))
print("beside", file=sys.stderr)
"""


@pytest.mark.parametrize("how", ["script", "module", "program"])
def test_it_sees_what_one_that_is_started_sees(how, tmp_path):
    (tmp_path / "seen.py").write_text(SEEN, "utf-8")
    (tmp_path / "given").mkdir()
    command = {"script": [tmp_path / "seen.py"], "module": ["-m", "seen"], "program": ["-c", SEEN]}[how]
    environ = {**os.environ, "COLOUR": "red", "PYTHONPATH": str(tmp_path / "given")}
    environ.pop("TERM", None)
    ends = [
        start(
            [sys.executable, *command, "--a", "b c", ""],
            cwd=tmp_path,
            env=environ,
            input="words",
            capture_output=True,
            text=True,
            check=True,
        )
        for start in (forked.run, subprocess.run)
    ]
    seen, of_a_real_one = (json.loads(end.stdout) for end in ends)
    for name in seen["environ"].keys() - of_a_real_one["environ"].keys():
        del seen["environ"][name]  # TensorFlow sets some as it is imported
    assert seen == of_a_real_one
    assert seen["argv"] == ["--a", "b c", ""]
    assert seen["environ"]["COLOUR"] == "red"
    assert [end.stderr for end in ends] == ["beside\n"] * 2


def test_nothing_of_one_process_is_left_in_the_next():
    program = "import json, os; json.mine = 1; os.environ['MINE'] = '1'; os.chdir('/')"
    assert run("-c", program).returncode == 0
    assert says("[hasattr(json, 'mine'), 'MINE' in os.environ, os.getcwd()]") == [False, False, str(Path.cwd())]


def test_random_numbers_differ_from_process_to_process():
    program = "[__import__('random').random(), __import__('numpy').random.rand()]"
    first, second = says(program), says(program)
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_what_is_read_at_the_start_is_read():
    program = "import json, sys; print(json.dumps([sys.warnoptions, hash('a')]))"
    environ = {**os.environ, "PYTHONHASHSEED": "1"}
    command = ["-W", "error", "-c", program]
    told = [json.loads(run(*command, env=environ).stdout) for _ in range(2)]
    real = subprocess.run([sys.executable, *command], env=environ, capture_output=True, check=True)
    assert told == [json.loads(real.stdout)] * 2
    assert told[0][0] == ["error"]


def test_a_process_is_a_child_and_open_to_signals():
    command = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(99)"]
    with forked.Popen(command, stdout=forked.PIPE) as process:
        assert process.stdout.readline() == b"1\n"
        assert process.poll() is None
        assert f"PPid:\t{os.getpid()}\n" in Path(f"/proc/{process.pid}/status").read_text("utf-8")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM
    with pytest.raises(forked.TimeoutExpired):
        run("-c", "import time; time.sleep(99)", timeout=0.1)


def test_several_run_at_once_and_none_keeps_the_streams_of_another_open():
    command = [sys.executable, "-c", "import sys; print(sys.stdin.read())"]
    with contextlib.ExitStack() as stack:
        options = {"stdin": forked.PIPE, "stdout": forked.PIPE, "text": True}
        processes = [stack.enter_context(forked.Popen(command, **options)) for _ in range(3)]
        for number, process in enumerate(processes):
            assert process.communicate(str(number), timeout=60) == (f"{number}\n", None)
    assert says("sorted(map(int, os.listdir('/proc/self/fd')))[:3]") == [0, 1, 2]


def test_what_it_cannot_do_is_refused():
    with pytest.raises(AssertionError, match="use subprocess"):
        forked.run(["true"])
    with pytest.raises(AssertionError, match=r"knows no \['start_new_session'\]: use subprocess"):
        run("-c", "", start_new_session=True)


ASKING = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import forked

server = forked.Server((), {})
process = server.fork({"command": ["-c", "print('here', flush=True)"], "cwd": "/", "environ": {}}, [0, 1, 2])
os.waitpid(process, 0)
print(server.pid, flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_the_server_ends_with_the_process_that_asks_even_if_that_is_killed():
    command = [sys.executable, "-c", ASKING, str(Path(forked.__file__).parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout.readline() == "here\n"
        server = os.pidfd_open(int(asking.stdout.readline()))
        asking.communicate("\n", timeout=30)
    assert asking.returncode == -signal.SIGKILL
    assert select.select([server], [], [], 30)[0], "the server is still there"
    os.close(server)


def test_a_server_that_has_ended_is_told_with_what_it_said():
    server = forked.Server(("-X", "importtime"), {})
    os.kill(server.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"(?s)^the fork server has ended:\n.*import time:|ended:\n$"):
        server.fork({"command": ["-c", ""], "cwd": "/", "environ": {}}, [0, 1, 2])
    server.close()
