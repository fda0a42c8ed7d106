"""Parquet and Arrow files with the schema that Hugging Face's `datasets` writes, made by pyarrow."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
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
    with pytest.raises(mox.DataError, match=r"holds 1 file as .* and their names say that there are 2"):
        mox.get_dataset("parquet", "train", str(tmp_path))
    (tmp_path / "data" / "train-00001-of-00002.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(mox.DataError, match="is no parquet file that can be read"):
        mox.get_dataset("parquet", "train", str(tmp_path))


def test_columns_that_are_no_tensors_are_not_read(tmp_path):
    save_arrow(tmp_path)
    dataset = mox.get_dataset("parquet", "train", str(tmp_path))
    with pytest.raises(mox.UsageError, match=r"column 'objects' of .* is of type list<.*>, which is no tensor"):
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
    assert f"'{tmp_path}: row 2' cannot be read (column 'image' has no image: it is in a file of its own" in caplog.text
    found = read(lambda mode: dataset.get(["label"]), "EVAL")  # noqa: ARG005
    assert [int(each.values[0]) for each in found] == [0, 1, 0, 1, 0]


def save(path, **columns):
    pq.write_table(pa.table(columns), path)
    return mox.get_dataset("parquet", "train", str(path), shuffle=False, num_epochs=1)


def values_of(dataset, *keys):
    return [each.values for each in read(lambda mode: dataset.get(list(keys)), "EVAL")]  # noqa: ARG005


def test_rows_without_a_value_in_a_column_that_is_asked_for_are_left_out_and_named(tmp_path, caplog):
    dataset = save(tmp_path / "a.parquet", x=[0, 1, 2, 3], caption=["a", None, "c", None], v=[[1], [2], [None], [4]])
    assert [int(x) for (x,) in values_of(dataset, "x")] == [0, 1, 2, 3]
    assert caplog.text == ""
    assert [int(x) for x, _ in values_of(dataset, "x", "caption")] == [0, 2]
    assert "a.parquet: row 1' cannot be read (column 'caption' has no value): it is left out." in caplog.text
    assert "a.parquet: row 3' cannot be read (column 'caption' has no value): it is left out." in caplog.text
    assert [int(x) for x, _ in values_of(dataset, "x", "v")] == [0, 1, 3]
    assert "row 2' cannot be read (column 'v' holds [None], which is no array of numbers)" in caplog.text


def test_a_column_without_a_value_that_ends_the_run_is_named(tmp_path):
    dataset = save(tmp_path / "a.parquet", x=[0, 1], y=pa.array([None, None], pa.int64()))
    with pytest.raises(mox.DataError, match=r"none of the 2 samples could be read.*column 'y' has no value"):
        values_of(dataset, "x", "y")
    dataset = save(tmp_path / "a.parquet", x=[0, 1], y=pa.array([None, 1], pa.int64()))
    dataset.on_bad_sample = "raise"
    with pytest.raises(mox.DataError, match="row 0' cannot be read: column 'y' has no value"):
        values_of(dataset, "x", "y")


def test_images_of_no_bytes_are_left_out_and_named(tmp_path, caplog):
    good, struct = png(IMAGES[0]), pa.struct({"bytes": pa.binary(), "path": pa.string()})
    image = pa.array([{"bytes": b""}, {"bytes": good}, None, {"bytes": good}], struct)
    dataset = save(tmp_path / "a.parquet", x=[0, 1, 2, 3], img=[good, good, good, b""], image=image)
    assert [int(x) for x, *_ in values_of(dataset, "x", "img", "image")] == [1]
    for row, wrong in ((0, "'image' has no image"), (2, "'image' has no value"), (3, "'img' has no image")):
        assert f"row {row}' cannot be read (column {wrong}): it is left out." in caplog.text


def test_a_floating_point_number_that_is_not_there_is_nan(tmp_path, caplog):
    lists = pa.array([[1.0, None], [2.0, 3.0]], pa.list_(pa.float32()))
    found = values_of(save(tmp_path / "a.parquet", x=[1.5, None], v=lists), "x", "v")
    np.testing.assert_array_equal([x for x, _ in found], [1.5, np.nan])
    assert "column 'x' of" in caplog.text
    assert "a.parquet has no value for 1 of 2 numbers: model_fn gets NaN there." in caplog.text
    assert "a.parquet has no value for 1 of 4 numbers: model_fn gets NaN there." in caplog.text
    np.testing.assert_array_equal([v for _, v in found], [[1.0, np.nan], [2.0, 3.0]])


def test_whole_numbers_that_do_not_fit_are_refused_where_they_are_asked_for(tmp_path):
    large = pa.array([1, 2**63], pa.uint64())
    dataset = save(tmp_path / "a.parquet", x=[0, 1], u=large, v=pa.array([[1], [2**63]], pa.list_(pa.uint64())))
    assert len(values_of(dataset, "x")) == 2
    for name in "uv":
        with pytest.raises(mox.DataError, match=f"column '{name}' .* holds 9223372036854775808, which does not fit"):
            values_of(dataset, name)


def test_categories_are_their_values(tmp_path):
    dataset = save(tmp_path / "a.parquet", cat=pa.array(["a", "b", "a"]).dictionary_encode())
    assert [text for (text,) in values_of(dataset, "cat")] == [b"a", b"b", b"a"]


def test_outside_of_a_run_only_columns_that_are_asked_for_are_read(tmp_path):
    dataset = save(tmp_path / "a.parquet", x=[0, 1, 2], caption=["a", None, "c"])
    assert [int(dataset.get(["x"])[0]) for _ in range(3)] == [0, 1, 2]
    again = save(tmp_path / "a.parquet", x=[0, 1, 2], caption=["a", None, "c"])
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        both = (*again.get(["x"]), *again.get(["caption"]))  # of the same row
        assert [session.run(both) for _ in range(2)] == [(0, b"a"), (2, b"c")]
    with pytest.raises(mox.UsageError, match="'caption' was not asked for when reading began, with x"):
        dataset.get(["x", "caption"])


def test_what_is_no_such_file_is_refused_in_words(tmp_path):
    (tmp_path / "c.csv").write_text("label\n1\n")
    with pytest.raises(mox.DataError, match=r"c.csv' is neither a Parquet nor an Arrow file, which are read here\."):
        mox.get_dataset("parquet", "train", str(tmp_path / "c.csv"))
    with pytest.raises(mox.DataError, match=r"there is no folder .*nopq"):
        mox.get_dataset("parquet", "train", str(tmp_path / "nopq"))
    for split in ("train[:50%]", "train+test"):
        with pytest.raises(mox.UsageError, match="parts and sums of splits are for data sets of TensorFlow Datasets"):
            mox.get_dataset("parquet", split, str(tmp_path))
