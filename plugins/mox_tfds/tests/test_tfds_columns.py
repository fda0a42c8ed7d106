"""Parquet and Arrow files with the schema that Hugging Face's `datasets` writes, made by pyarrow."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import mox_core as mox
from mox_core.testing import DatasetContract
from mox_core.testing.reading import read

IMAGES = np.random.default_rng(1).integers(0, 256, size=(11, 4, 5, 3), dtype=np.uint8)
FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
    "name": {"dtype": "string", "_type": "Value"},
    "box": {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"},
}


def png(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "png")
    return stream.getvalue()


def table(rows):
    rows = list(rows)
    columns = {
        "image": pa.array([{"bytes": png(IMAGES[row]), "path": f"{row}.png"} for row in rows]),
        "label": pa.array([row % 2 for row in rows], pa.int32()),
        "name": pa.array([f"row {row}" for row in rows]),
        "box": pa.array([[float(row)] * (row % 3) for row in rows], pa.list_(pa.float32())),
        "objects": pa.array([[{"x": 1}] for _ in rows]),
    }
    return pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": FEATURES}})})


def save_parquet(folder, rows=11):
    (folder / "data").mkdir()
    for number, part in enumerate((range(4), range(4, rows))):
        pq.write_table(table(part), folder / "data" / f"train-0000{number}-of-00002.parquet", row_group_size=2)


def save_arrow(folder, rows=11):
    """As `save_to_disk` does."""
    (folder / "train").mkdir()
    for number, part in enumerate((range(4), range(4, rows))):
        whole = table(part)
        path = folder / "train" / f"data-0000{number}-of-00002.arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, whole.schema) as writer:
            writer.write_table(whole, max_chunksize=3)


FORMS = {"parquet": save_parquet, "arrow": save_arrow}


@pytest.mark.parametrize("form", FORMS)
def test_samples_are_the_rows_of_the_files(form, tmp_path):
    FORMS[form](tmp_path)
    dataset = mox.get_dataset("parquet", "train", str(tmp_path), shuffle=False, num_epochs=1)
    assert (dataset.num_samples, dataset.class_names) == (11, ("cat", "dog"))
    rows = [each.values for each in read(lambda mode: dataset.get(["image", "label", "name"]), "EVAL")]  # noqa: ARG005
    assert [name for _, _, name in rows] == [b"row %d" % number for number in range(11)]
    for number, (image, label, _) in enumerate(rows):
        np.testing.assert_array_equal(image, IMAGES[number])
        assert label == number % 2


class OfColumns(DatasetContract):
    features = ("image", "label", "name", "box")
    num_samples = 11
    key = "name"
    form = ""

    def dataset(self, folder, *, shuffle, num_epochs):
        FORMS[self.form](folder)
        return mox.get_dataset("parquet", "train", str(folder), shuffle=shuffle, num_epochs=num_epochs)


class TestParquet(OfColumns):
    form = "parquet"


class TestArrow(OfColumns):
    form = "arrow"


def test_what_is_not_there_is_refused_with_what_fetches_it(tmp_path):
    save_parquet(tmp_path)
    with pytest.raises(mox.DataError) as refusal:
        mox.get_dataset("parquet", "test", str(tmp_path))
    assert "holds no Parquet or Arrow files of split 'test'" in str(refusal.value)
    assert "It holds 'data/train-00000-of-00002.parquet', 'data/train-00001-of-00002.parquet'." in str(refusal.value)
    assert "datasets.load_dataset('<name>').save_to_disk(" in str(refusal.value)
    (tmp_path / "data" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(mox.DataError, match=r"holds 1 files as .* and their names say that there are 2"):
        mox.get_dataset("parquet", "train", str(tmp_path))
    (tmp_path / "data" / "train-00001-of-00002.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(mox.DataError, match="is no parquet file that can be read"):
        mox.get_dataset("parquet", "train", str(tmp_path))


def test_columns_that_are_no_tensors_are_not_read(tmp_path):
    save_arrow(tmp_path)
    dataset = mox.get_dataset("parquet", "train", str(tmp_path))
    with pytest.raises(mox.UsageError, match="'objects'"):
        dataset.get(["objects"])


def test_rows_whose_image_is_not_there_are_left_out_and_named(tmp_path, caplog):
    whole = table(range(5))
    images = whole["image"].to_pylist()
    images[2] = {"bytes": None, "path": "2.png"}
    images[4] = {"bytes": b"no image", "path": None}
    broken = whole.set_column(0, "image", pa.array(images, whole["image"].type))
    pq.write_table(broken, tmp_path / "train.parquet")
    dataset = mox.get_dataset("parquet", "train", str(tmp_path), shuffle=False, num_epochs=1)
    found = read(lambda mode: dataset.get(["label", "name", "image"]), "EVAL")  # noqa: ARG005
    assert [each.values[1] for each in found] == [b"row 0", b"row 1", b"row 3"]
    assert f"{tmp_path}: row 2" in caplog.text
