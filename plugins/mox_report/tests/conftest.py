"""Folders of trainings that were written by hand, and pages of them."""

import base64
import json
import struct
import zlib

import pytest


def _png(side, grey):
    """A square picture of one grey, from the PNG specification."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes([grey]) * side) * side)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture
def write_training():
    """Write a training of 5 lines of the log with 2 validations; its numbers depend on `scale` alone."""

    def write(folder, scale=1.0, *, names=("loss", "accuracy"), classes=("cat", "dog", "owl"), sample="photo.jpg"):
        loss, accuracy = names
        records = [
            {"step": 10 * n, "mode": "TRAIN", loss: scale * (4 - n), accuracy: 0.2 * n, "learning_rate": 0.5 / (n + 1)}
            | {"sample/sec": 100.0 + n}
            for n in range(5)
        ]
        for step, value in ((19, 3.5), (39, 1.25)):
            records.append({"step": step, "mode": "VALIDATION", loss: scale * value, accuracy: 1 / value})
            records.append({"step": step, "mode": "SPENT", "on": "validation", "seconds": 2.5})
        records += [{"step": 39, "mode": "SPENT", "on": "save", "seconds": 1.0}]
        notes = {
            "begun": "2026-03-01T10:00:00.000+00:00",
            "ended": "2026-03-01T10:01:40.000+00:00",
            "first_step": 0,
            "last_step": 41,
            "stopped_by": "max_number_of_steps",
            "arguments": {"batch_size": int(16 * scale), "run_mode": "TRAIN"},
            "flags": {},
            "versions": {"tensorflow": "2.21.0"},
            "machine": {"host": "somewhere"},
        }
        picture = base64.b64encode(_png(8, 200)).decode()
        worst = {"image": picture, "name": sample, "label": 0, "prediction": 2, "loss": 2.25, "probability": 0.875}
        samples = {
            "mode": "VALIDATION",
            "step": 39,
            "samples": 30,
            "one_of": 1,
            "classes": list(classes),
            "confusion": [[0, 0, 9], [0, 2, 1], [1, 1, 8], [1, 0, 2], [2, 2, 10]],
            "worst": [worst, worst | {"prediction": 0, "probability": 0.5, "loss": None}],
        }
        (folder / ".mox").mkdir(parents=True)
        (folder / "history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        (folder / "runs.json").write_text(json.dumps([notes]))
        (folder / ".mox" / "worst_samples.json").write_text(json.dumps(samples))
        return folder

    return write
