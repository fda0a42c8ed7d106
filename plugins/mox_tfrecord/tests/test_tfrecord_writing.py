"""From a folder of images to records, read back by TensorFlow and compared with the files themselves."""

import contextlib
import fcntl
import io
import os
import pty
import socket
import struct
import termios

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mox_core as mox
from mox_core.errors import DataError, UsageError
from mox_core.terminal import progress
from mox_tfrecord import writing
from records import features_of


def picture(height=24, width=40, *, shift=0):
    rows, columns = np.mgrid[0:height, 0:width]
    channels = (columns * 255 // (width - 1), rows * 255 // (height - 1), (rows + columns + shift) * 2 % 256)
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def flowers(tmp_path):
    """Three classes of 4, 3 and 2 images, JPEG and PNG of several sizes."""
    root = tmp_path / "flowers"
    for name, count in (("tulips", 4), ("daisy", 3), ("roses", 2)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            extension = ("png", "jpg")[number % 2]
            picture(20 + number, 30, shift=10 * number).save(root / name / f"{name}_{number}.{extension}")
    return root


def test_a_record_holds_the_files_own_bytes_and_what_they_are(flowers, dst):
    written = mox.write_image_classification_tfrecords(flowers, dst)
    assert names(dst) == ["labels.txt", "train-00000-of-00001.tfrecord"]
    assert (dst / "labels.txt").read_text("utf-8") == "0: daisy\n1: roses\n2: tulips\n"
    classes = ["daisy", "roses", "tulips"]
    expected = {
        path.name.encode(): {
            "image/encoded": path.read_bytes(),
            "image/format": {".jpg": b"jpeg", ".png": b"png"}[path.suffix],
            "image/class/label": classes.index(path.parent.name),
            "image/class/text": path.parent.name.encode(),
            "image/filename": path.name.encode(),
            "image/height": 20 + int(path.stem.rpartition("_")[2]),
            "image/width": 30,
        }
        for path in flowers.glob("*/*")
    }
    records = features_of(*written.files)
    assert len(records) == 9
    assert {record["image/filename"]: record for record in records} == expected
    size = (dst / "train-00000-of-00001.tfrecord").stat().st_size
    assert (written.classes, written.num_images, written.num_bytes) == (("daisy", "roses", "tulips"), 9, size)
    assert str(written) == f"9 images of 3 classes in 1 shard, {size / 1e6:.1f} MB: {written.files[0]}"


def test_labels_txt_gives_the_order_of_the_classes(flowers, dst):
    (flowers / "labels.txt").write_text("0: tulips\n2: daisy\n1: roses\n", "utf-8")
    (flowers / ".hidden").mkdir()
    (flowers / "daisy" / ".thumbnail.png").write_bytes(b"hidden")
    written = mox.write_image_classification_tfrecords(flowers, dst)
    assert written.classes == ("tulips", "roses", "daisy")
    assert (dst / "labels.txt").read_text("utf-8") == "0: tulips\n1: roses\n2: daisy\n"
    assert {(r["image/class/label"], r["image/class/text"]) for r in features_of(*written.files)} == {
        (0, b"tulips"),
        (1, b"roses"),
        (2, b"daisy"),
    }


def test_shards_are_alike_and_hold_each_image_once(many, dst):
    written = mox.write_image_classification_tfrecords(many, dst, name="eval", num_shards=4)
    assert [file.name for file in written.files] == [f"eval-0000{shard}-of-00004.tfrecord" for shard in range(4)]
    shards = [features_of(file) for file in written.files]
    assert [len(shard) for shard in shards] == [20] * 4
    # Each has 15 of a and 5 of b on average. Fewer than 1 of b has a chance of C(60, 20) / C(80, 20) = 0.1 %.
    assert all(any(r["image/class/text"] == b"b" for r in shard) for shard in shards)
    found = [(r["image/class/text"].decode(), r["image/filename"].decode()) for shard in shards for r in shard]
    assert found != sorted(found)
    assert sorted(found) == sorted((path.parent.name, path.name) for path in many.glob("*/*"))


def test_the_features_of_a_record_have_an_order_of_their_own_not_that_of_the_process(flowers, dst):
    for file in mox.write_image_classification_tfrecords(flowers, dst).files:
        for content in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            places = {
                name: content.index(name.encode()) for name in tf.train.Example.FromString(content).features.feature
            }
            assert sorted(places, key=places.get) == sorted(places)


def test_the_same_seed_gives_the_same_files(many, tmp_path):
    def write(folder, seed):
        written = mox.write_image_classification_tfrecords(many, tmp_path / folder, num_shards=3, seed=seed)
        return [file.read_bytes() for file in written.files]

    first = write("first", 7)
    assert write("second", 7) == first
    assert write("third", 8) != first


@pytest.mark.parametrize(("parts", "num_shards"), [(3, 3), (2.6, 3), (1.4, 1), (0.1, 1), (1e9, 80)])
def test_without_a_number_there_are_as_many_shards_as_give_them_one_size(many, dst, monkeypatch, parts, num_shards):
    num_bytes = sum(path.stat().st_size for path in many.glob("*/*"))
    monkeypatch.setattr(writing, "_SHARD_BYTES", num_bytes / parts)
    assert len(mox.write_image_classification_tfrecords(many, dst).files) == num_shards


def test_other_formats_become_png_with_the_same_pixels(many, dst):
    folder = many / "a"
    image = picture()
    image.save(folder / "x.webp", lossless=True)
    image.quantize(16).save(folder / "palette.bmp")
    image.save(folder / "animated.gif", save_all=True, append_images=[image.rotate(180)])
    image.convert("CMYK").save(folder / "cmyk.tiff")
    deep = Image.fromarray((np.arange(64).reshape(8, 8) * 1000).astype(np.uint16))
    deep.save(folder / "deep.tiff")
    written = mox.write_image_classification_tfrecords(many, dst)
    records = {r["image/filename"]: r for r in features_of(*written.files)}
    for name in ("x.webp", "palette.bmp", "animated.gif", "cmyk.tiff"):
        record = records[name.encode()]
        with Image.open(folder / name) as original:
            expected = np.asarray(original.convert("RGB"))
        pixels = tf.io.decode_image(record["image/encoded"], channels=3, expand_animations=False).numpy()
        np.testing.assert_array_equal(pixels, expected)
        assert (record["image/format"], record["image/height"], record["image/width"]) == (b"png", 24, 40)
    pixels = tf.io.decode_png(records[b"deep.tiff"]["image/encoded"], dtype=tf.uint16).numpy()
    np.testing.assert_array_equal(pixels[..., 0], np.asarray(deep))
    assert written.converted == {"BMP": 1, "TIFF": 2, "WEBP": 1, "GIF, the first of several images in a file": 1}
    assert str(written).splitlines()[1:] == [
        "1 converted to PNG from BMP",
        "1 converted to PNG from GIF, the first of several images in a file",
        "2 converted to PNG from TIFF",
        "1 converted to PNG from WEBP",
    ]


def test_the_format_is_told_by_the_bytes_and_not_by_the_name(many, dst):
    picture().save(many / "a" / "png.jpg", "PNG")
    picture().convert("CMYK").save(many / "a" / "cmyk.png", "JPEG")
    with Image.open(many / "a" / "cmyk.png") as image:
        expected = np.asarray(image.convert("RGB")).astype(int)
    written = mox.write_image_classification_tfrecords(many, dst)
    records = {r["image/filename"]: r for r in features_of(*written.files)}
    assert records[b"png.jpg"]["image/format"] == b"png"
    assert records[b"cmyk.png"]["image/format"] == b"jpeg"
    pixels = tf.io.decode_jpeg(records[b"cmyk.png"]["image/encoded"], channels=3).numpy()
    assert np.abs(pixels - expected).max() <= 12  # TensorFlow's decoder and Pillow's differ in rounding
    assert written.converted == {}


def jpeg_with_preview():
    """A JPEG whose header holds a small JPEG, which has an end of its own."""
    preview, whole = io.BytesIO(), io.BytesIO()
    picture(8, 8).save(preview, "JPEG")
    picture(200, 200).save(whole, "JPEG")
    segment = b"Preview\0" + preview.getvalue()
    return whole.getvalue()[:2] + b"\xff\xe9" + (len(segment) + 2).to_bytes(2, "big") + segment + whole.getvalue()[2:]


def png():
    buffer = io.BytesIO()
    picture(200, 200).save(buffer, "PNG")
    return buffer.getvalue()


BAD = {
    "empty": (b"", "is empty."),
    "text": (b"Once upon a time", "is no image of a format that Pillow knows."),
    "cut-off JPEG": (jpeg_with_preview()[:-2], "is a cut-off JPEG."),
    "JPEG without pixels": (jpeg_with_preview()[:1200], "cannot be read: OSError: Truncated File Read."),
    "PNG without its end": (png()[:-3], "is a cut-off PNG."),
    "cut-off PNG": (png()[:-100], "cannot be read: OSError: Truncated File Read."),
    "PNG with a wrong byte": (png()[:500] + b"\0\0\0\0" + png()[504:], "cannot be read: SyntaxError: broken PNG file"),
}


@pytest.mark.parametrize(("content", "reason"), BAD.values(), ids=BAD)
def test_a_bad_image_is_named_and_nothing_is_written(many, dst, content, reason):
    (many / "b" / "bad.jpg").write_bytes(content)
    with pytest.raises(DataError) as caught:
        mox.write_image_classification_tfrecords(many, dst)
    assert str(caught.value).startswith(f"{str(many / 'b' / 'bad.jpg')!r} {reason}")
    assert str(caught.value).endswith(" on_bad_image='skip' (--skip_bad) leaves such files out.")
    assert names(dst) == []


@pytest.mark.parametrize("content", [content for content, _ in BAD.values()], ids=BAD)
def test_tensorflow_cannot_decode_what_is_called_bad_either(content):
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.decode_image(content)


def test_an_image_with_a_preview_in_its_header_is_good(many, dst):
    (many / "a" / "preview.jpg").write_bytes(jpeg_with_preview())
    written = mox.write_image_classification_tfrecords(many, dst)
    assert jpeg_with_preview() in [r["image/encoded"] for r in features_of(*written.files)]


def test_bad_images_can_be_skipped_and_are_all_told(many, dst, log):
    (many / "b" / "cut.png").write_bytes(png()[:-3])
    (many / "a" / "notes.jpg").write_text("not an image", "utf-8")
    written = mox.write_image_classification_tfrecords(many, dst, num_shards=3, on_bad_image="skip")
    assert (written.num_images, len(features_of(*written.files))) == (80, 80)
    reasons = [
        f"{str(many / 'a' / 'notes.jpg')!r} is no image of a format that Pillow knows.",
        f"{str(many / 'b' / 'cut.png')!r} is a cut-off PNG.",
    ]
    assert sorted(written.skipped) == reasons
    assert str(written).splitlines()[1:] == ["2 skipped:", *(f"  {reason}" for reason in written.skipped)]
    assert sorted(log.messages) == [f"Skipped: {reason}" for reason in reasons]


def test_a_class_of_bad_images_only_is_refused_even_if_they_may_be_skipped(flowers, dst):
    for path in (flowers / "roses").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"^every image of class 'roses' is bad; the first of all: '.*' is empty\.$"):
        mox.write_image_classification_tfrecords(flowers, dst, on_bad_image="skip")
    assert names(dst) == []


FOLDERS = {
    "missing": (
        lambda src: src.rename(src.with_name("moved")),
        r"^there is no folder '.*'\. Expected is a folder for each",
    ),
    "a file": (lambda src: (src.rename(src.with_name("moved")), src.touch()), r"^'.*' is a file, not a folder\."),
    "an empty class": (lambda src: (src / "c").mkdir(), r"^class folder '.*/c' holds no image, nor anything else\."),
    "a folder too high": (lambda src: (src / "c" / "d").mkdir(parents=True), r"holds no image, but folders \('d'\)\."),
    "a class that labels.txt lacks": (
        lambda src: (src / "labels.txt").write_text("0: a\n"),
        r"disagrees with the class folders beside it: it names none without a folder, and lacks 'b'\.",
    ),
    "a line that is no label": (
        lambda src: (src / "labels.txt").write_text("0: a\nb\n"),
        r"^line 2 of '.*labels.txt' is 'b'\. Expected is one line for each class",
    ),
    "an index twice": (
        lambda src: (src / "labels.txt").write_text("0: a\n0: b\n"),
        r"gives index 0 a second time\.",
    ),
    "a class twice": (
        lambda src: (src / "labels.txt").write_text("0: a\n1: b\n2: b\n"),
        r"names class 'b' a second time\.",
    ),
    "a gap": (lambda src: (src / "labels.txt").write_text("0: a\n2: b\n"), r"goes up to index 2 and lacks 1\."),
    "an odd name": (lambda src: (src / "c\n").mkdir(), r"^the name of class folder 'c\\n' in '.*' cannot stand in a"),
}


@pytest.mark.parametrize(("change", "message"), FOLDERS.values(), ids=FOLDERS)
def test_what_is_no_folder_of_class_folders_is_refused(many, dst, change, message):
    change(many)
    with pytest.raises(DataError, match=message):
        mox.write_image_classification_tfrecords(many, dst)
    assert not dst.exists()


def test_a_folder_of_images_without_classes_is_refused(many, dst):
    with pytest.raises(DataError, match=r"a' holds 60 files \('0\.png', '1\.png', '10\.png', \.\.\.\) and no folder\."):
        mox.write_image_classification_tfrecords(many / "a", dst)


def test_folders_among_the_images_of_a_class_are_told(many, dst, log):
    (many / "a" / "more").mkdir()
    (many / "a" / "more" / "1.png").write_bytes(png())
    (many / "a" / "notes.txt").write_text("not an image", "utf-8")
    mox.write_image_classification_tfrecords(many, dst)
    expected = "Expected is a folder for each class with the images of that class in it: src_dir/<class>/<image>."
    assert log.messages == [
        f"{str(many)!r}: 1 file is left out that no reader takes: .txt 1 (formats read are those of Pillow).",
        f"{str(many)!r}: 1 folder among the images is not read, with 1 image inside: 'a/more'. {expected}",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a/b"}, r"^name is 'a/b'; it must be the beginning of file names, like 'train'"),
        ({"name": ".train"}, r"^name is '\.train'"),
        ({"num_shards": 0}, r"^num_shards is 0; it must be a whole number from 1 to the 80 images\.$"),
        ({"num_shards": 81}, r"^num_shards is 81;"),
        ({"num_shards": True}, r"^num_shards is True;"),
        ({"on_bad_image": "ignore"}, r"^on_bad_image is 'ignore'; it must be 'raise' or 'skip'\.$"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(many, dst, options, message):
    with pytest.raises(UsageError, match=message):
        mox.write_image_classification_tfrecords(many, dst, **options)
    assert not dst.exists()


def test_a_file_is_no_folder_for_records(many):
    with pytest.raises(UsageError, match=r"^dst_dir '.*0\.png' is a file; it must be a folder, or not there yet\.$"):
        mox.write_image_classification_tfrecords(many, many / "a" / "0.png")


def test_a_file_that_cannot_be_read_is_an_error_even_if_bad_images_are_skipped(many, dst):
    for leads_to, reason in (("nowhere", "No such file or directory"), ("link", "Too many levels of symbolic links")):
        path = many / "a" / "link"
        path.symlink_to(leads_to)
        with pytest.raises(DataError) as caught:
            mox.write_image_classification_tfrecords(many, dst, on_bad_image="skip")
        assert str(caught.value) == f"{str(path)!r} cannot be read: {reason}. Mend or remove it."
        path.unlink()
        assert names(dst) == []


def test_what_is_no_regular_file_is_named_and_never_opened(many, dst):
    os.mkfifo(many / "b" / "pipe.png")
    (many / "a" / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(many / "a" / "socket"))  # addresses are short
        with pytest.raises(
            DataError,
            match=r"' is a (FIFO|device|socket), not a regular file\. on_bad_image='skip' \(--skip_bad\) leaves",
        ):
            mox.write_image_classification_tfrecords(many, dst)
        written = mox.write_image_classification_tfrecords(many, dst, on_bad_image="skip")
    assert sorted(written.skipped) == [
        f"{str(many / 'a' / 'socket')!r} is a socket, not a regular file.",
        f"{str(many / 'a' / 'zero.png')!r} is a device, not a regular file.",
        f"{str(many / 'b' / 'pipe.png')!r} is a FIFO, not a regular file.",
    ]
    assert (written.num_images, len(features_of(*written.files))) == (80, 80)


@pytest.mark.parametrize("inner", ["", "records"])
def test_records_are_not_written_among_the_classes(many, inner):
    with pytest.raises(UsageError, match=r"^dst_dir '.*' lies in src_dir '.*'; it must be a folder outside of it\.$"):
        mox.write_image_classification_tfrecords(many, many / inner)


def test_a_bar_is_shown_on_a_terminal(many, dst):
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(child, "w") as terminal, contextlib.redirect_stderr(terminal):
        mox.write_image_classification_tfrecords(many, dst)
        shown = os.read(parent, 10_000).decode()
    os.close(parent)
    assert "Writing train" in shown
    assert "of 80 images" in shown


def test_elsewhere_a_line_is_logged_now_and_then(many, dst, monkeypatch, log, capsys):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    mox.write_image_classification_tfrecords(many, dst)
    assert log.messages == [f"Writing train: {number} of 80 images" for number in range(1, 81)]
    assert "%" not in capsys.readouterr().err
