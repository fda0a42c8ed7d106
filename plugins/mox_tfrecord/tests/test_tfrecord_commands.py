"""`mox tfrecord`, on records that TensorFlow has written, and in a process of its own."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mox_core import cli
from mox_core.errors import DataError


def feature(*values):
    if not values:
        return tf.train.Feature()
    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def example(**features):
    named = {name: value if isinstance(value, tf.train.Feature) else feature(value) for name, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=named)).SerializeToString()


def write(path, contents, compression=""):
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for content in contents:
            writer.write(content)
    return str(path)


@pytest.fixture
def run(capsys):
    """Calls `mox tfrecord` here and gives its exit status, output lines and errors."""

    def call(*arguments):
        status = cli.main(["tfrecord", *map(str, arguments)])
        shown = capsys.readouterr()
        return status, shown.out.splitlines(), shown.err

    return call


@pytest.fixture
def folder(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((20, 30, 3), 40 * number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{number}.png")
    return tmp_path / "pets"


def test_a_folder_is_written_by_a_process_of_its_own(folder, tmp_path):
    (folder / "dog" / "bad.jpg").write_bytes(b"")
    command = [sys.executable, "-m", "mox_core.cli", "tfrecord", "write", str(folder), str(tmp_path / "records")]
    options = ["--shards", "2", "--name", "eval", "--skip_bad"]
    written = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    assert written.stdout.splitlines() == [
        f"6 images of 2 classes in 2 shards, 0.0 MB: {tmp_path / 'records' / 'eval-00000-of-00002.tfrecord'} ...",
        "1 skipped:",
        f"  {str(folder / 'dog' / 'bad.jpg')!r} is empty.",
    ]


def test_records_that_exist_are_replaced_if_that_is_said(run, folder, tmp_path):
    assert run("write", folder, tmp_path / "records")[0] == 0
    status, lines, error = run("write", folder, tmp_path / "records")
    assert (status, lines) == (2, [])
    assert error.startswith(f"mox: error: dst_dir {str(tmp_path / 'records')!r} has records named 'train' already")
    assert run("write", folder, tmp_path / "records", "--overwrite")[0] == 0


def test_a_bad_image_is_refused_unless_it_may_be_skipped(run, folder, tmp_path):
    (folder / "dog" / "bad.jpg").write_bytes(b"")
    assert run("write", folder, tmp_path / "records") == (
        2,
        [],
        (
            f"mox: error: {str(folder / 'dog' / 'bad.jpg')!r} is empty. on_bad_image='skip' (--skip_bad) leaves such "
            "files out.\n"
        ),
    )


def test_what_the_system_refuses_is_one_message_too(run, folder, tmp_path):
    (folder / "dog" / "link.png").symlink_to("nowhere.png")
    status, lines, error = run("write", folder, tmp_path / "records")
    assert (status, lines) == (2, [])
    assert error == (
        f"mox: error: {str(folder / 'dog' / 'link.png')!r} cannot be read: No such file or directory. "
        "Mend or remove it.\n"
    )


def test_the_features_of_records_are_shown_with_the_values_of_the_first(run, folder, tmp_path):
    run("write", folder, tmp_path / "records")
    (file,) = (tmp_path / "records").glob("*.tfrecord")
    first = next(iter(tf.data.TFRecordDataset(str(file), buffer_size=2**20))).numpy()
    values = tf.train.Example.FromString(first).features.feature
    name = values["image/filename"].bytes_list.value[0].decode()
    text = values["image/class/text"].bytes_list.value[0].decode()
    size = len(values["image/encoded"].bytes_list.value[0])
    assert run("inspect", file) == (
        0,
        [
            str(file),
            f"  6 records, {file.stat().st_size / 1000:.1f} kB, not compressed",
            "  features, the same in all records:",
            "    name               type   values  first value",
            f"    image/class/label  int64  1       {['cat', 'dog'].index(text)}",
            f"    image/class/text   bytes  1       '{text}'",
            f"    image/encoded      bytes  1       PNG, {size} bytes",
            f"    image/filename     bytes  1       '{name}'",
            "    image/format       bytes  1       'png'",
            "    image/height       int64  1       20",
            "    image/width        int64  1       30",
        ],
        "",
    )


def test_features_that_some_records_lack_or_have_of_another_type_are_told(run, tmp_path):
    contents = [
        example(id=7, box=feature(0.5, 1 / 3), name="Zoë".encode()),
        example(id=8, box=feature(*[0.25] * 9)),
        example(id=b"\x00\xff" * 9, box=feature(1.0), none=feature()),
    ]
    status, lines, _ = run("inspect", write(tmp_path / "a", contents))
    assert status == 0
    assert lines[2:] == [
        "  features, NOT the same in all records:",
        "    name  type   values  first value                                                       in",
        "    box   float  1 to 9  [0.5, 0.333333]                                                   3 of 3",
        r"    id    bytes  1       b'\x00\xff\x00\xff\x00\xff\x00\xff\x00\xff\x00\xff'..., 18 bytes  1 of 3",
        "    id    int64  1       7                                                                 2 of 3",
        "    name  bytes  1       'Zoë'                                                             1 of 3",
        "    none  none   0       []                                                                1 of 3",
    ]


@pytest.mark.parametrize("compression", ["", "GZIP", "ZLIB"])
def test_one_record_is_shown_by_its_number(run, tmp_path, compression):
    contents = [example(id=number, text=b"word " * number) for number in range(30)]
    file = write(tmp_path / "a", contents, compression)
    assert run("inspect", file, "--record", 20)[1] == [
        file,
        f"  30 records, {(tmp_path / 'a').stat().st_size / (1 if compression else 1000):.1f}".removesuffix(".0")
        + (f" bytes, {compression}" if compression else " kB, not compressed"),
        f"  record 20, {len(contents[20])} bytes:",
        "    name  type   values  first value",
        "    id    int64  1       20",
        "    text  bytes  1       'word word word word word word word word word word word w...",
    ]
    status, _, error = run("inspect", file, "--record", 30)
    assert (status, error) == (2, f"mox: error: record is 30, and {file!r} has 30, counted from 0.\n")


def test_of_many_records_some_that_lie_evenly_are_compared(run, tmp_path):
    contents = [example(id=number) if number != 249 else b"\xff" for number in range(250)]  # 249 = 83 * 3
    lines = run("inspect", write(tmp_path / "a", contents))[1]
    assert lines[2:4] == [
        "  1 of 84 records are no tf.train.Example",
        "  features, the same in 84 of 250 records:",
    ]


def test_records_of_something_else_are_shown_as_they_are(run, tmp_path):
    file = write(tmp_path / "a", [b"BMW of 1972", b"\xff\xfe"])
    assert run("inspect", file)[1][2:] == [
        "  2 of 2 records are no tf.train.Example",
        "  record 0: 'BMW of 1972'",
    ]
    assert run("inspect", file, "--record", 1)[1][2:] == [
        r"  record 1 is no tf.train.Example: b'\xff\xfe', 2 bytes",
    ]


def test_a_cut_off_record_is_told_with_its_offset(run, tmp_path):
    contents = [example(id=number) for number in range(5)]
    sizes = [len(content) + 16 for content in contents]  # length 8, checksum 4, content, checksum 4
    (tmp_path / "cut").write_bytes((tmp_path / write(tmp_path / "a", contents)).read_bytes()[:-1])
    status, lines, _ = run("inspect", tmp_path / "cut", tmp_path / "a")
    assert status == 1
    assert lines[:2] == [str(tmp_path / "cut"), f"  4 records, {sum(sizes) - 1} bytes, not compressed"]
    assert lines[2] == (
        f"  DAMAGED: it is cut off: its record at byte {sum(sizes[:4])} goes to byte {sum(sizes)}, "
        f"and the file ends at byte {sum(sizes) - 1}. The records are those before."
    )
    assert lines[-1] == "9 records in 2 files"


@pytest.mark.parametrize("compression", ["GZIP", "ZLIB"])
def test_a_cut_off_compressed_file_is_shown_up_to_there(run, tmp_path, compression):
    random = np.random.default_rng(0)
    contents = [example(id=number, raw=random.bytes(100_000)) for number in range(20)]
    whole = (tmp_path / write(tmp_path / "a", contents, compression)).read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    status, lines, _ = run("inspect", tmp_path / "cut")
    assert status == 1
    assert lines[2].startswith("  DAMAGED: it is cut off or damaged: it cannot be decompressed from about byte ")
    assert lines[3:5] == [
        "  features, the same in all records:",
        "    name  type   values  first value",
    ]


def test_shards_that_are_missing_from_the_set_of_a_file_are_told(run, tmp_path):
    for number in (0, 2):
        write(tmp_path / f"train-{number:05d}-of-00003.tfrecord", [example(x=1)])
    status, lines, _ = run("inspect", tmp_path / "train-00000-of-00003.tfrecord")
    assert status == 1
    assert lines[-1] == (
        f"MISSING: of the records 'train-*-of-00003.tfrecord' in {str(tmp_path)!r}, 1 of 3 shards are missing: 1"
    )
    write(tmp_path / "train-00001-of-00003.tfrecord", [example(x=1)])
    assert run("inspect", *sorted(tmp_path.iterdir()))[0] == 0


def test_names_of_files_and_features_reach_the_terminal_quoted(run, tmp_path, numbers):
    odd = "x\x1b]0;title\x07\nINFO:forged"
    path = write(tmp_path / odd, [example(**{odd: 1})])
    for arguments in ([], ["--record", 0]):
        status, lines, _ = run("inspect", path, *arguments)
        assert status == 0
        assert lines[0] == repr(path)
        assert lines[-1].startswith(f"    {odd!r}  int64  1")
        assert all(line.isprintable() for line in lines)
    with pytest.raises(DataError) as caught:
        numbers(tmp_path, "*").source()
    assert str(caught.value).startswith(f"{path + ': record 0, at byte 0'!r}: it does not hold")
    assert str(caught.value).endswith(f"It holds {odd!r} (int64, 1 values).")
    assert str(caught.value).isprintable()


def test_what_is_no_file_of_records_is_told(run, tmp_path):
    (tmp_path / "text").write_text("Once upon a time there was no record at all.")
    status, lines, _ = run("inspect", tmp_path / "text")
    assert status == 1
    assert lines[1] == "  0 records, 44 bytes, not compressed"
    assert lines[2] == (
        "  DAMAGED: it is damaged: the length of its record at byte 0 does not match its checksum. "
        "Is it a file of records?"
    )
    assert run("inspect", write(tmp_path / "empty", []))[1][1:] == ["  0 records, 0 bytes, not compressed"]
    assert run("inspect", tmp_path) == (2, [], f"mox: error: {str(tmp_path)!r} is a folder; name the files in it.\n")
    assert run("inspect", "nowhere") == (2, [], "mox: error: 'nowhere' does not exist.\n")


def test_the_help_answers_without_tensorflow():
    program = (
        "import sys\n"
        "from mox_core import cli\n"
        "try:\n"
        "    cli.main(['tfrecord', 'inspect', '--help'])\n"
        "finally:\n"
        "    print(sorted(set(sys.modules) & {'tensorflow', 'keras', 'numpy'}))\n"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("usage: mox tfrecord inspect [-h] [--record N] FILE [FILE ...]\n")
    assert shown.splitlines()[-1] == "[]"
