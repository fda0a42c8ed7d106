"""`mox predict` and `mox_core.serving`: new images are treated as those of EVAL, and what a model cannot do is said."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import forked
import mox_core as mox
from mox_core import serving
from predict_cases import CLASSES, SIZE, make_job, says, train


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """A model that was trained with validation; the probabilities of PREDICT by file; the path of the export."""
    log_dir = tmp_path_factory.mktemp("trained") / "log"
    job = make_job(images)
    exported = train(job, log_dir, inter_mode=mox.ModeKeys.EVAL)
    steps = []
    mox.run(run_mode=mox.ModeKeys.PREDICT, log_dir=log_dir, output_fn=steps.extend, output_every_n_steps=1, **job)
    logits = np.concatenate([step["logits"] for step in steps]).astype(np.float64)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    # In the order of the data set: classes by name, and the files of each by name.
    files = [path for name in sorted(CLASSES) for path in sorted((images / name).iterdir())]
    assert [os.fsencode(path.name) for path in files] == [name for step in steps for name in step["name"]]
    return exported.export_path, dict(zip(map(str, files), powers / powers.sum(1, keepdims=True), strict=True))


def test_what_mox_predict_says_of_files_is_what_predict_said_of_them(images, trained, capsys):
    model, expected = trained
    status, out, err = says(capsys, model, images, "--json", "--batch_size", "5", "--top", "3")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert told["input"] == "images as input_fn makes them in EVAL"
    assert told["scores"] == "probabilities, the softmax of logits"
    assert [each["image"] for each in told["images"]] == list(expected)
    for each in told["images"]:
        probabilities = expected[each["image"]]
        assert [top["label"] for top in each["top"]] == np.argsort(-probabilities).tolist()
        for top in each["top"]:
            assert top["class"] == CLASSES[top["label"]]
            assert top["score"] == pytest.approx(probabilities[top["label"]], abs=1e-6)


def test_the_saved_model_works_without_mox_and_brings_its_preprocessing_along(images, trained):
    model, expected = trained
    file = str(images / "daisy" / "1x.png")
    program = """
