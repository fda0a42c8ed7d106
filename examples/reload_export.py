"""Load an exported model without mox and compare it with the predictions of the trained one.

python reload_export.py EXPORT PREDICTIONS.npz IMAGES: EXPORT is the version folder, PREDICTIONS holds name, label and
logits as `examples/demo.py` writes them, and IMAGES is the folder of class folders.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image


def main() -> None:
    export, predictions, images_dir = sys.argv[1], np.load(sys.argv[2]), Path(sys.argv[3])
    paths = [
        images_dir / str(label) / Path(name).name
        for name, label in zip(predictions["name"], predictions["label"], strict=True)
    ]
    images = np.stack([np.asarray(Image.open(path).convert("RGB"), np.float32) for path in paths])
    model = tf.saved_model.load(export)
    logits = model.signatures["serving_default"](images=tf.constant(images))["logits"].numpy()
    assert not any(name.split(".")[0].startswith("mox") for name in sys.modules)
    difference = np.abs(logits - predictions["logits"]).max()
    accuracy = (logits.argmax(1) == predictions["label"]).mean()
    print(
        f"The export gives the logits of the trained model (largest difference {difference:.1e}); "
        f"accuracy {accuracy:.1%}"
    )
    if difference > 1e-3:
        sys.exit("The export does not give what the trained model gave.")


if __name__ == "__main__":
    main()
