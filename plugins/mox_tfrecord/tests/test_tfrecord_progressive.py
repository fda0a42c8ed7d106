"""ProgressiveImagenetDataset: batches that grow in pixels and shrink in number at given steps."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mox_core as mox
from mox_core.engine.input.order import Order
from mox_core.errors import DataError, UsageError
from mox_core.testing.reading import read

NUMBER = 10
SIZES = [4] * 3 + [6] * 4 + [8] * 3  # of the first ten steps
BATCHES = [5] * 3 + [3] * 4 + [2] * 3


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders of the same ten images, in two sizes: grey of 20 times the number, label one more than the number."""
    root = tmp_path_factory.mktemp("imagenet")
    for name, size in (("small", (10, 12)), ("large", (20, 24))):
        (root / name).mkdir()
        for part in range(2):
            with tf.io.TFRecordWriter(str(root / name / f"train-{part:05}-of-00002")) as writer:
                for number in range(part * 5, part * 5 + 5):
                    file = io.BytesIO()
                    Image.fromarray(np.full([*size, 3], 20 * number, np.uint8)).save(file, "png")
                    values = {
                        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[file.getvalue()])),
                        "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[number + 1])),
                        "image/filename": tf.train.Feature(
                            bytes_list=tf.train.BytesList(value=[name.encode() + b" %d" % number])
                        ),
                    }
                    writer.write(tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString())
    return root


def progressive(folders, **options):
    return mox.ProgressiveImagenetDataset(
        **{
            "num_samples": NUMBER,
            "strategy_spec": [
                (f"{folders}/small/train-*", 5, 4, 0.08),
                (f"{folders}/large/train-*", 3, 6, 0.08),
                (f"{folders}/large/train-*", 2, 8, 0.5),
            ],
            "ds_switch_steps": [3, 7],
            "shuffle": True,
            "num_parallel": 4,
            "labels_offset": 1,
            "private_num_threads": 4,
            "shuffle_buffer_size": 100,
        }
        | options
    )


def elements(folders, count, *, start=None, order=None, keys=("image", "label", "image_name"), **options):
    return read(
        lambda _mode: progressive(folders, **options).get(list(keys)), "TRAIN", limit=count, start=start, order=order
    )


def test_batches_change_at_the_steps_and_hold_images_of_their_stage(folders):
    found = elements(folders, 10)
    for step, (images, labels, names) in enumerate(element.values for element in found):
        size = SIZES[step]
        assert images.shape == (BATCHES[step], size, size, 3)
        assert images.dtype == np.float32
        # A region of an image of one grey is of that grey, and the labels of the records count from 1.
        np.testing.assert_allclose(images, np.broadcast_to(20.0 * labels[:, None, None, None], images.shape), atol=1e-3)
        assert [name.decode() for name in names] == [f"{'small' if step < 3 else 'large'} {label}" for label in labels]
    first_epochs = np.concatenate([element.values[1] for element in found[:3]])  # 15 samples
    assert sorted(first_epochs[:NUMBER]) == list(range(NUMBER))
    of_stages = [np.concatenate([e.values[1] for e in found[a:b]])[:6].tolist() for a, b in ((0, 3), (3, 7), (7, 10))]
    assert len(set(map(tuple, of_stages))) == 3  # another order in each


def test_a_resumed_run_goes_on_anywhere_also_at_a_switch(folders):
    whole = elements(folders, 10)
    for step in (1, 2, 3, 5, 7, 8):
        rest = elements(folders, 10 - step, start=whole[step - 1].after)
        for expected, element in zip(whole[step:], rest, strict=True):
            assert element.after == expected.after
            for one, other in zip(element.values, expected.values, strict=True):
                np.testing.assert_array_equal(one, other)


def test_workers_and_devices_share_the_batches_of_a_step_and_switch_together(folders):
    shares = [elements(folders, 8, order=Order(seed=1, workers=2, worker=worker), shuffle=False) for worker in range(2)]
    assert [element.values[0].shape[1] for element in shares[0]] == SIZES[:8]
    labels = [[element.values[1].tolist() for element in share] for share in shares]
    # In turn: the numbers 0, 2, 4 and 1, 3, 5; of ten, in batches of five.
    assert [labels[0][0], labels[1][0]] == [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]
    assert [labels[0][3], labels[1][3], labels[0][4]] == [[0, 2, 4], [1, 3, 5], [6, 8, 0]]
    assert [element.after for element in shares[0]] == [element.after for element in shares[1]]
    alone = elements(folders, 6)  # of one worker, which two go on with at the same step, in its stage
    on = elements(folders, 3, start=alone[4].after, order=Order(seed=1, workers=2, worker=1))
    assert [element.values[0].shape[1] for element in on] == SIZES[5:8]
    mox.set_flag("num_gpus", 2)
    try:
        sizes = [element.values[0].shape[1] for element in elements(folders, 16)]
    finally:
        mox.set_flag("num_gpus", 1)
    assert sizes == [size for size in SIZES[:8] for _ in range(2)]  # two batches a step


