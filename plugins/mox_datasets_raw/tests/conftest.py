"""Real image files, written by Pillow, and what a source reads of them."""

import gc

import numpy as np
import pytest
from PIL import Image


def picture(height=40, width=56, *, shift=0):
    """A smooth picture with other values in each channel, so that swapped channels and flips show."""
    rows, columns = np.mgrid[0:height, 0:width]
    channels = (columns * 255 // (width - 1), rows * 255 // (height - 1), (rows + columns + shift) * 2 % 256)
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


@pytest.fixture
def flowers(tmp_path):
    """Three classes of 3, 2 and 4 images in two formats and several sizes; the file system lists them in no order."""
    root = tmp_path / "flowers"
    for name, count in (("tulips", 4), ("daisy", 3), ("roses", 2)):
        (root / name).mkdir(parents=True)
        for number in reversed(range(count)):
            extension = ("png", "jpg")[number % 2]
            picture(20 + number, 30, shift=10 * number).save(root / name / f"{name}_{number}.{extension}")
    return root


@pytest.fixture
def elements():
    """Calls the source of a data set and gives its features as a list of dicts of arrays."""
    from mox_core.sdk import BadSampleReport, Order

    def read(dataset, *, seed=1, start=0, limit=None, report=None, **share):
        order = Order(seed=seed, **share)
        found = dataset.source().dataset(order=order, start=start, needed=None, report=report or BadSampleReport())
        taken = found if limit is None else found.take(limit)
        return [{key: value.numpy() for key, value in features.items()} for _, features in taken]

    return read


@pytest.fixture
def batches():
    """Calls `input_fn` as a run does and gives its batches, or its elements where it makes batches itself."""
    from mox_core.engine.input.batching import Batching
    from mox_core.engine.input.order import Order
    from mox_core.engine.input.pipeline import build_pipeline

    def read(input_fn, *, batch_size=None, limit=None, mode="EVAL"):
        batching = Batching(batch_size=batch_size, auto=batch_size is not None)
        pipeline = build_pipeline(input_fn, mode, batching, order=Order(seed=1))
        found = []
        with pipeline.open() as opened:
            while len(found) != limit and (element := next(opened.iterator, None)) is not None:
                found.append([value.numpy() for value in element[1]])
        return found

    yield read
    gc.collect()  # the traceback of an expected error may hold an iterator, and no process exits while that reads on
