"""How a job of `mox launch` ends: by itself, by a failure, by a signal, or with its launcher."""

import os
import select
import signal
import sys

import pytest

TAKE_TERMINAL = "import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)"


@pytest.mark.parametrize("failing", ["worker 0", "worker 1", "ps 0"])
def test_one_that_fails_ends_all(stage, failing):
    launcher = stage.start("--workers", "2", "--ps", "1")
    puppets = stage.meet(3)
    (bad,) = (puppet for puppet in puppets if puppet.name == failing)
    others = [puppet for puppet in puppets if puppet is not bad]
    for puppet in others:
        puppet.do("report_signals()")
    bad.do("print('before')")
    bad.do("print('why', file=sys.stderr)")
    bad.exit(3)
    for puppet in others:
        assert puppet.hear() == {"signal": signal.SIGTERM}
        puppet.exit()
    status, out, err = stage.end_of(launcher)
    assert (status, out) == (3, f"{failing} | before\n")
    lines = err.splitlines()
    assert f"mox launch: {failing} failed with exit code 3; ending the others." in lines
    assert lines[-3] == f"mox launch: {failing} failed with exit code 3. Its last lines:"
    assert sorted(lines[-2:]) == ["  before", "  why"]  # of two streams


def test_the_exit_code_is_that_of_the_first_that_failed(stage):
    launcher = stage.start("--workers", "2")
    first, second = stage.meet(2)
    second.do("report_signals()")
    first.exit(3)
    assert second.hear() == {"signal": signal.SIGTERM}
    second.exit(4)
    status, _, err = stage.end_of(launcher)
    assert status == 3
    assert err.endswith("mox launch: worker 0 failed with exit code 3. It printed nothing.\n")


def test_the_last_twenty_lines_are_repeated(stage):
    launcher = stage.start()
    (puppet,) = stage.meet(1)
    puppet.do("for i in range(30): print(f'line {i}')")
    puppet.exit(1)
    status, out, err = stage.end_of(launcher)
    assert status == 1
    assert len(out.splitlines()) == 30
    assert err.splitlines() == [
        "mox launch: worker 0 failed with exit code 1. Its last lines:",
        *(f"  line {number}" for number in range(10, 30)),
    ]


def test_last_lines_in_sight_are_not_repeated_and_those_far_above_are(stage):
    for number, repeated in (
        (30, ["mox launch: worker 0 failed with exit code 1."]),
        (50, ["mox launch: worker 0 failed with exit code 1. Its last lines:", "  why"]),
    ):
        launcher = stage.start("--workers", "2")
        first, second = stage.meet(2)
        first.do("print('why', file=sys.stderr)")
        assert launcher.stderr.readline() == b"worker 0 | why\n"
        second.do(f"for i in range({number}): print(i, file=sys.stderr)")
        for line in range(number):
            assert launcher.stderr.readline() == b"worker 1 | %d\n" % line
        second.exit()
        first.exit(1)
        status, out, err = stage.end_of(launcher)
        assert (status, out) == (1, "")
        assert err.splitlines()[-len(repeated) :] == repeated


def test_one_that_is_killed_has_failed(stage):
    launcher = stage.start("--workers", "2")
    _, second = stage.meet(2)
    second.order("os.kill(os.getpid(), signal.SIGKILL)")
    status, _, err = stage.end_of(launcher)
    assert status == 137
    assert err.endswith("mox launch: worker 1 was ended by signal 9 (Killed), exit code 137. It printed nothing.\n")


