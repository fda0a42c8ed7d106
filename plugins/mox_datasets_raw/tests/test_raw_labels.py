"""labels.txt, and what a folder must look like."""

import logging
import os
import shutil

import pytest
import tensorflow as tf

from mox_core.datasets.labels import labels_text
from mox_core.errors import DataError
from mox_datasets_raw import listing
from mox_datasets_raw.classification import ImageClassificationRawMetadata
from mox_datasets_raw.labels import read_labels
from mox_datasets_raw.splitting import split_image_classification_dataset


def test_without_labels_txt_classes_are_sorted_by_name(flowers):
    meta = ImageClassificationRawMetadata(flowers)
    assert meta.labels_list == ["daisy", "roses", "tulips"]
    assert meta.num_classes == 3
    assert meta.total_num_samples == 9
    assert meta.labels_to_names == {0: "daisy", 1: "roses", 2: "tulips"}
    assert meta.names_to_labels == {"daisy": 0, "roses": 1, "tulips": 2}


def test_labels_txt_gives_the_order(flowers):
    (flowers / "labels.txt").write_text("1: daisy\n\n 0: tulips \n2:roses\n", encoding="utf-8")
    assert ImageClassificationRawMetadata(str(flowers)).labels_list == ["tulips", "daisy", "roses"]


def test_labels_filename_names_another_file(flowers):
    (flowers / "classes").write_text("\ufeff0: roses\n1: tulips\n2: daisy", encoding="utf-8")
    meta = ImageClassificationRawMetadata(flowers, labels_filename="classes")
    assert meta.labels_list == ["roses", "tulips", "daisy"]


def test_a_class_name_may_hold_a_colon(tmp_path):
    (tmp_path / "labels.txt").write_text(labels_text(["a: b", "c"]), encoding="utf-8")
    assert read_labels(str(tmp_path), "labels.txt") == ["a: b", "c"]


def told(caplog, *folders):
    """What the log tells of folders, each line once."""
    logger = tf.get_logger()
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, logger.name):
            for folder in folders:
                ImageClassificationRawMetadata(folder)
    finally:
        logger.removeHandler(caplog.handler)
    return list(dict.fromkeys(caplog.messages))


def test_the_log_tells_what_was_found(flowers, caplog):
    assert told(caplog, flowers) == [
        f"Total 9 files found in {str(flowers)!r}",
        "Total number of samples is 9",
        "Labels index to name:",
        "0: 'daisy'",
        "1: 'roses'",
        "2: 'tulips'",
    ]


def test_the_parts_of_a_set_tell_their_classes_once(flowers, caplog):
    other = shutil.copytree(flowers, flowers.with_name("other"))
    assert told(caplog, flowers, other)[-3:] == [
        "2: 'tulips'",
        f"Total 9 files found in {str(other)!r}",
        f"Labels index to name: as in {str(flowers)!r}",
    ]
    caplog.clear()
    (other / "lilies").mkdir()
    shutil.copy(next((flowers / "daisy").iterdir()), other / "lilies")
    assert told(caplog, other)[-4:] == ["0: 'daisy'", "1: 'lilies'", "2: 'roses'", "3: 'tulips'"]


def test_hidden_files_and_files_beside_the_classes_are_left_out(flowers):
    (flowers / ".cache").mkdir()
    (flowers / "LICENSE").write_text("free")
    (flowers / "daisy" / ".DS_Store").write_bytes(b"\0")
    meta = ImageClassificationRawMetadata(flowers)
    assert (meta.num_classes, meta.total_num_samples) == (3, 9)


LAYOUT = "Expected is a folder for each class with the images of that class in it: base_dir/<class>/<image>."


def refused(base_dir, **options):
    with pytest.raises(DataError) as caught:
        ImageClassificationRawMetadata(base_dir, **options)
    return str(caught.value)


def test_a_missing_folder_is_refused(tmp_path):
    path = str(tmp_path / "nothing")
    assert refused(path) == f"there is no folder {path!r}. {LAYOUT}"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    path = tmp_path / "flowers.zip"
    path.write_bytes(b"PK")
    assert refused(path) == f"{str(path)!r} is a file, not a folder. {LAYOUT}"


