"""Sets of files that say how many they are: whole, or refused with the numbers of what is missing."""

import os

import pytest

import mox_core as mox
from mox_core.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Makes empty files of some names."""

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def shards(numbers, total, *, name="train", end=".tfrecord"):
    return [f"{name}-{number:05d}-of-{total:05d}{end}" for number in numbers]


def found(folder, pattern):
    return [os.path.relpath(path, folder) for path in mox.BaseTFRecordMetadata(folder, pattern).files]


def refused(folder, pattern):
    with pytest.raises(DataError) as caught:
        mox.BaseTFRecordMetadata(folder, pattern)
    return str(caught.value)


WAY_OUT = "Write the set anew, or fetch what is missing. To read what is there, name the files themselves in the list "


@pytest.mark.parametrize(
    ("numbers", "total", "said"),
    [
        ([0, 1, 3], 4, "1 of 4 shards are missing: 2"),
        ([0], 4, "3 of 4 shards are missing: 1, 2, 3"),
        ([3], 4, "3 of 4 shards are missing: 0, 1, 2"),
        ([4], 4, "3 of 4 shards are missing: 1, 2, 3"),  # who counts from 1 has a shard of the number 4
        ([7], 20, "19 of 20 shards are missing: 0, 1, 2, 3, 4, 5, 6, 8, 9, 10, ..."),
        ([0], 99_999, "99998 of 99999 shards are missing: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ..."),
    ],
)
@pytest.mark.parametrize("end", ["", ".tfrecord"])
def test_a_set_with_shards_missing_is_refused_with_their_numbers(folder, numbers, total, said, end):
    root = folder(*shards(numbers, total, end=end))
    text = refused(root, "train-*")
    assert text == (f"of the records 'train-*-of-{total:05d}{end}' in {str(root)!r}, {said}. {WAY_OUT}file_pattern.")


@pytest.mark.parametrize("pattern", ["*", "train-*", "train-0000[0-3]-of-00004*", ["eval-*", "train-?????-of-00004*"]])
def test_a_pattern_that_matches_some_of_a_broken_set_is_refused(folder, pattern):
    root = folder(*shards([0, 1, 2], 4), *shards([0], 1, name="eval"))
    assert "'train-*-of-00004.tfrecord'" in refused(root, pattern)
    assert "1 of 4 shards are missing: 3" in refused(root, pattern)


def test_a_shard_that_is_a_link_to_nowhere_or_a_folder_is_missing(folder):
    root = folder(*shards([0], 3))
    (root / shards([1], 3)[0]).symlink_to(root / "unmounted")
    (root / shards([2], 3)[0]).mkdir()
    assert "2 of 3 shards are missing: 1, 2" in refused(root, "train-*")


@pytest.mark.parametrize(
    "names",
    [
        shards(range(4), 4),
        shards([1, 2, 3], 3),  # counted from 1
        shards([0], 1, end=""),
        ["part-1-of-2.tfrecord", "part-2-of-2.tfrecord"],
        [*shards(range(2), 2), *shards(range(3), 3, name="eval"), *shards(range(2), 2, name="train-small")],
        ["a/train-00000-of-00001", *(f"b/train-{number:05d}-of-00002" for number in range(2))],
    ],
    ids=str,
)
def test_whole_sets_are_read(folder, names):
    root = folder(*names)
    assert found(root, ["*/*-of-*", "*-of-*"]) == sorted(names)


def test_a_part_of_a_whole_set_and_files_by_their_own_names_are_what_is_asked_for(folder):
    root = folder(*shards(range(8), 8), *shards([1], 4, name="eval"))
    assert found(root, "train-0000[0-2]-of-*") == shards(range(3), 8)
    assert found(root, shards([1], 4, name="eval")[0]) == shards([1], 4, name="eval")
    assert found(root, shards([2, 5], 8)) == shards([2, 5], 8)


@pytest.mark.parametrize(
    "other", [shards(range(2), 2), shards(range(4), 4, end=".tfrecord.bak"), shards(range(4), 4, end="")]
)
def test_two_sets_of_one_name_are_not_read_as_one(folder, other):
    root = folder(*shards(range(4), 4), *other)
    text = refused(root, "train-*")
    assert f"matches 2 sets of records named 'train' in {str(root)!r}, 'train-*-of-" in text
    assert "which may hold the same records. Name the one that is meant, as file_pattern='train-*-of-0000" in text
    assert found(root, "train-*-of-00004.tfrecord") == shards(range(4), 4)


def test_more_shards_than_there_can_be_are_refused(folder):
    root = folder(*shards([0, 1, 5], 2))
    assert "have a shard 5, which a set of 2 does not have" in refused(root, "train-*")


def test_a_file_that_is_named_and_is_not_there_is_not_read_as_one_less(folder, said):
    root = folder(*shards([0], 2))
    assert refused(root, shards([0, 1], 2)) == (
        f"file_pattern names 'train-00001-of-00002.tfrecord', which {str(root)!r} does not hold."
    )
    assert found(root, [*shards([0], 2), "eval-*"]) == shards([0], 2)
    assert said == [f"WARNING: no file in {str(root)!r} is named like 'eval-*', of file_pattern"]


def test_what_a_pattern_matches_and_is_no_file_is_refused_and_folders_are_named(folder, said):
    root = folder("part-0", "part-1/file")
    assert found(root, "part-*") == ["part-0"]
    folders = str(root / "part-1")
    assert said == [f"WARNING: file_pattern 'part-*' matches folders, which are not read: {folders!r}"]
    os.mkfifo(root / "part-2")
    (root / "part-3").symlink_to("/dev/zero")
    (root / "part-4").symlink_to(root / "part-4")
    assert refused(root, "part-*") == (
        f"files that file_pattern 'part-*' matches cannot be read: {str(root / 'part-2')!r} (it is a FIFO, not a "
        f"regular file), {str(root / 'part-3')!r} (it is a device, not a regular file), {str(root / 'part-4')!r} (Too "
        "many levels of symbolic links)."
    )


def test_a_labels_file_that_is_no_regular_file_is_not_taken_for_none(folder):
    root = folder(*shards([0], 1))
    os.mkfifo(root / "labels.txt")
    with pytest.raises(DataError, match=r"labels\.txt' is a FIFO, not a regular file\."):
        mox.ImageClassificationTFRecordMetadata(root, "train-*")