def test_one_that_ignores_the_end_is_killed(stage):
    launcher = stage.start("--workers", "2", constants={"_GRACE": 0.2})
    first, second = stage.meet(2)
    first.do("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    second.exit(3)
    assert first.hear() is None
    assert stage.end_of(launcher)[0] == 3


def test_a_worker_that_is_through_leaves_the_others_running_and_the_ps_leave_by_themselves(stage):
    launcher = stage.start("--workers", "2", "--ps", "1", constants={"_FAREWELL": 60})
    ps, first, second = stage.meet(3)
    for puppet in (ps, second):
        puppet.do("report_signals()")
    first.exit()
    second.do("print('still here')")
    assert launcher.stdout.readline() == b"worker 1 | still here\n"
    second.exit()  # it has heard of no signal
    ps.do("print('leaving')")
    ps.exit()
    assert stage.end_of(launcher) == (0, "ps 0 | leaving\n", "")


def test_a_ps_may_leave_before_the_workers(stage):
    launcher = stage.start("--ps", "1")
    ps, worker = stage.meet(2)
    ps.exit()
    worker.do("print('still here')")
    worker.exit()
    assert stage.end_of(launcher) == (0, "worker 0 | still here\n", "")


def test_a_ps_that_stays_is_told_to_leave(stage):
    launcher = stage.start("--ps", "1", constants={"_FAREWELL": 0.2})
    ps, worker = stage.meet(2)
    ps.do("report_signals()")
    worker.exit()
    assert ps.hear() == {"signal": signal.SIGTERM}
    ps.exit(1)  # the job is done: how it leaves says nothing
    assert stage.end_of(launcher) == (0, "", "")


@pytest.mark.parametrize("order", ["signal.signal(signal.SIGTERM, signal.SIG_IGN)", "pass"])
def test_a_ps_that_is_ended_does_not_spoil_the_job(stage, order):
    launcher = stage.start("--ps", "1", constants={"_FAREWELL": 0.2, "_GRACE": 0.2})
    ps, worker = stage.meet(2)
    ps.do(order)
    worker.exit()
    assert ps.hear() is None
    assert stage.end_of(launcher) == (0, "", "")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGHUP, signal.SIGTERM),  # the terminal was closed
    ],
)
def test_a_signal_is_passed_on_and_waited_for(stage, sent, expected):
    # A grace that is over at once shows that none is given: the processes take the time that they need.
    launcher = stage.start("--workers", "2", "--ps", "1", constants={"_GRACE": 0, "_FAREWELL": 60})
    puppets = stage.meet(3)
    for puppet in puppets:
        puppet.do("report_signals()")
    launcher.send_signal(sent)
    for puppet in puppets:
        assert puppet.hear() == {"signal": expected}
    puppets[1].do("print('saved')")
    assert launcher.stdout.readline() == b"worker 0 | saved\n"
    for puppet in puppets:
        puppet.exit()
    notice = f"mox launch: {sent.name}: waiting for the processes to end; a second one kills them.\n"
    assert stage.end_of(launcher) == (0, "", notice)


def test_one_that_fails_after_a_signal_leaves_the_others_their_time(stage):
    launcher = stage.start("--workers", "2", constants={"_GRACE": 0})
    first, second = stage.meet(2)
    for puppet in (first, second):
        puppet.do("report_signals()")
    launcher.send_signal(signal.SIGTERM)
    for puppet in (first, second):
        assert puppet.hear() == {"signal": signal.SIGTERM}
    first.do("print('cannot save')")
    first.exit(5)
    second.do("print('saved')")
    assert launcher.stdout.readline() == b"worker 0 | cannot save\n"
    assert launcher.stdout.readline() == b"worker 1 | saved\n"
    second.exit()
    status, _, err = stage.end_of(launcher)
    assert status == 5
    assert err.endswith("mox launch: worker 0 failed with exit code 5. Its last lines:\n  cannot save\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_processes_that_end_by_the_signal_leave_nothing_behind(stage, number, status):
    launcher = stage.start("--workers", "2")
    puppets = stage.meet(2)
    for puppet in puppets:
        puppet.do("signal.signal(signal.SIGINT, signal.SIG_DFL)")  # no traceback
    launcher.send_signal(number)
    for puppet in puppets:
        assert puppet.hear() is None
    notice = f"mox launch: {number.name}: waiting for the processes to end; a second one kills them.\n"
    assert stage.end_of(launcher) == (status, "", notice)  # they did as told: no last lines


def test_a_second_signal_kills(stage):
    launcher = stage.start("--workers", "2", constants={"_ECHO": 0})
    puppets = stage.meet(2)
    for puppet in puppets:
        puppet.do("report_signals()")
    launcher.send_signal(signal.SIGINT)
    for puppet in puppets:
        assert puppet.hear() == {"signal": signal.SIGINT}
    launcher.send_signal(signal.SIGTERM)
    for puppet in puppets:
        assert puppet.hear() is None
    assert stage.end_of(launcher)[0] == 137


def test_a_signal_that_is_sent_twice_at_once_is_one(stage):
    launcher = stage.start(constants={"_ECHO": 60})
    (puppet,) = stage.meet(1)
    puppet.do("report_signals()")
    launcher.send_signal(signal.SIGTERM)
    assert puppet.hear() == {"signal": signal.SIGTERM}
    launcher.send_signal(signal.SIGTERM)
    puppet.do("print('saved')")
    assert launcher.stdout.readline() == b"worker 0 | saved\n"  # the launcher has come past the second one
    puppet.exit()
    assert stage.end_of(launcher)[0] == 0


def test_a_signal_that_the_launcher_was_told_to_ignore_is_ignored(stage):
    launcher = stage.start(before="import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)")
    (puppet,) = stage.meet(1)
    launcher.send_signal(signal.SIGHUP)
    puppet.do("print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)")
    puppet.exit()
    assert stage.end_of(launcher) == (0, "worker 0 | True\n", "")


def test_output_that_nobody_reads_holds_up_no_signal_and_is_not_lost(stage):
    launcher = stage.start()
    (puppet,) = stage.meet(1)
    puppet.do("report_signals()")
    puppet.order("for i in range(100_000): print('a line of output', i)")  # more than the pipes between hold
    launcher.send_signal(signal.SIGTERM)
    assert puppet.hear() == {"signal": signal.SIGTERM}
    puppet.order("sys.exit()")
    status, out, _ = stage.end_of(launcher)
    assert status == 0
    assert out.splitlines() == [f"worker 0 | a line of output {number}" for number in range(100_000)]


def read_terminal(terminal, until):
    """Return what the terminal shows, up to and with `until`."""
    seen = b""
    while until not in seen:
        assert select.select([terminal], [], [], 60)[0], f"nothing more after {seen!r}"
        seen += os.read(terminal, 65536)
    return seen


def test_ctrl_c_on_a_terminal_comes_once_and_names_are_coloured(stage):
    terminal, end = os.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), end)
    launcher = stage.start("--workers", "2", before=TAKE_TERMINAL, start_new_session=True, **streams)
    os.close(end)
    first, second = stage.meet(2)
    for puppet in (first, second):
        puppet.do("report_signals()")
    first.do("print('one')")
    assert b"\033[36mworker 0 | \033[0mone\r\n" in read_terminal(terminal, b"one\r\n")
    second.do("print('two')")
    assert b"\033[31mworker 1 | \033[0mtwo\r\n" in read_terminal(terminal, b"two\r\n")
    os.write(terminal, b"\x03")
    for puppet in (first, second):
        assert puppet.hear() == {"signal": signal.SIGINT}
        puppet.exit()  # it has heard of no other signal
    assert b"mox launch: SIGINT: waiting" in read_terminal(terminal, b"kills them.")
    assert launcher.wait(timeout=60) == 0
    os.close(terminal)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems leave the processes running")