import sys
sys.modules["mox_core"] = None  # importing it raises
import json, pathlib
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
image = model.preprocess(tf.io.decode_png(tf.io.read_file(sys.argv[2]), channels=3))
logits = model.signatures["serving_default"](images=image[tf.newaxis])["logits"]
names = json.loads(pathlib.Path(sys.argv[1], "assets.extra", "mox.json").read_text("utf-8"))["classes"]["names"]
print(json.dumps([names, tf.nn.softmax(logits)[0].numpy().tolist()]))
"""
    done = forked.run([sys.executable, "-c", program, model, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    names, probabilities = json.loads(done.stdout)
    assert names == list(CLASSES)
    np.testing.assert_allclose(probabilities, expected[file], atol=1e-6)


def _with_preview(path):
    """Return the bytes of a JPEG with a whole JPEG in its header, far from its end."""
    buffer, content = io.BytesIO(), path.read_bytes()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    preview = buffer.getvalue()
    whole = content[:2] + b"\xff\xe1" + (len(preview) + 2).to_bytes(2, "big") + preview + content[2:]
    assert b"\xff\xd9" not in whole[-1024:-2]
    return whole


@pytest.fixture(scope="module")
def mess(images, tmp_path_factory):
    """A folder of good files with odd names, bad ones, and what is no image."""
    folder = tmp_path_factory.mktemp("mess")
    good = images / "daisy" / "1x.png"
    (folder / "recorded.png").write_bytes(good.read_bytes() + bytes(5000))
    for name in ("a b.png", "[1].png", "-top.PNG", "line\nbreak.png", os.fsdecode(b"\xff.png"), "sub/deep/x.jpeg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(good.read_bytes())
    (folder / "cut.png").write_bytes(good.read_bytes()[:100])
    (folder / "cut.jpg").write_bytes(_with_preview(images / "daisy" / "4x.JPG")[:-2])
    (folder / "empty.jpg").touch()
    (folder / "named.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    for name in ("notes.txt", "photo.heic", "Makefile", ".hidden.png", "__MACOSX/a.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"something else")
    (folder / "gone.png").symlink_to("nowhere")
    return folder


def test_bad_files_are_named_and_the_others_predicted(images, trained, mess, capsys):
    model, expected = trained
    best = int(np.argmax(expected[str(images / "daisy" / "1x.png")]))
    status, out, err = says(capsys, model, mess, mess / "not there.png", "--top", "1")
    assert status == 1
    assert sorted(err.splitlines()) == [
        f"mox predict: {mess}/cut.jpg: a JPEG that is cut off",
        f"mox predict: {mess}/cut.png: a PNG that is cut off",
        f"mox predict: {mess}/empty.jpg: empty",
        f"mox predict: {mess}/gone.png: No such file or directory",
        f"mox predict: {mess}/named.jpg: HEIC, which is not read; formats are JPEG, PNG, GIF, BMP, WebP",
        f"mox predict: {mess}/not there.png: No such file or directory",
        "mox predict: Files that are left out, as they are not called like images: .heic 1, .txt 1, no suffix 1.",
    ]
    first, head, *rows = out.splitlines()
    assert first == f"{model}: probabilities, the softmax of logits; images as input_fn makes them in EVAL"
    assert head.split() == ["image", "1"]
    share = f"{expected[str(images / 'daisy' / '1x.png')][best]:.1%}"
    names = [
        "-top.PNG",
        "[1].png",
        "a b.png",
        "line\nbreak.png",
        "recorded.png",
        "sub/deep/x.jpeg",
        os.fsdecode(b"\xff.png"),
    ]
    shown = [f"{mess}/{name}" if name.isprintable() else repr(f"{mess}/{name}") for name in names]
    width = max(map(len, shown))
    assert rows == [f"{name:{width}}  {CLASSES[best]} {share}" for name in shown]


def test_patterns_are_taken_and_a_file_that_is_called_like_one_is_that_file(trained, mess, capsys):
    model, _ = trained
    status, out, err = says(capsys, model, mess / "[1].png", mess / "*[ b]*.png", mess / "**/*.jpeg", "--json")
    told = [Path(each["image"]).relative_to(mess).as_posix() for each in json.loads(out)["images"]]
    assert (status, told, err) == (0, ["[1].png", "a b.png", "line\nbreak.png", "sub/deep/x.jpeg"], "")


def test_a_python_program_asks_with_paths_and_arrays(images, trained):
    model, expected = trained
    classify = serving.load(Path(model))
    file = images / "daisy" / "1x.png"
    with Image.open(file) as opened:
        pixels = np.asarray(opened)
    first, second = classify([file, pixels], top=2)
    assert (first.image, second.image) == (str(file), "images[1]")
    assert first.top == second.top
    assert [each.score for each in first.top] == pytest.approx(sorted(expected[str(file)])[:0:-1], abs=1e-6)
    assert [each.name for each in classify(images / "daisy")[1].top] == [
        CLASSES[label] for label in np.argsort(-expected[str(file)])
    ]
    with pytest.raises(mox.UsageError, match=r"^images\[0\] has dtype float64 and shape \(2, 2\); an image is a path"):
        classify(np.zeros([2, 2]))


def test_models_and_images_may_be_on_a_store(images, trained, mess, capsys):
    import fsspec

    model, expected = trained
    store = fsspec.filesystem("memory")
    store.put(model, "/bucket/log/1", recursive=True)
    for path in ("daisy/1x.png", "daisy/3x.bmp"):
        store.pipe(f"/bucket/new/{path}", (images / path).read_bytes())
    store.pipe("/bucket/new/cut.png", (mess / "cut.png").read_bytes())
    try:
        urls = [f"memory://bucket/new/{name}" for name in ("daisy", "daisy/1x.png", "*.png", "none.png")]
        status, out, err = says(capsys, "memory://bucket/log/1", *urls, "--json", "--top", "1")
    finally:
        store.rm("/bucket", recursive=True)
    told = json.loads(out)["images"]
    assert [each["image"].removeprefix("memory://bucket/new/") for each in told] == [
        *("daisy/1x.png", "daisy/3x.bmp", "daisy/1x.png", "cut.png", "none.png")
    ]
    for each, path in zip(told, ("daisy/1x.png", "daisy/3x.bmp", "daisy/1x.png"), strict=False):
        assert each["top"][0]["score"] == pytest.approx(max(expected[str(images / path)]), abs=1e-6)
    assert status == 1
    assert [line.partition(": memory://bucket/new/")[2].partition(":")[0] for line in err.splitlines()] == [
        *("cut.png", "none.png")
    ]


def test_records_tell_names_and_what_they_make_of_an_image_too(images, tmp_path, capsys):
    """Of a random network: the pixels at the centre, as `get` crops them out of the file, by hand."""
    mox.write_image_classification_tfrecords(str(images), str(tmp_path / "records"))

    def input_fn(mode):
        meta = mox.ImageClassificationTFRecordMetadata(str(tmp_path / "records"), "*.tfrecord")
        dataset = mox.ImageClassificationTFRecordDataset(
            meta,
            num_epochs=None if mode == mox.ModeKeys.TRAIN else 1,
            augmentation_fn=lambda image: tf.image.resize_with_crop_or_pad(image, 2, 1),
        )
        return dataset.get(["image", "label"])

    def model_fn(inputs, mode):
        del mode
        rows = tf.reshape(tf.cast(inputs[0], tf.float32), [-1, 6])
        logits = rows[:, :3] - rows[:, 3:] + tf.compat.v1.get_variable("bias", [3], initializer=tf.zeros_initializer())
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(inputs[1], logits))
        spec = mox.ExportSpec({"pixels": inputs[0]}, {"score": tf.nn.softmax(0.01 * logits)})
        return mox.ModelSpec(loss=0.0 * loss, log_info={}, export_spec=spec)

    job = {"input_fn": input_fn, "model_fn": model_fn, "batch_size": 4}
    model = train(job, tmp_path / "log", inter_mode=mox.ModeKeys.EVAL).export_path
    file = images / "wild rose" / "1x.png"
    status, out, _ = says(capsys, model, file, "--json")
    told = json.loads(out)
    assert (status, told["input"]) == (0, "images as input_fn makes them in EVAL")
    assert told["scores"] == "score, a probability for each class"
    with Image.open(file) as opened:
        pixels = np.float64(opened)
    top, left = (pixels.shape[0] - 2) // 2, (pixels.shape[1] - 1) // 2
    powers = np.exp(0.01 * (pixels[top, left] - pixels[top + 1, left]))
    scores = {each["class"]: each["score"] for each in told["images"][0]["top"]}
    np.testing.assert_allclose([scores[name] for name in CLASSES], powers / powers.sum(), rtol=1e-5)


def test_batches_of_one_size_are_filled_up(images, trained, tmp_path):
    _, expected = trained
    job = make_job(images, augmentation=None, image_size=SIZE, batch_size=4)
    model = train({**job, "batch_size": None}, tmp_path / "log", auto_batch=False).export_path
    files = list(expected)[:6]
    classify = serving.load(model)
    assert classify.spec.shape.as_list() == [4, SIZE, SIZE, 3]
    together, alone = classify(files), [classify(file)[0] for file in files]
    assert [each.top[0].label for each in together] == [each.top[0].label for each in alone]
    assert len(together) == 6


def _saved(folder, function, **specs):
    module = tf.Module()
    signature = tf.function(function, autograph=False).get_concrete_function(
        **{name: tf.TensorSpec(shape, dtype) for name, (shape, dtype) in specs.items()}
    )
    tf.saved_model.save(module, str(folder), signatures=signature)
    return str(folder)


def test_a_model_of_others_is_asked_without_names(images, tmp_path, capsys):
    """The mean of red, of green and of blue, of grey values and of images of any size, by hand."""
    file = images / "daisy" / "1x.png"
    with Image.open(file) as opened:
        pixels = np.asarray(opened)
    colours = _saved(
        tmp_path / "a",
        lambda x: {"y": tf.reduce_mean(tf.cast(x, tf.float32), [1, 2])},
        x=([None, None, None, 3], tf.uint8),
    )
    status, out, _ = says(capsys, colours, file, images / "daisy", "--json")
    told = json.loads(out)
    assert (status, told["scores"]) == (0, "y of the model")
    assert told["input"].startswith("images of their own size, values 0 to 255: ")
    means = pixels.mean((0, 1))
    assert [(top["label"], top["class"]) for top in told["images"][0]["top"]] == [
        (label, str(label)) for label in np.argsort(-means)
    ]
    assert [top["score"] for top in told["images"][0]["top"]] == pytest.approx(sorted(means, reverse=True), rel=1e-5)
    assert len(told["images"]) == 7
    grey = _saved(
        tmp_path / "b", lambda x: {"y": tf.reduce_mean(x, [1, 2])}, x=([None, *pixels.shape[:2], 1], tf.float32)
    )
    (top,) = serving.load(grey)(file)[0].top
    assert top.score == pytest.approx(float((pixels @ [0.2989, 0.587, 0.114]).mean()), rel=1e-3)


def test_what_is_no_classifier_of_images_is_refused_in_words(images, trained, tmp_path, capsys):
    model, _ = trained
    shape = ([None, 8, 8, 3], tf.float32)
    two = _saved(tmp_path / "two", lambda a, b: {"y": a[:, 0, 0] + b[:, 0, 0]}, a=shape, b=shape)
    rows = _saved(tmp_path / "rows", lambda x: {"y": x}, x=([None, 4], tf.float32))
    unclear = _saved(tmp_path / "unclear", lambda x: {"y": x[:, 0, 0], "z": x[:, 0, 1]}, x=shape)
    (tmp_path / "lite").mkdir()
    (tmp_path / "lite" / "model.tflite").touch()
    picture = images / "daisy" / "1x.png"
    for arguments, text in (
        ((two, picture), f"{two!r} takes 2 inputs, a (float32, (None, 8, 8, 3)), b (float32, (None, 8, 8, 3)), and an"),
        ((rows, picture), f"{rows!r} takes x (float32, (None, 4)), which is no batch of images: those are numbers of"),
        (
            (unclear, picture),
            f"{unclear!r} gives y (float32, (None, 3)), z (float32, (None, 3)): it is not known which",
        ),
        ((tmp_path / "lite", picture), f"'{tmp_path}/lite' is an export of TFLITE; what reads images here is an"),
        ((Path(model).parent, picture), f"'{Path(model).parent}' holds versions of a model: give the folder of one of"),
        ((tmp_path / "none", picture), f"there is no folder '{tmp_path}/none': give the folder of an export of"),
        ((tmp_path, picture), f"there is no saved_model.pb in '{tmp_path}': give the folder of an export of"),
        ((model, tmp_path / "lite"), f"there are no images in '{tmp_path}/lite'. Files that are left out, as they are"),
        ((model, picture, "--top", "0"), "--top is 0; it must be a whole number, 1 or more."),
    ):
        status, out, err = says(capsys, *arguments)
        assert (status, out) == (2, "")
        assert err.startswith(f"mox: error: {text}"), err


def test_several_classes_of_a_sample_have_a_probability_each(images, tmp_path, capsys):
    folder = tmp_path / "many"
    labels = {"1x.png": "red", "3x.bmp": "red\nround", "5x.png": "round"}
    for name, text in labels.items():
        for kind, content in (("images", (images / "daisy" / name).read_bytes()), ("labels", text.encode())):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            (folder / kind / (name if kind == "images" else f"{name}.txt")).write_bytes(content)
    meta = mox.MultilabelClassificationRawMetadata(str(folder))

    def input_fn(mode):
        training = mode == mox.ModeKeys.TRAIN
        dataset = mox.MultilabelClassificationRawDataset(meta, image_size=8, num_epochs=None if training else 1)
        return dataset.get(["image", "label"])

    def model_fn(inputs, mode):
        del mode
        logits = keras.layers.Dense(2)(keras.layers.Flatten()(tf.cast(inputs[0], tf.float32) / 255.0))
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(inputs[1], logits))
        return mox.ModelSpec(loss=loss, log_info={}, export_spec=mox.ExportSpec({"x": inputs[0]}, {"logits": logits}))

    model = train({"input_fn": input_fn, "model_fn": model_fn, "batch_size": 2}, tmp_path / "log").export_path
    status, out, _ = says(capsys, model, folder / "images" / "1x.png", "--json")
    told = json.loads(out)
    assert (status, told["scores"]) == (0, "a probability for each class alone, the sigmoid of logits")
    with Image.open(images / "daisy" / "1x.png") as opened:
        nearest = tf.image.resize(np.asarray(opened), [8, 8], "nearest")
    logits = tf.saved_model.load(model).signatures["serving_default"](x=nearest[tf.newaxis])["logits"][0].numpy()
    by_name = {top["class"]: top["score"] for top in told["images"][0]["top"]}
    np.testing.assert_allclose([by_name["red"], by_name["round"]], 1 / (1 + np.exp(-logits)), rtol=1e-5)


def test_mox_predict_begins_without_tensorflow_where_something_is_wrong():
    program = (
        "import sys\n"
        "from mox_core.cli import main\n"
        "main(['predict', 'log/1', 'a.jpg', '--top', '0'])\n"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_network_for_images_of_any_size_gets_those_that_it_was_made_for(images, tmp_path, capsys):
    def model_fn(inputs, mode):
        pixels = inputs[0]
        if mode == mox.ModeKeys.EXPORT:
            pixels = tf.compat.v1.placeholder(tf.float32, [None, None, None, 3], name="pixels")
        logits, _ = mox.get_model_fn("resnet_v1_20", mode, num_classes=3)(pixels)
        if mode == mox.ModeKeys.EXPORT:
            return mox.ModelSpec(export_spec=mox.ExportSpec({"pixels": pixels}, {"logits": logits}))
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(inputs[1], logits))
        return mox.ModelSpec(loss=loss, log_info={})

    def input_fn(mode):
        meta = mox.ImageClassificationRawMetadata(str(images))
        dataset = mox.ImageClassificationRawDataset(meta, image_size=32, shuffle=mode == mox.ModeKeys.TRAIN)
        return dataset.get(["image", "label"])

    model = train({"input_fn": input_fn, "model_fn": model_fn, "batch_size": 4}, tmp_path / "log").export_path
    status, out, _ = says(capsys, model, images / "daisy" / "1x.png")
    assert status == 0
    assert "; images resized to 32 x 32, values 0 to 255: what input_fn makes" in out


def test_an_image_that_the_model_cannot_take_is_named_and_the_others_predicted(images, tmp_path, capsys):
    """The lowest two of the files are 30 and 37 pixels high."""

    def corner(x):
        return {"y": tf.reduce_mean(tf.slice(x, [0, 0, 0, 0], [-1, 40, 40, 3]), [1, 2])}

    model = _saved(tmp_path / "corner", corner, x=([None, None, None, 3], tf.float32))
    status, out, err = says(capsys, model, images / "daisy", "--json", "--top", "1")
    told = {Path(each["image"]).name: each for each in json.loads(out)["images"]}
    assert status == 1
    assert {name for name, each in told.items() if "error" in each} == {"0x.jpg", "1x.png"}
    assert len(told) == 6
    assert [line.partition(": ")[2].partition(":")[0] for line in err.splitlines()] == [
        *(str(images / "daisy" / name) for name in ("0x.jpg", "1x.png"))
    ]
    assert "the model cannot take it: " in told["0x.jpg"]["error"]