def test_a_flat_folder_is_refused(tmp_path):
    for name in ("d.jpg", "b.jpg", "a.jpg", "c.jpg"):
        (tmp_path / name).touch()
    found = "holds 4 files ('a.jpg', 'b.jpg', 'c.jpg', ...) and no folder"
    assert refused(tmp_path) == f"{str(tmp_path)!r} {found}. {LAYOUT}"


def test_an_empty_folder_is_refused(tmp_path):
    assert refused(tmp_path) == f"{str(tmp_path)!r} is empty. {LAYOUT}"


def test_an_empty_class_is_refused(flowers):
    (flowers / "lilies").mkdir()
    (flowers / "asters").mkdir()
    (flowers / "asters" / ".hidden").touch()
    assert refused(flowers) == (
        f"class folders without an image in {str(flowers)!r}: 'asters', 'lilies' (2 of 5). "
        "Each class needs an image: fill the folder, or remove it (from labels.txt too)."
    )


def test_a_folder_of_splits_is_refused_with_the_hint_that_it_is_too_high(flowers):
    assert refused(flowers.parent) == (
        f"class folder 'flowers' in {str(flowers.parent)!r} holds no image, but folders ('daisy', 'roses', 'tulips'). "
        f"{LAYOUT} Is base_dir a folder too high?"
    )


FORMAT = "Expected is one line for each class, `0: name of class 0`, with the indices 0, 1, 2, ... once each."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0: daisy\nroses\n2: tulips", "line 2 of {path!r} is 'roses'."),
        ("0: daisy\none: roses\n2: tulips", "line 2 of {path!r} is 'one: roses'."),
        ("0: daisy\n-1: roses\n2: tulips", "line 2 of {path!r} is '-1: roses'."),
        ("0: daisy\n1:\n2: tulips", "line 2 of {path!r} is '1:'."),
        ("0: daisy\n1: roses\n1: tulips", "line 3 of {path!r} gives index 1 a second time."),
        ("0: daisy\n1: roses\n2: daisy", "line 3 of {path!r} names class 'daisy' a second time."),
        ("0: daisy\n3: roses\n5: tulips", "{path!r} goes up to index 5 and lacks 1, 2, 4."),
        ("1: daisy\n2: roses\n3: tulips", "{path!r} goes up to index 3 and lacks 0."),
        (" \n", "{path!r} names no class."),
        ("0: daisy\n1: roses\n10000000000: tulips", "{path!r} goes up to index 10000000000 and lacks 2, 3, 4."),
        ("0: daisy\n" + "9" * 18 + ": roses", "{path!r} goes up to index 999999999999999999 and lacks 1, 2, 3."),
        ("0: daisy\n" + "9" * 5000 + ": roses", "line 2 of {path!r} is '" + "9" * 100 + "...'."),
    ],
)
def test_a_labels_txt_of_another_form_is_refused(flowers, text, said):
    path = flowers / "labels.txt"
    path.write_text(text, encoding="utf-8")
    assert refused(flowers) == f"{said.format(path=str(path))} {FORMAT}"


def test_a_labels_txt_that_is_not_utf_8_is_refused(flowers):
    path = flowers / "labels.txt"
    path.write_bytes("0: gänseblümchen".encode("latin-1"))
    assert refused(flowers).startswith(f"{str(path)!r} is not text in UTF-8")


RULE = (
    "The name of a class is text in UTF-8 without line breaks and other control characters, and without space around."
)


@pytest.mark.parametrize("name", [" c", "c ", "a\nb", "a\x1b[31mb", "a\u2028b", "\x7f", "\tc", "\udcff"])
def test_a_class_folder_whose_name_no_labels_txt_can_hold_is_refused(flowers, tmp_path, name):
    (flowers / name).mkdir()
    (flowers / name / "1.png").touch()
    said = f"the name of class folder {name!r} in {str(flowers)!r} cannot stand in a labels.txt; rename it. {RULE}"
    assert refused(flowers) == said
    with pytest.raises(DataError) as caught:
        split_image_classification_dataset({"a": 0.5, "b": 0.5}, flowers, dst_dir=tmp_path / "out")
    assert str(caught.value) == said
    assert said.isprintable()


