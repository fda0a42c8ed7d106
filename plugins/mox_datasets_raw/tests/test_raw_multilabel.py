"""Images that may belong to several classes."""

import numpy as np
import pytest
from PIL import Image

from mox_core.errors import DataError, UsageError
from mox_datasets_raw.multilabel import MultilabelClassificationRawDataset, MultilabelClassificationRawMetadata

LABELS = {"0.png": ["car", "tree"], "1.png": ["person"], "2.png": [], "3.png": ["tree", "car", "tree"]}


@pytest.fixture
def street(tmp_path):
    root = tmp_path / "street"
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for number, (name, labels) in enumerate(LABELS.items()):
        Image.new("RGB", (6 + number, 5), (number, 2, 3)).save(root / "images" / name)
        (root / "labels" / f"{name}.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    return root


def dataset(root, **options):
    return MultilabelClassificationRawDataset(
        MultilabelClassificationRawMetadata(root), num_epochs=1, shuffle=False, **options
    )


def test_classes_are_those_of_the_label_files_sorted_by_name(street):
    meta = MultilabelClassificationRawMetadata(street)
    assert (meta.total_num_samples, meta.num_classes) == (4, 3)
    assert meta.labels_to_names == {0: "car", 1: "person", 2: "tree"}
    assert meta.names_to_labels == {"car": 0, "person": 1, "tree": 2}


def test_labels_txt_gives_the_order_and_classes_that_no_image_has(street):
    (street / "labels.txt").write_text("0: tree\n1: person\n2: bus\n3: car\n", encoding="utf-8")
    meta = MultilabelClassificationRawMetadata(street)
    assert meta.labels_to_names == {0: "tree", 1: "person", 2: "bus", 3: "car"}


def test_the_label_is_a_vector_with_a_one_for_each_class(street, elements):
    found = elements(dataset(street))
    labels = np.stack([element["label"] for element in found])
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, [[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 1]])
    assert [element["image_name"] for element in found] == [b"0.png", b"1.png", b"2.png", b"3.png"]
    assert [element["label_desc"] for element in found] == [b"car\ntree", b"person", b"", b"car\ntree"]
    assert [element["image"].shape for element in found] == [(5, 6, 3), (5, 7, 3), (5, 8, 3), (5, 9, 3)]
    assert [element["image"][0, 0, 0] for element in found] == [0, 1, 2, 3]


def test_label_sep_separates_the_names(street, elements):
    (street / "labels.txt").write_text("0: tree\n1: person\n2: car\n", encoding="utf-8")
    for path in (street / "labels").iterdir():
        path.write_text(path.read_text().strip().replace("\n", " , "))
    labels = [element["label"].tolist() for element in elements(dataset(street, label_sep=","))]
    assert labels == [[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 1]]


def test_the_names_of_the_folders_can_be_chosen(street, elements):
    (street / "images").rename(street / "jpg")
    (street / "labels").rename(street / "tags")
    for path in (street / "tags").iterdir():
        path.rename(path.with_suffix(".labels"))
    meta = MultilabelClassificationRawMetadata(
        street, images_sub_dir="jpg", labels_sub_dir="tags", labels_extension=".labels"
    )
    assert len(elements(MultilabelClassificationRawDataset(meta, num_epochs=1))) == 4


def test_redirect_dir_is_where_the_images_are_read_from(street, tmp_path, elements):
    (tmp_path / "copy").mkdir()
    (street / "images").rename(tmp_path / "copy" / "images")
    (street / "images").mkdir()
    for name in LABELS:
        (street / "images" / name).touch()
    meta = MultilabelClassificationRawMetadata(street, redirect_dir=tmp_path / "copy")
    assert len(elements(MultilabelClassificationRawDataset(meta, num_epochs=1))) == 4


def test_images_are_read_through_a_cache(street, tmp_path, elements):
    found = elements(dataset(street, cache_dir=tmp_path / "cache"))
    assert [element["image"].shape for element in found] == [(5, 6, 3), (5, 7, 3), (5, 8, 3), (5, 9, 3)]
    assert sorted(path.name for path in (tmp_path / "cache").rglob("*.png")) == sorted(LABELS)


