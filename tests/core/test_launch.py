"""`mox launch`: what each process is started with, what becomes of its output, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mox_core as mox
from mox_core import cli
from mox_core.commands import launch


def test_each_process_gets_the_flags_of_its_place(stage):
    launcher = stage.start(
        "--workers", "2", "--ps", "1", "--replicas", "3", arguments=["rest", "--rate=1", "--", "--num_gpus=9"]
    )
    puppets = stage.meet(3)
    flags = {puppet.name: puppet.facts["arguments"] for puppet in puppets}
    addresses = flags["ps 0"][2].removeprefix("--worker_hosts=").split(",")
    ps_address = flags["ps 0"][3].removeprefix("--ps_hosts=")
    hosts = [f"--worker_hosts={','.join(addresses)}", f"--ps_hosts={ps_address}"]
    rest = ["rest", "--rate=1", "--", "--num_gpus=9"]
    assert flags == {
        "ps 0": ["--job_name=ps", "--task_index=0", *hosts, *rest],
        "worker 0": ["--job_name=worker", "--task_index=0", *hosts, "--num_gpus=3", *rest],
        "worker 1": ["--job_name=worker", "--task_index=1", *hosts, "--num_gpus=3", *rest],
    }
    assert len({*addresses, ps_address}) == 3
    for puppet, address in zip(puppets, [ps_address, *addresses], strict=True):
        host, port = address.split(":")
        assert host == "127.0.0.1"
        puppet.do(f"server = socket.create_server(('127.0.0.1', {port}))")  # nobody else has it
    for puppet in puppets:
        puppet.exit()
    assert stage.end_of(launcher) == (0, "", "")


def test_without_ps_there_is_no_flag_for_ps(stage):
    launcher = stage.start("--workers", "2")
    puppets = stage.meet(2)
    for index, puppet in enumerate(puppets):
        arguments = puppet.facts["arguments"]
        assert arguments[:2] == ["--job_name=worker", f"--task_index={index}"]
        assert arguments[2].startswith("--worker_hosts=127.0.0.1:")
        assert len(arguments) == 3
        puppet.exit()
    assert stage.end_of(launcher)[0] == 0


@pytest.mark.parametrize(
    ("options", "arguments"),
    [([], []), (["--replicas", "2"], ["--num_gpus=2"]), (["--workers", "1", "--ps", "0", "--replicas", "1"], [])],
)
def test_one_worker_alone_is_no_cluster(stage, options, arguments):
    launcher = stage.start(*options)
    (puppet,) = stage.meet(1)
    assert puppet.facts["arguments"] == arguments
    puppet.do("print('here')")
    puppet.exit()
    assert stage.end_of(launcher) == (0, "worker 0 | here\n", "")


def test_a_worker_with_a_ps_is_a_cluster(stage):
    launcher = stage.start("--ps", "1")
    ps, worker = stage.meet(2)
    assert [len(puppet.facts["arguments"]) for puppet in (ps, worker)] == [4, 4]
    ps.exit()
    worker.exit()
    assert stage.end_of(launcher)[0] == 0


def test_mox_reads_the_flags_in_front_of_the_arguments_of_the_script(tmp_path, capfd):
    script = tmp_path / "train.py"
    script.write_text(
        "import mox_core as mox\n"
        "print(mox.get_flag('job_name'), mox.get_flag('task_index'), mox.get_flag('num_gpus'))\n"
        "print(len(mox.get_flag('worker_hosts').split(',')), mox.get_flag('ps_hosts') != '')\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "mox_core.cli", "launch", "--workers", "2", "--ps", "1", "--replicas", "2", script]
    subprocess.run([*command, "train", "--rate", "0.1"], check=True, timeout=60)
    assert sorted(capfd.readouterr().out.splitlines()) == [
        "ps 0 | 2 True",
        "ps 0 | ps 0 1",
        "worker 0 | 2 True",
        "worker 0 | worker 0 2",
        "worker 1 | 2 True",
        "worker 1 | worker 1 2",
    ]


def test_the_environment_is_that_of_the_launcher_without_buffers_and_other_clusters(stage):
    environment = {**os.environ, "COLOUR": "red", "TF_CONFIG": "{}", "no_proxy": "inside.example"}
    launcher = stage.start(env=environment)
    (puppet,) = stage.meet(1)
    seen = puppet.facts["environment"]
    assert (seen["COLOUR"], seen["PYTHONUNBUFFERED"]) == ("red", "1")
    assert seen["no_proxy"] == seen["NO_PROXY"] == "inside.example,127.0.0.1"
    assert "TF_CONFIG" not in seen
    assert puppet.facts["python"] == sys.executable
    assert puppet.facts["stdin"] == ""  # no process takes what is typed from another
    puppet.exit()
    assert stage.end_of(launcher)[0] == 0


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (None, None, "127.0.0.1"),
        ("", "", "127.0.0.1"),
        ("a.example", None, "a.example,127.0.0.1"),
        (None, "b.example", "b.example,127.0.0.1"),
        ("a.example, 127.0.0.1", "b.example,a.example", "a.example,127.0.0.1,b.example"),
    ],
)
def test_no_proxy_stands_between_the_processes(monkeypatch, lower, upper, expected):
    for name, value in (("no_proxy", lower), ("NO_PROXY", upper)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    environment = launch._environment()
    assert environment["no_proxy"] == environment["NO_PROXY"] == expected


def test_a_no_proxy_that_means_every_host_stays(monkeypatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    environment = launch._environment()
    assert environment["no_proxy"] == "*"
    assert "NO_PROXY" not in environment


def test_output_comes_at_once_and_keeps_to_its_stream(stage):
    launcher = stage.start("--workers", "2")
    first, second = stage.meet(2)
    first.do("print('to stdout')")
    assert launcher.stdout.readline() == b"worker 0 | to stdout\n"
    second.do("print('to stderr', file=sys.stderr)")
    assert launcher.stderr.readline() == b"worker 1 | to stderr\n"
    first.exit()
    second.exit()
    assert stage.end_of(launcher) == (0, "", "")


def test_lines_are_passed_on_whole(stage):
    launcher = stage.start("--workers", "2", constants={"_PATIENCE": 600})
    first, second = stage.meet(2)
    first.do("sys.stdout.write('half')")
    second.do("print('between')")
    assert launcher.stdout.readline() == b"worker 1 | between\n"
    first.do("sys.stdout.write(' a line\\n\\nand no end')")
    assert launcher.stdout.readline() == b"worker 0 | half a line\n"
    assert launcher.stdout.readline() == b"worker 0 | \n"
    first.exit()
    assert launcher.stdout.readline() == b"worker 0 | and no end\n"
    second.do("sys.stdout.buffer.write(bytes([255, 10]))")
    assert launcher.stdout.readline() == b"worker 1 | \xff\n"  # bytes are not looked at
    second.exit()
    assert stage.end_of(launcher) == (0, "", "")


def test_a_progress_bar_is_passed_on_as_it_moves_and_broken_off_where_another_speaks(stage):
    launcher = stage.start("--workers", "2", constants={"_PATIENCE": 0})
    first, second = stage.meet(2)
    first.do("sys.stdout.write('\\r10%')")
    assert launcher.stdout.read(len("worker 0 | 10%")) == b"worker 0 | 10%"  # nobody waits for its end
    first.do("sys.stdout.write('\\r20%')")
    assert launcher.stdout.read(len("\rworker 0 | 20%")) == b"\rworker 0 | 20%"
    second.do("print('between')")
    assert launcher.stdout.readline() + launcher.stdout.readline() == b"\nworker 1 | between\n"
    first.do("sys.stdout.write(' of all')")
    assert launcher.stdout.read(len("worker 0 |  of all")) == b"worker 0 |  of all"
    second.do("sys.stdout.write('50%\\r')")
    assert launcher.stdout.readline() + launcher.stdout.read(len("worker 1 | 50%\r")) == b"\nworker 1 | 50%\r"
    first.do("print()")  # the end of a line that is broken off already
    second.do("sys.stdout.write('\\n')")
    assert launcher.stdout.readline() == b"\n"
    first.exit(3)
    second.exit()
    status, out, err = stage.end_of(launcher)
    assert (status, out) == (3, "")
    assert err.splitlines()[-2:] == ["mox launch: worker 0 failed with exit code 3. Its last lines:", "  20% of all"]


def test_the_ends_of_lines_are_those_of_the_process(stage):
    launcher = stage.start(constants={"_PATIENCE": 600})
    (puppet,) = stage.meet(1)
    puppet.do("sys.stdout.write('one\\r\\n\\r\\n\\ntwo\\r')")
    assert launcher.stdout.read(56) == b"worker 0 | one\r\nworker 0 | \r\nworker 0 | \nworker 0 | two\r"
    puppet.do("sys.stdout.write('\\nthree')")
    puppet.exit()
    assert stage.end_of(launcher) == (0, "\nworker 0 | three\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_an_endless_line_is_passed_on_in_bounded_memory(stage):
    launcher = stage.start()
    (puppet,) = stage.meet(1)
    size = 64 << 20
    puppet.order(f"for _ in range({size >> 16}): sys.stdout.buffer.write(bytes(range(14, 78)) * 1024)")
    begin = launcher.stdout.read(11)
    seen = 0
    while seen < size:
        seen += len(launcher.stdout.read(min(1 << 20, size - seen)))
    status = Path(f"/proc/{launcher.pid}/status").read_text(encoding="utf-8")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert begin == b"worker 0 | "
    assert peak << 10 < size  # as it is with one line of a few bytes: about 25 MB
    assert puppet.hear()
    puppet.exit()
    assert stage.end_of(launcher) == (0, "\n", "")


def test_a_terminal_that_does_not_block_is_waited_for(stage):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    launcher = stage.start(stdout=writer)
    os.close(writer)
    (puppet,) = stage.meet(1)
    puppet.order("for i in range(50_000): print('a line of output', i)")  # more than the pipes between hold
    puppet.order("sys.exit()")
    with os.fdopen(reader, encoding="utf-8") as output:
        lines = output.read().splitlines()
    assert lines == [f"worker 0 | a line of output {number}" for number in range(50_000)]
    assert stage.end_of(launcher) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers", "0", "{script}"], "--workers cannot be 0: it is a whole number, 1 or more."),
        (["--ps", "-1", "{script}"], "--ps cannot be -1: it is a whole number, 0 or more."),
        (["--replicas", "0", "{script}"], "--replicas cannot be 0: it is a whole number, 1 or more."),
        (
            ["not_there.py", "--workers", "2"],
            (
                "script 'not_there.py' does not exist: give the file that each process runs, and its own arguments "
                "behind it. Options of mox launch stand before it."
            ),
        ),
        (
            ["{folder}"],
            (
                "script '{folder}' is no file: give the file that each process runs, and its own arguments behind "
                "it. Options of mox launch stand before it."
            ),
        ),
        (
            ["--workers", "2", "{script}", "--rate=1", "--task_index=1"],
            (
                "'--task_index=1' cannot be an argument of the script: mox launch gives --task_index to each process. "
                "Say --workers, --ps and --replicas before the script, or start the processes yourself."
            ),
        ),
        (
            ["{script}", "-num_gpus", "2"],
            (
                "'-num_gpus' cannot be an argument of the script: mox launch gives --num_gpus to each process. "
                "Say --workers, --ps and --replicas before the script, or start the processes yourself."
            ),
        ),
    ],
)
def test_what_cannot_work_is_refused(tmp_path, capfd, arguments, words):
    script = tmp_path / "train.py"
    script.write_text("print('started')", encoding="utf-8")
    places = {"script": script, "folder": tmp_path}
    assert cli.main(["launch", *(argument.format(**places) for argument in arguments)]) == 2
    assert capfd.readouterr() == ("", f"mox: error: {words.format(**places)}\n")


@pytest.mark.parametrize("name", ["job_name", "task_index", "ps_hosts", "worker_hosts", "num_gpus"])
def test_each_flag_of_the_cluster_is_refused_among_the_arguments(tmp_path, name):
    script = tmp_path / "train.py"
    script.touch()
    with pytest.raises(mox.UsageError, match=f"mox launch gives --{name} to each process"):
        launch.main([str(script), f"--{name}=1"])


@pytest.mark.parametrize("arguments", [[], ["--workers", "two", "train.py"], ["--worker", "2", "train.py"]])
def test_arguments_that_make_no_sense_are_refused_with_the_usage(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        launch.main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: mox launch [-h] [--workers N]")