@pytest.mark.parametrize("name", ["c d", "käfer", "می‌خواهم", "👨‍👩‍👧", "a: b", "#1", "..."])
def test_other_names_are_read_and_split_and_read_again(flowers, tmp_path, name):
    (flowers / name).mkdir() if not name.startswith(".") else (flowers / (name := f"a{name}")).mkdir()
    for number in range(2):
        (flowers / name / f"{number}.png").touch()
    split_image_classification_dataset({"a": 0.5, "b": 0.5}, flowers, dst_dir=tmp_path / "out")
    for folder in (flowers, tmp_path / "out" / "a", tmp_path / "out" / "b"):
        assert name in ImageClassificationRawMetadata(folder).labels_list


def test_a_name_in_a_labels_txt_that_breaks_the_rule_is_refused(flowers):
    path = flowers / "labels.txt"
    path.write_text("0: daisy\n1: ro\x1b[2Jses\n2: tulips", encoding="utf-8")
    assert refused(flowers) == f"line 2 of {str(path)!r} is '1: ro\\x1b[2Jses'. {RULE}"


def test_a_labels_txt_that_cannot_be_read_is_not_taken_for_none(flowers):
    path = flowers / "labels.txt"
    os.mkfifo(path)
    assert refused(flowers).startswith(f"{str(path)!r} is a FIFO, not a regular file. Expected is one line")
    path.unlink()
    path.symlink_to("labels.txt")
    assert "holds 'labels.txt' (Too many levels of symbolic links), without which" in refused(flowers)


def test_a_class_folder_that_leads_nowhere_is_refused_as_the_labels_would_shift(flowers):
    (flowers / "daisy").rename(flowers.parent / "moved")
    (flowers / "daisy").symlink_to(flowers.parent / "unmounted")
    assert refused(flowers) == (
        f"{str(flowers)!r} holds 'daisy' (a link to nowhere), without which the classes may get other labels: mend or "
        f"remove it. {LAYOUT}"
    )
    (flowers / "daisy").unlink()
    (flowers / "daisy").symlink_to("daisy")
    assert "holds 'daisy' (Too many levels of symbolic links), without which" in refused(flowers)


def test_the_system_says_why_a_folder_cannot_be_read(tmp_path):
    path = str(tmp_path / ("n" * 300))
    assert refused(path) == f"the folder {path!r} cannot be read: File name too long. {LAYOUT}"


def test_twenty_thousand_classes_take_as_long_as_twenty_thousand_lines(tmp_path):
    class Counted(str):
        """A name that counts how often it is compared: once for each class and not once for each pair."""

        __slots__ = ()
        comparisons = 0
        __hash__ = str.__hash__

        def __eq__(self, other):
            Counted.comparisons += 1
            return str.__eq__(self, other)

    names = [Counted(f"class {number}") for number in range(20_000)]
    (tmp_path / "labels.txt").write_text(labels_text(names), encoding="utf-8")
    assert read_labels(str(tmp_path), "labels.txt") == names
    Counted.comparisons = 0
    listing._check_agreement(str(tmp_path), "labels.txt", names, [Counted(name) for name in reversed(names)])
    assert Counted.comparisons <= 10 * len(names)


@pytest.mark.parametrize(
    ("text", "difference"),
    [
        ("0: daisy\n1: roses", "it does not name the folders 'tulips'"),
        ("0: daisy\n1: roses\n2: tulips\n3: lilies", "it names 'lilies', for which there is no folder"),
        (
            "0: Daisy\n1: roses\n2: tulips",
            "it names 'Daisy', for which there is no folder, and it does not name the folders 'daisy'",
        ),
    ],
)
def test_a_labels_txt_that_disagrees_with_the_folders_is_refused(flowers, text, difference):
    path = flowers / "labels.txt"
    path.write_text(text, encoding="utf-8")
    assert refused(flowers) == (
        f"{str(path)!r} disagrees with the class folders beside it: {difference}. "
        f"It must name each folder of {str(flowers)!r} once, and nothing else."
    )


def test_another_labels_file_that_is_not_there_is_refused(flowers):
    assert refused(flowers, labels_filename="names.txt") == (
        f"there is no file {str(flowers / 'names.txt')!r}. Leave labels_filename away to do without it."
    )


def test_a_redirect_dir_without_the_class_folders_is_refused(flowers, tmp_path):
    other = tmp_path / "copy"
    (other / "roses").mkdir(parents=True)
    assert refused(flowers, redirect_dir=other) == (
        f"redirect_dir {str(other)!r} lacks the folders 'daisy', 'tulips': "
        f"redirect_dir holds the same files as base_dir {str(flowers)!r}, which are then read from there."
    )