def train(folders, log_dir, steps):
    def model_fn(inputs, _mode):
        images, labels = inputs
        mean = tf.reduce_mean(images, [1, 2]) / 255
        weights = tf.compat.v1.get_variable("weights", [3, NUMBER], initializer=tf.zeros_initializer())
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, mean @ weights))
        return mox.ModelSpec(loss=loss, log_info={"size": tf.shape(images)[1], "number": tf.shape(images)[0]})

    result = mox.run(
        input_fn=lambda _mode: progressive(folders).get(["image", "label"]),
        model_fn=model_fn,
        optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.1),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=5,
        auto_batch=False,
        max_number_of_steps=steps,
        log_dir=log_dir,
    )
    assert (result.metrics["size"], result.metrics["number"]) == (SIZES[steps - 1], BATCHES[steps - 1])
    return tf.train.load_checkpoint(result.checkpoint).get_tensor("weights")


def test_a_training_in_parts_ends_with_the_weights_of_one_in_one_go(folders, tmp_path):
    tf.random.set_seed(4)
    whole = train(folders, tmp_path / "whole", 9)
    for steps in (2, 7, 9):  # within a stage, at a switch
        parts = train(folders, tmp_path / "parts", steps)
    tf.compat.v1.random.set_random_seed(None)
    np.testing.assert_array_equal(parts, whole)
    assert np.abs(whole).max() > 0


def test_the_least_part_of_an_image_is_what_min_scale_says():
    """Of an image whose pixels tell their place, regions are of at least that area, and half of them mirrored."""
    from mox_tfrecord.progressive import _random_region

    rows, columns = np.mgrid[0:64, 0:64].astype(np.float32)
    image = tf.constant(np.stack([rows, columns, rows], -1))
    cut = tf.function(lambda: _random_region(image, size=16, min_scale=0.5))
    heights, widths = np.array(
        [
            [region[-1, 0, 0] - region[0, 0, 0], region[0, -1, 1] - region[0, 0, 1]]
            for region in (cut() for _ in range(60))
        ]
    ).T
    # The outermost of 16 sampled points lie 15/16 of a side apart.
    areas = (heights * 16 / 15) * (np.abs(widths) * 16 / 15) / 64**2
    assert 0.45 < areas.min() < areas.max() <= 1.05
    ratios = np.abs(widths) / heights
    assert 0.7 < ratios.min() < 0.95
    assert 1.05 < ratios.max() < 1.4
    assert 10 < (widths < 0).sum() < 50


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"strategy_spec": []},
            r"^strategy_spec of .* is \[\]; it must be a list with \(file_pattern, batch_size, ima",
        ),
        ({"strategy_spec": [("a", 1, 2)]}, r"^strategy_spec\[0\] of .* is \('a', 1, 2\); it must be \(file_pattern, b"),
        ({"strategy_spec": [("a", 0, 2, 0.1)]}, r"^strategy_spec\[0\]\[1\] of .* is 0; it must be batch_size, a whole"),
        ({"strategy_spec": [("a", 1, 2, 8)]}, r"^strategy_spec\[0\]\[3\] of .* is 8; it must be min_scale, above 0"),
        (
            {"ds_switch_steps": [3]},
            r"^ds_switch_steps of .* is \[3\] for 3 stages of strategy_spec; it must be 2 steps",
        ),
        ({"ds_switch_steps": [7, 3]}, r"^ds_switch_steps of .* is \[7, 3\] for 3 stages"),
        (
            {"labels_offset": -1},
            r"^labels_offset of ProgressiveImagenetDataset is -1; it must be a whole number from 0",
        ),
    ],
)
def test_what_cannot_be_is_refused(folders, options, said):
    with pytest.raises(UsageError, match=said):
        progressive(folders, **options)


def test_files_and_labels_that_are_not_as_said_are_told(folders):
    with pytest.raises(DataError, match=r"no file in '.*small' is named like file_pattern 'test-\*'"):
        progressive(folders, strategy_spec=[(f"{folders}/small/test-*", 5, 4, 0.1)], ds_switch_steps=[])
    with pytest.raises(DataError, match=r"small/train-.*: record \d, at byte .* its label is below labels_offset=2"):
        elements(folders, 3, labels_offset=2)  # the least label is 1
    with pytest.raises(UsageError, match=r"unknown key 'bbox'\. ProgressiveImagenetDataset knows 'label'"):
        elements(folders, 1, keys=["bbox"])


def test_workers_that_step_on_their_own_are_refused(folders):
    mox.set_flag("sync_replicas", False)
    try:
        with pytest.raises(UsageError, match=r"read by workers that step on their own .*: each would be at another st"):
            elements(folders, 1, order=Order(seed=1, workers=2))
        assert elements(folders, 1)[0].values[0].shape[1] == SIZES[0]  # one worker alone has one step
    finally:
        mox.set_flag("sync_replicas", True)