def test_batches_hold_the_vectors(street, batches):
    def input_fn(_mode):
        return dataset(street, image_size=4, batch_size=3).get(["image", "label"])

    assert [(images.shape, labels.shape) for images, labels in batches(input_fn)] == [
        ((3, 4, 4, 3), (3, 3)),
        ((1, 4, 4, 3), (1, 3)),
    ]


def test_an_image_without_a_label_file_is_refused(street):
    (street / "labels" / "1.png.txt").unlink()
    with pytest.raises(DataError) as caught:
        dataset(street)
    path = str(street / "labels" / "1.png.txt")
    assert str(caught.value) == (
        f"1 of 4 images have no label file: '1.png'; expected is {path!r} for the first one. "
        "skip_label_not_found=True leaves such images out, where others have one."
    )


def test_skip_label_not_found_leaves_images_without_a_label_file_out(street, elements):
    (street / "labels" / "0.png.txt").unlink()
    found = elements(dataset(street, skip_label_not_found=True))
    assert [element["image_name"] for element in found] == [b"1.png", b"2.png", b"3.png"]
    assert [element["label"].tolist() for element in found] == [[0, 1, 0], [0, 0, 0], [1, 0, 1]]


def test_an_unknown_class_in_a_label_file_is_refused(street):
    (street / "labels.txt").write_text("0: tree\n1: persons\n2: car\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        dataset(street)
    path = str(street / "labels" / "1.png.txt")
    assert str(caught.value) == (
        f"label file {path!r} names class 'person', which is not in labels.txt. Did you mean 'persons'? "
        r"Known are 'tree', 'persons', 'car'; between names stands label_sep, '\n'."
    )


def test_a_label_sep_without_labels_txt_is_refused(street):
    with pytest.raises(UsageError, match=r"label_sep is ' ' and .* has no labels\.txt: the classes were found by"):
        dataset(street, label_sep=" ")


def test_an_empty_label_sep_is_refused(street):
    with pytest.raises(UsageError, match="it must be a string that is not empty"):
        dataset(street, label_sep="")


EXPECTED = (
    "Expected are the images in base_dir/images and a file with the names of its classes for each of them, "
    "base_dir/labels/<image>.txt."
)


@pytest.mark.parametrize("missing", ["", "images", "labels"])
def test_a_missing_folder_is_refused(street, missing):
    for path in [*(street / "images").iterdir(), *(street / "labels").iterdir()]:
        path.unlink()
    folders = [street / "images", street / "labels", street] if not missing else [street / missing]
    if missing == "labels":
        Image.new("RGB", (5, 5)).save(street / "images" / "0.png")
    for folder in folders:
        folder.rmdir()
    with pytest.raises(DataError) as caught:
        MultilabelClassificationRawMetadata(street)
    assert str(caught.value) in (
        f"there is no folder {str(street / missing)!r}. {EXPECTED}",
        f"{str(street / 'images')!r} holds no image. {EXPECTED}",
    )


def test_a_folder_without_images_is_refused(street):
    for path in (street / "images").iterdir():
        path.unlink()
    with pytest.raises(DataError) as caught:
        MultilabelClassificationRawMetadata(street)
    assert str(caught.value) == f"{str(street / 'images')!r} holds no image. {EXPECTED}"


def test_label_files_that_name_no_class_are_refused_without_labels_txt(street):
    for path in (street / "labels").iterdir():
        path.write_text("\n")
    with pytest.raises(DataError, match=r"none of the 4 images has a label file in .* that names a class; expected is"):
        MultilabelClassificationRawMetadata(street)


def test_a_label_file_that_is_no_text_is_refused(street):
    (street / "labels" / "0.png.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"label file '.*0\.png\.txt' cannot be read: .* Expected are names of classes"):
        MultilabelClassificationRawMetadata(street)
