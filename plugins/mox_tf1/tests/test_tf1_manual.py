"""Every complete listing of MoXing's manual, run byte for byte.

The manual is not ours to ship: `MOX_MANUAL=<file> pytest plugins/mox_tf1/tests/test_tf1_manual.py` cuts its listings
out of the file. They name paths at the root of the file system, which are made here and removed again, so that
the tests need a machine, or a container, of their own. Without the variable, `test_tf1_scripts.py` has the same forms.
"""

import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

MANUAL = os.environ.get("MOX_MANUAL", "")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not MANUAL, reason="MOX_MANUAL names no file")]

FOLDERS = [Path("/export1"), Path("/tmp/delete_me"), Path("/tmp/checkpoint_path")]  # noqa: S108 (of the manual)
BUCKET = "dls-test"
KERAS = Path("/tmp/delete_me/keras_model.json")  # noqa: S108 (as above)


def listings_of(text):
    """Yields the line and the text of each block of code that is a whole program, also of those in boxes."""
    for box in (False, True):
        block, start = [], 0
        for number, line in enumerate([*text.splitlines(), "end"], 1):
            plain = re.sub("^> ?", "", line) if box else line
            indented = plain.startswith(("\t", "    ")) or (block and not plain.strip())
            inside = indented and line.startswith(">") == box
            if inside:
                start = start if block else number
                block.append(re.sub(r"^(\t| {4})", "", plain))
            elif block:
                program = "\n".join(block).strip("\n") + "\n"
                if all(each.startswith("  ") or not each.strip() for each in block):
                    program = re.sub("^  ", "", program, flags=re.MULTILINE)
                if "mox.run(" in program and "import " in program and "..." not in program:
                    yield start, program
                block = []


LISTINGS = sorted(listings_of(Path(MANUAL).read_text("utf-8"))) if MANUAL else []


@pytest.fixture
def s3(monkeypatch):
    """An S3 server on loopback with the manual's bucket, by the variables that a user of S3 sets; a client of it."""
    boto3 = pytest.importorskip("boto3")
    moto_server = pytest.importorskip("moto.moto_server.threaded_moto_server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-access-key-of-the-tests")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key-of-the-tests")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client
    finally:
        server.stop()


@pytest.fixture(scope="module", autouse=True)
def world():
    """Makes the paths that the manual names: photographs of two classes, MNIST, and folders for what is written."""
    present = [str(folder) for folder in FOLDERS if folder.exists()]
    assert not present, f"{present} would be lost"
    random = np.random.default_rng(0)
    try:
        for folder in FOLDERS:
            folder.mkdir()
        for part in ("train", "eval"):
            for label in ("daisy", "roses"):
                images = FOLDERS[0] / "flowers/raw/split" / part / label
                images.mkdir(parents=True)
                for number in range(20):
                    pixels = random.integers(0, 255, (240, 250, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(images / f"{number}.jpg")
        digits = FOLDERS[0] / "zzy/mnist/zip/data"
        digits.mkdir(parents=True)
        for name, count in (("train", 6000), ("t10k", 100)):
            sizes = b"".join(size.to_bytes(4, "big") for size in (count, 28, 28))
            (digits / f"{name}-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3]) + sizes + random.bytes(count * 784))
            labels = random.integers(0, 10, count, dtype=np.uint8).tobytes()
            (digits / f"{name}-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1]) + sizes[:4] + labels)
        yield
    finally:
        for folder in FOLDERS:
            shutil.rmtree(folder, ignore_errors=True)


def _run(program, folder, max_steps=2):
    script = folder / "listing.py"
    script.write_text(program, "utf-8")
    command = [sys.executable, "-m", "mox_tf1", "--max_steps", str(max_steps), script]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def _predict(program, folder, client):
    """Run the listing that predicts from a checkpoint, which a training of the same network writes before."""
    model_fn = re.search(r"(?s)def model_fn.*?\n\n\n", program)[0]
    trained = model_fn.replace("output_info={", "loss=tf.reduce_mean(logits), output_info={")
    head = program.replace(model_fn, trained).partition("mox.run(")[0]
    training = (
        "mox.run(input_fn=input_fn, model_fn=model_fn, batch_size=2, run_mode=mox.ModeKeys.TRAIN, "
        "optimizer_fn=mox.get_optimizer_fn('sgd', learning_rate=0.0), log_dir='/tmp/checkpoint_path')\n"
    )
    _run(head + training, folder, max_steps=1)
    _run(program, folder)
    table = client.get_object(Bucket=BUCKET, Key="outputs.txt")["Body"].read().decode()
    # Photographs come round and round: a head, and a line with the predictions of each of two steps.
    predictions = [np.array(re.findall(r"\d+", text), int) for text in re.findall(r"array\(\[([^\]]*)\]", table)]
    assert table.startswith(",0\n0,")
    assert [each.size for each in predictions] == [32, 32]
    assert all(0 <= number < 1000 for each in predictions for number in each)


def test_the_manual_has_eleven_whole_programs():
    assert len(LISTINGS) == 11


@pytest.mark.parametrize("program", [pytest.param(text, id=f"line-{line}") for line, text in LISTINGS])
def test_a_listing_runs_as_it_is_printed(program, tmp_path, request):
    if "ModeKeys.PREDICT," in program:
        _predict(program, tmp_path, request.getfixturevalue("s3"))
        return
    done = _run(program, tmp_path)
    assert "INFO:tensorflow:step: 0(global step: 0)" in done.stderr
    for name in re.findall(r"log_info=\{'(\w+)'", program):
        assert re.search(rf"\t{name}: \d", done.stderr)
    steps = min(2, *map(int, re.findall(r"max_number_of_steps=(\d+)", program)))
    for folder in re.findall(r"log_dir='(.*)'", program):
        assert tf.train.latest_checkpoint(folder).endswith(f"model.ckpt-{steps}")
    if "export_model" in program:
        (folder,) = re.findall(r"log_dir='(.*)'", program)
        served = tf.saved_model.load(f"{folder}/1").signatures["predict_object"]
        assert served(tf.zeros([1, 224, 224, 3]))["logits"].shape == (1, 1000)
    if "save_keras_model(" in program:
        assert '"name": "aux_output"' in KERAS.read_text("utf-8")
