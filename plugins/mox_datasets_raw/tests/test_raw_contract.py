"""The data sets of images in folders keep to the contract of the kit."""

import numpy as np
from PIL import Image

import mox_core as mox
from mox_core.testing import DatasetContract

FEATURES = ("image", "label", "label_desc", "image_name")


class TestClassification(DatasetContract):
    features = FEATURES
    num_samples = 7
    key = "image_name"

    def dataset(self, folder, *, shuffle, num_epochs):
        for number in range(self.num_samples):
            path = folder / f"class_{number % 3}" / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((6 + number, 5, 3), number, np.uint8)).save(path)
        meta = mox.ImageClassificationRawMetadata(folder)
        return mox.ImageClassificationRawDataset(meta, shuffle=shuffle, num_epochs=num_epochs)


class TestMultilabel(DatasetContract):
    features = FEATURES
    num_samples = 6
    key = "image_name"

    def dataset(self, folder, *, shuffle, num_epochs):
        for name in ("images", "labels"):
            (folder / name).mkdir()
        for number in range(self.num_samples):
            Image.fromarray(np.full((6, 5 + number, 3), number, np.uint8)).save(folder / "images" / f"{number}.png")
            (folder / "labels" / f"{number}.png.txt").write_text("car\ntree" if number % 2 else "car", "utf-8")
        meta = mox.MultilabelClassificationRawMetadata(folder)
        return mox.MultilabelClassificationRawDataset(meta, shuffle=shuffle, num_epochs=num_epochs)
