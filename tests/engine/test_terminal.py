"""What a terminal shows of a run: a real one, of the kernel."""

import os
import pty
import re
import sys
import textwrap

import pytest

import forked

SCRIPT = """
    import tensorflow as tf
    import mox_core as mox

    class Validates(mox.Hook):
        def after_run(self, run_context, run_values):
            if run_context.step == 19:
                tf.get_logger().info("[VALIDATION METRICS] step: 19 loss: 0.500")
                print("of the user")

    def model_fn(inputs, mode):
        weight = tf.compat.v1.get_variable("weight", initializer=0.0)
        loss = tf.reduce_mean((inputs[0] - weight) ** 2)
        return mox.ModelSpec(loss=loss, log_info={"[loss]": loss}, hooks=[Validates()])

    tf.get_logger().propagate = False
    mox.run(
        input_fn=lambda mode: tf.data.Dataset.range(80).map(lambda n: tf.cast(n, tf.float32)).repeat(),
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1), run_mode="TRAIN", batch_size=4,
        max_number_of_steps=40,
    )
"""
ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture
def on_terminal(tmp_path):
    """Runs the script with a terminal for stderr and stdout, and returns what was written to it."""

    def run(*arguments, **environ):
        (tmp_path / "train.py").write_text(textwrap.dedent(SCRIPT))
        mine, its = pty.openpty()
        environ = {**os.environ, "COLUMNS": "120", "TERM": "xterm-256color", **environ}
        process = forked.Popen(
            [sys.executable, str(tmp_path / "train.py"), *arguments], stdout=its, stderr=its, env=environ, cwd=tmp_path
        )
        os.close(its)
        chunks = []
        while True:
            try:
                chunks.append(os.read(mine, 1 << 16))
            except OSError:  # the other end is closed
                break
        os.close(mine)
        assert process.wait() == 0, b"".join(chunks).decode()
        return b"".join(chunks).decode()

    return run


def lines_of(text):
    return [line.rstrip() for line in re.split(r"[\r\n]+", ANSI.sub("", text)) if line.strip()]


def test_a_terminal_shows_a_line_of_progress_under_the_log(on_terminal):
    text = on_terminal()
    lines = lines_of(text)
    assert "\x1b[" in text
    assert [line for line in lines if re.search(r"TRAIN .* of 40 steps", line)]
    assert "[VALIDATION METRICS] step: 19 loss: 0.500" in lines
    assert "of the user" in lines
    assert "Training stops at global step 40: max_number_of_steps is reached." in lines
    steps = [line.partition("(")[0] for line in lines if line.startswith("step: ")]
    assert steps == ["step: 10", "step: 30"]  # the last ones before other lines


def test_in_a_narrow_terminal_a_line_of_progress_is_one_line(on_terminal):
    lines = lines_of(on_terminal(COLUMNS="60"))
    shown = [line for line in lines if "TRAIN " in line]
    assert shown
    assert all(re.search(r"TRAIN +\d+ of 40 steps", line) and len(line) <= 60 for line in shown), shown


@pytest.mark.parametrize(("arguments", "environ"), [(["--plain"], {}), ([], {"TERM": "dumb"})])
def test_who_wants_plain_lines_gets_those_of_a_file(on_terminal, arguments, environ):
    lines = lines_of(text := on_terminal(*arguments, **environ))
    assert "\x1b[" not in text
    assert [line.split("\t")[0] for line in lines if "step: " in line and "VALIDATION" not in line] == [
        f"INFO:tensorflow:step: {step}(global step: {step})" for step in (0, 10, 20, 30)
    ]