def test_processes_die_with_a_launcher_that_is_killed(stage):
    launcher = stage.start("--workers", "2", "--ps", "1")
    puppets = stage.meet(3)
    for puppet in puppets:
        puppet.do("for n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)")
    launcher.kill()
    for puppet in puppets:
        assert puppet.hear() is None


@pytest.mark.parametrize("code", [0, 3])
def test_what_a_process_started_does_not_outlive_it(stage, code):
    launcher = stage.start()
    (puppet,) = stage.meet(1)
    puppet.do(f"child = subprocess.Popen([sys.executable, __file__, '{stage.port}'])")
    (grandchild,) = stage.meet(1)
    grandchild.do("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    puppet.do("child.returncode = 0")  # Python would warn of a child that still runs
    puppet.exit(code)
    grandchild.do("print('written by what is left')")
    assert launcher.stdout.readline() == b"worker 0 | written by what is left\n"
    assert grandchild.hear() is None
    assert stage.end_of(launcher)[0] == code


def test_a_signal_is_not_repeated_when_nobody_reads_the_output_any_more(stage):
    launcher = stage.start("--workers", "2", constants={"_GRACE": 0})
    first, second = stage.meet(2)
    for puppet in (first, second):
        puppet.do("report_signals()")
    launcher.send_signal(signal.SIGTERM)
    for puppet in (first, second):
        assert puppet.hear() == {"signal": signal.SIGTERM}
    launcher.stdout.close()
    first.do("for i in range(10_000): print('thirty characters or more', i)")  # the launcher has written some of it
    for puppet in (first, second):
        puppet.do("pass")
    first.exit(5)
    second.exit()
    launcher.stdout = None
    assert stage.end_of(launcher)[0] == 5


def test_a_job_ends_when_nobody_reads_its_output_any_more(stage):
    launcher = stage.start("--workers", "2")
    first, second = stage.meet(2)
    second.do("report_signals()")
    launcher.stdout.close()
    first.order("print('is anybody there?')")
    assert second.hear() == {"signal": signal.SIGTERM}
    second.exit()
    launcher.stdout = None  # else communicate would read it
    assert stage.end_of(launcher) == (141, "", "")
