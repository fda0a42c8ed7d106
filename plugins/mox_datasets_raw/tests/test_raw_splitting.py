"""split_image_classification_dataset: sizes by hand, nothing lost, nothing twice, nothing half."""

import shutil
import signal
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

import forked
from mox_core.datasets.labels import labels_text
from mox_core.datasets.whole_sets import whole_set
from mox_core.errors import DataError, UsageError
from mox_datasets_raw.classification import ImageClassificationRawMetadata
from mox_datasets_raw.splitting import part_sizes, split_image_classification_dataset


@pytest.fixture
def source(tmp_path):
    """Files need not be images to be copied."""
    root = tmp_path / "flowers"
    for name, count in (("daisy", 10), ("roses", 2), ("tulips", 25)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.jpg").write_text(f"{name} {number}")
    return root


def content(root):
    """Every file but the record that a split keeps in each part."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name != ".mox-split.json"]
    return {str(path.relative_to(root)): path.read_text() for path in files}


def files_of(root, split):
    return {name: text for name, text in content(root / split).items() if name != "labels.txt"}


@pytest.mark.parametrize(
    ("num_files", "fractions", "sizes"),
    [
        (10, [0.9, 0.1], [9, 1]),
        (25, [0.9, 0.1], [23, 2]),  # 22.5 and 2.5: the first of equals gets the odd one
        (2, [0.9, 0.1], [1, 1]),
        (5, [0.9, 0.1], [4, 1]),
        (100, [0.29, 0.71], [29, 71]),  # 0.29 * 100 is below 29 in floating point
        (10, [0.34, 0.33, 0.33], [4, 3, 3]),
        (7, [0.5, 0.3, 0.2], [4, 2, 1]),  # 3.5, 2.1, 1.4
        (3, [0.98, 0.01, 0.01], [1, 1, 1]),
        (3301, [0.8, 0.2], [2641, 660]),  # 2640.8, 660.2
    ],
)
def test_sizes_of_the_parts(num_files, fractions, sizes):
    given = {str(number): Fraction(str(fraction)) for number, fraction in enumerate(fractions)}
    assert list(part_sizes(num_files, given).values()) == sizes


def test_every_image_is_in_one_part_and_every_class_in_both(source, tmp_path):
    before = content(source)
    target = tmp_path / "split"
    split_image_classification_dataset({"train": 0.9, "eval": 0.1}, src_dir=source, dst_dir=target)
    train, evaluation = files_of(target, "train"), files_of(target, "eval")
    assert not train.keys() & evaluation.keys()
    assert train | evaluation == before == content(source)
    for part, sizes in ((train, [9, 1, 23]), (evaluation, [1, 1, 2])):
        assert [sum(name.startswith(kind) for name in part) for kind in ("daisy", "roses", "tulips")] == sizes
    assert sorted(path.name for path in target.iterdir()) == ["eval", "train"]


def test_the_parts_share_the_indices_of_the_classes(source, tmp_path):
    (source / "labels.txt").write_text("0: tulips\n1: roses\n2: daisy\n", encoding="utf-8")
    split_image_classification_dataset(split_spec={"train": 0.5, "eval": 0.5}, src_dir=source, dst_dir=tmp_path / "out")
    for split in ("train", "eval"):
        meta = ImageClassificationRawMetadata(tmp_path / "out" / split)
        assert meta.labels_list == ["tulips", "roses", "daisy"]


def test_the_same_images_go_to_the_same_part_wherever_the_folder_is(source, tmp_path):
    spec = {"train": 0.7, "eval": 0.3}
    split_image_classification_dataset(spec, src_dir=str(source), dst_dir=str(tmp_path / "one"))
    source.rename(tmp_path / "moved")
    split_image_classification_dataset(spec, src_dir=tmp_path / "moved", dst_dir=tmp_path / "two")
    assert content(tmp_path / "one") == content(tmp_path / "two")
    # and they are mixed: the first seven names of ten are not the training images
    train = {name for name in files_of(tmp_path / "one", "train") if name.startswith("daisy")}
    assert train != {f"daisy/{number}.jpg" for number in range(7)}


def test_parts_that_exist_are_refused(source, tmp_path):
    (tmp_path / "out" / "eval").mkdir(parents=True)
    with pytest.raises(UsageError) as caught:
        split_image_classification_dataset({"train": 0.9, "eval": 0.1}, src_dir=source, dst_dir=tmp_path / "out")
    path = str(tmp_path / "out")
    assert str(caught.value) == (
        f"dst_dir {path!r} already holds 'eval'. overwrite=True replaces what a split has written."
    )
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["eval"]


def test_overwrite_replaces_the_parts_and_leaves_the_rest(source, tmp_path):
    target = tmp_path / "out"
    spec = {"eval": 0.5, "test": 0.5}
    (source / "lilies").mkdir()
    for name in "ab":
        (source / "lilies" / name).touch()
    split_image_classification_dataset(spec, src_dir=source, dst_dir=target)
    (target / "notes.txt").write_text("mine")
    shutil.rmtree(source / "lilies")
    before = content(target / "test")
    split_image_classification_dataset({"train": 0.9, "eval": 0.1}, src_dir=source, dst_dir=target, overwrite=True)
    assert sorted(path.name for path in target.iterdir()) == ["eval", "notes.txt", "test", "train"]
    assert sorted(path.name for path in (target / "eval").glob("[!.]*")) == ["daisy", "labels.txt", "roses", "tulips"]
    assert content(target / "test") == before


def spoil_by_a_file(part):
    (part / "daisy" / "mine.jpg").touch()
    return "holds what was added or changed since: 'daisy/mine.jpg'"


def spoil_by_a_folder(part):
    (part / "drafts").mkdir()
    return "holds what was added or changed since: 'drafts'"


def spoil_by_a_change(part):
    image = next((part / "tulips").iterdir())
    image.write_text(image.read_text() + " retouched")
    return f"holds what was added or changed since: 'tulips/{image.name}'"


def spoil_by_a_link(part):
    part.rename(part.with_name("mine"))
    part.symlink_to(part.with_name("mine"))
    return "is a link"


def spoil_the_record(part):
    (part / ".mox-split.json").write_text("[]")
    return "cannot be compared with its .mox-split.json (list indices must be integers or slices, not str)"


def a_folder_of_the_user(part):
    shutil.rmtree(part)
    (part / "run_1").mkdir(parents=True)
    (part / "run_1" / "weights").write_text("of three weeks")
    return "has no .mox-split.json"


def a_file_of_the_user(part):
    shutil.rmtree(part)
    part.write_text("mine")
    return "is no folder"


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_by_a_file,
        spoil_by_a_folder,
        spoil_by_a_change,
        spoil_by_a_link,
        spoil_the_record,
        a_folder_of_the_user,
        a_file_of_the_user,
    ],
)
def test_overwrite_takes_nothing_that_no_split_has_written(source, tmp_path, spoil):
    spec, target = {"train": 0.9, "eval": 0.1}, tmp_path / "out"
    split_image_classification_dataset(spec, src_dir=source, dst_dir=target)
    reason = spoil(target / "train")
    before = content(target)
    with pytest.raises(UsageError) as caught:
        split_image_classification_dataset(spec, src_dir=source, dst_dir=target, overwrite=True)
    assert str(caught.value) == (
        f"overwrite=True replaces only what a split has written, and {str(target / 'train')!r} {reason}. Move or "
        "remove it yourself, or give another dst_dir."
    )
    assert content(target) == before


KILLED = """
import os, signal, sys
from pathlib import Path
from mox_datasets_raw.splitting import split_image_classification_dataset

calls, rename = 0, Path.rename
def watched(path, target):
    global calls
    if calls == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    calls += 1
    return rename(path, target)
Path.rename = watched
split_image_classification_dataset({"train": 0.5, "eval": 0.5}, sys.argv[1], dst_dir=sys.argv[2], overwrite=True)
"""


@pytest.mark.parametrize("renames", [1, 3])  # two old parts go, two new ones come
def test_a_split_that_is_killed_is_undone_by_the_next_one(source, tmp_path, renames):
    target = tmp_path / "out"
    split_image_classification_dataset({"train": 0.9, "eval": 0.1}, src_dir=source, dst_dir=target)
    before = content(target)
    command = [sys.executable, "-c", KILLED, str(source), str(target), str(renames)]
    assert forked.run(command, check=False).returncode == -signal.SIGKILL
    with pytest.raises(UsageError, match="already holds 'train', 'eval'"):
        split_image_classification_dataset({"train": 0.9, "eval": 0.1}, src_dir=source, dst_dir=target)
    assert content(target) == before
    assert sorted(path.name for path in target.iterdir()) == ["eval", "train"]


def test_two_splits_at_a_time_do_not_sweep_each_other_up(source, tmp_path):
    target = tmp_path / "out"
    with whole_set(target, "split") as other:
        (other.folder / "train").mkdir()
        with pytest.raises(DataError) as caught:
            split_image_classification_dataset({"a": 0.5, "b": 0.5}, src_dir=source, dst_dir=target)
        assert str(caught.value) == (
            f"another process is writing 'split' into {str(target)!r}, in {other.hidden.name!r} there. Wait until it "
            "has ended, or end it."
        )
        assert (other.folder / "train").is_dir()
    assert not list(target.iterdir())


def test_the_parts_may_stand_beside_the_source(source):
    split_image_classification_dataset({"train": 0.9, "eval": 0.1}, src_dir=source, dst_dir=source.parent)
    assert sorted(path.name for path in source.parent.iterdir()) == ["eval", "flowers", "train"]


def test_links_to_nowhere_are_left_out_of_a_split_in_one_warning(source, tmp_path, caplog):
    for name in ("0.jpg", "1.jpg"):
        (source / "daisy" / name).unlink()
        (source / "daisy" / name).symlink_to(source / "nowhere")
    split_image_classification_dataset({"train": 0.9, "eval": 0.1}, src_dir=source, dst_dir=tmp_path / "out")
    links = "'daisy/0.jpg' (a link to nowhere), 'daisy/1.jpg' (a link to nowhere)"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"2 entries are left out of the parts of {str(source)!r}: {links}"]
    copied = {path.name for path in (tmp_path / "out").glob("*/daisy/*")}
    assert copied == {path.name for path in (source / "daisy").iterdir()} - {"0.jpg", "1.jpg"}


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that is there and cannot be read by root")
def test_images_that_cannot_be_read_are_named_together_before_anything_is_copied(source, tmp_path):
    for name in ("0.jpg", "1.jpg"):
        (source / "daisy" / name).unlink()
        (source / "daisy" / name).symlink_to("/proc/self/mem")
    target = tmp_path / "out"
    with pytest.raises(DataError) as caught:
        split_image_classification_dataset({"train": 0.9, "eval": 0.1}, src_dir=source, dst_dir=target, overwrite=True)
    assert str(caught.value) == (
        f"2 images in {str(source)!r} cannot be copied: 'daisy/0.jpg' (Input/output error), 'daisy/1.jpg' "
        "(Input/output error). Mend or remove them."
    )
    assert not target.exists()


def test_a_class_with_fewer_images_than_parts_is_refused(source, tmp_path):
    with pytest.raises(DataError) as caught:
        split_image_classification_dataset(
            {"train": 0.8, "eval": 0.1, "test": 0.1}, src_dir=source, dst_dir=tmp_path / "out"
        )
    assert str(caught.value) == (f"class 'roses' in {str(source)!r} has 2 images, too few for 3 parts: each needs one.")
    next((source / "roses").iterdir()).unlink()
    with pytest.raises(DataError, match=r" has 1 image, too few for 2 parts"):
        split_image_classification_dataset({"train": 0.8, "eval": 0.2}, src_dir=source, dst_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "spec",
    [{"train": 0.9, "eval": 0.2}, {"train": 1.0, "eval": 0.0}, {"train": 1.5, "eval": -0.5}, {}, {"train": "all"}, 0.9],
)
def test_fractions_that_are_not_parts_of_one_are_refused(source, tmp_path, spec):
    with pytest.raises(UsageError) as caught:
        split_image_classification_dataset(spec, src_dir=source, dst_dir=tmp_path / "out")
    assert str(caught.value) == (
        f"split_spec is {spec!r}; it must give the fraction of each part, like {{'train': 0.9, 'eval': 0.1}}, "
        "each above 0 and together 1."
    )


def test_thirds_are_parts_of_one(source, tmp_path):
    (source / "roses" / "2.jpg").touch()
    split_image_classification_dataset(dict.fromkeys("abc", 1 / 3), src_dir=source, dst_dir=tmp_path / "out")
    assert [len(files_of(tmp_path / "out", split)) for split in "abc"] == [4 + 1 + 9, 3 + 1 + 8, 3 + 1 + 8]


@pytest.mark.parametrize("name", ["../train", "", "a/b", ".hidden", ".."])
def test_a_part_whose_name_is_no_folder_name_is_refused(source, tmp_path, name):
    with pytest.raises(UsageError, match="it must be the name of a folder in dst_dir"):
        split_image_classification_dataset({name: 0.5, "eval": 0.5}, src_dir=source, dst_dir=tmp_path / "out")


def test_a_target_inside_the_source_is_refused(source):
    with pytest.raises(UsageError, match=r"dst_dir '.*' lies in src_dir '.*'; it must be a folder outside of it\."):
        split_image_classification_dataset({"train": 0.5, "eval": 0.5}, src_dir=source, dst_dir=source / "split")


def test_a_source_that_is_a_loop_of_links_is_refused(source, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match=r"the folder '.*loop' cannot be read: Too many levels of symbolic links\."):
        split_image_classification_dataset({"a": 0.5, "b": 0.5}, src_dir=tmp_path / "loop", dst_dir=tmp_path / "out")
    with pytest.raises(DataError, match=r"the parts cannot be written into '.*loop': File exists\."):
        split_image_classification_dataset({"a": 0.5, "b": 0.5}, src_dir=source, dst_dir=tmp_path / "loop")


def test_a_part_that_is_the_source_is_refused(source):
    with pytest.raises(UsageError, match="part 'flowers' would be written over src_dir"):
        split_image_classification_dataset(
            {"flowers": 0.5, "eval": 0.5}, src_dir=source, dst_dir=source.parent, overwrite=True
        )


def test_a_source_that_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        split_image_classification_dataset(
            {"train": 0.5, "eval": 0.5}, src_dir=tmp_path / "no", dst_dir=tmp_path / "out"
        )


def size_of(path):
    with Image.open(path) as image:
        return image.size


def test_max_side_shrinks_longer_images_and_copies_the_others(tmp_path, caplog):
    source = tmp_path / "src"
    for name in ("one", "two"):
        (source / name).mkdir(parents=True)
        Image.new("RGB", (90, 60), "red").save(source / name / "large.jpg")
        Image.new("RGB", (30, 60), "red").save(source / name / "large.png")
        Image.new("RGB", (20, 30), "red").save(source / name / "small.jpg")
        (source / name / "text.jpg").write_text("404 not found")
    split_image_classification_dataset({"all": 1.0}, source, dst_dir=tmp_path / "dst", max_side=30)
    part = tmp_path / "dst" / "all"
    assert (part / "labels.txt").read_bytes() == labels_text(["one", "two"]).encode()
    for name in ("one", "two"):
        assert size_of(part / name / "large.jpg") == (30, 20)
        assert size_of(part / name / "large.png") == (15, 30)
        for same in ("small.jpg", "text.jpg"):
            assert (part / name / same).read_bytes() == (source / name / same).read_bytes()
    assert sum("text.jpg' is copied as it is, not shrunk" in message for message in caplog.messages) == 2
    split_image_classification_dataset({"all": 1.0}, source, dst_dir=tmp_path / "dst", max_side=20, overwrite=True)
    assert size_of(part / "one" / "small.jpg") == (13, 20)
    with pytest.raises(UsageError, match="max_side is 0; it must be a whole number of pixels from 1, or None"):
        split_image_classification_dataset({"all": 1.0}, source, dst_dir=tmp_path / "dst", max_side=0)
