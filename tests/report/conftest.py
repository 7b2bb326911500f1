import csv
import json

import numpy as np
import pytest

NAMES = ("fox", "deer", "hare", "<b>owl</b>", "")


def around(kinds, dim=32):
    """Features of each kind around a direction, none of them a copy."""
    noise = np.random.default_rng(1).normal(size=(len(kinds), dim))
    return np.eye(dim)[kinds] + 0.05 * noise


class Run:
    """A run folder of small photos, some with names that are hard to show."""

    def __init__(self, root, paths, labels, features, history, facts):
        self.folder = root / "run"
        self.photos = root / "photos"
        self.paths, self.labels = paths, labels
        self.features, self.history = features, history
        self.facts = {
            "directory": str(self.photos),
            "image_size": [24, 24],
            "epochs": 3,
            "skipped": [],
            **facts,
        }

    def write(self):
        """Writes the files of the run, but no photo."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "run.json").write_text(json.dumps(self.facts))
        self._write_csv("images.csv", [["path", "label"], *self.rows()])
        if self.history is not None:
            self._write_csv("history.csv", self.history)
        if self.features is not None:
            np.save(self.folder / "features.npy", self.features)
        return self.folder

    def rows(self):
        return list(map(list, zip(self.paths, self.labels, strict=True)))

    def write_photos(self):
        """Writes the photos, noise of one color each."""
        from PIL import Image

        random = np.random.default_rng(0)
        for path in self.paths:
            file = self.photos / path
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 255, (40, 48, 3), "uint8")
            Image.fromarray(pixels).save(file, "JPEG")

    def _write_csv(self, name, rows):
        with open(
            self.folder / name,
            "w",
            encoding="utf-8",
            errors="surrogateescape",
            newline="",
        ) as stream:
            csv.writer(stream).writerows(rows)


@pytest.fixture
def make_run(tmp_path):
    """A function that writes a run folder; `names` replace the first paths."""

    def make(
        num_images=80,
        names=(),
        labeled=False,
        photos=False,
        features=...,
        history=...,
        **facts,
    ):
        random = np.random.default_rng(0)
        paths = [f"a/{row:04d}.jpg" for row in range(num_images)]
        paths[: len(names)] = names
        kinds = random.choice(5, num_images, p=[0.5, 0.25, 0.1, 0.05, 0.1])
        labels = [NAMES[k] if labeled else "" for k in kinds]
        if features is ...:
            features = around(kinds).astype("float32")
        if history is ...:
            history = [
                ["epoch", "effective_rank", "loss", "temperature"],
                [0, "", 5.0, 0.1],
                [1, 7.5, 4.0, 0.2],
                [2, "", 3.0, 0.3],
            ]
        run = Run(tmp_path, paths, labels, features, history, facts)
        run.write()
        if photos:
            run.write_photos()
        return run

    return make
