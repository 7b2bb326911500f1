"""What a benchmark trains on and for how long, read from `protocols/*.json`."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

import keras_ltssl as lt

HERE = Path(__file__).parent
sys.path.append(str(HERE.parents[1] / "examples"))

import training  # noqa: E402  What the examples share.


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Everything that the arms of a benchmark have in common.

    Attributes:
        title: name of the data set in tables.
        measured: whether results of it are stored here; if not, `note` says so.
        note: what a reader of the results must know.
        dataset: `"mnist"`, `"fashion_mnist"`, ...; `"images"`: an .npz file of
            labeled images `x`, `y`, given by `--data`; or `"file"`: one that
            is long-tailed already. With `--data`, a named set comes from an
            .npz file, too, and nothing is downloaded.
        imbalance, max_count: of the long tail; `None` for a file.
        probe, test: labeled images per class to fit probes to, and to test
            them on. A half of the latter is the validation set.
        orders: class orders, each a split with initial weights of its own. A
            file has one class order; there they are seeds alone.
        backbone, optimizer, learning_rate, weight_decay, epochs, batch_size:
            of the training.
        shots: labels a class in the few-shot probe.
        temperatures: of SimCLR, to choose from on the validation set.
        pool: what COLT chooses from: `"digits"`, `"mnist"`, or `"file"`: given
            by `--pool`.
        budget: images that COLT chooses.
        rand_augments: view strengths of SimCLR (`simclr_views`), to choose
            from together with the temperature.
    """

    name: str
    title: str
    measured: bool
    note: str
    dataset: str
    imbalance: float | None
    max_count: int | None
    probe: int | None
    test: int | None
    orders: int
    backbone: str
    optimizer: str
    learning_rate: float
    weight_decay: float
    epochs: int
    batch_size: int
    shots: int
    temperatures: tuple[float, ...]
    pool: str
    budget: int
    rand_augments: tuple[float, ...] = (0.0,)


def load_protocol(name):
    """Reads the protocol of this name, or of this path."""
    path = Path(name)
    if path.suffix != ".json":
        path = HERE / "protocols" / f"{name}.json"
    if not path.exists():
        known = sorted(file.stem for file in HERE.glob("protocols/*.json"))
        raise ValueError(
            f"`--protocol` must be one of {', '.join(known)}, or the path of "
            f"a .json file. Received: --protocol={name}"
        )
    return as_protocol({"name": path.stem, **json.loads(path.read_text())})


def as_protocol(content):
    """Returns the protocol that JSON holds."""
    grids = {
        name: tuple(content[name])
        for name in ("temperatures", "rand_augments")
        if name in content  # Results from before there were view strengths.
    }
    return Protocol(**{**content, **grids})


def load_split(protocol, order, data=None):
    """Returns the split of a class order, and its validation set.

    The test images of each class go in turn to the test set and to the
    validation set, on which temperatures are chosen.
    """
    if protocol.dataset == "file":
        if data is None:
            raise ValueError(
                f"`--data` must be the .npz file of {protocol.title}, with "
                "x_train, y_train, x_probe, y_probe, x_test, y_test. "
                "Received: --data=None"
            )
        split = lt.datasets.load_npz_split(data)
    else:
        split = lt.datasets.make_long_tail_split(
            *labeled_images(protocol, data),
            imbalance=protocol.imbalance,
            max_count=protocol.max_count,
            num_probe=protocol.probe,
            num_test=protocol.test,
            seed=order,
        )
    by_class = np.argsort(split.y_test, kind="stable")
    halves = np.sort(by_class[0::2]), np.sort(by_class[1::2])
    test, validation = (
        dataclasses.replace(
            split, x_test=split.x_test[rows], y_test=split.y_test[rows]
        )
        for rows in halves
    )
    return test, validation


def labeled_images(protocol, data=None):
    """Returns all images and labels of a data set."""
    dataset = protocol.dataset
    if data is not None:
        with np.load(data, allow_pickle=False) as file:
            return file["x"], file["y"].astype("int64")
    if dataset == "images":
        raise ValueError(
            f"`--data` must be the .npz file of {protocol.title}, with the "
            "arrays x and y of all images. Received: --data=None"
        )
    if dataset == "mnist":
        return lt.datasets.load_mnist_subset()
    if dataset == "digits":
        return lt.datasets.load_digits()
    train, test = lt.datasets.load_keras_dataset(dataset)
    return tuple(
        np.concatenate(parts) for parts in zip(train, test, strict=True)
    )


def load_pool(protocol, like, path=None):
    """Returns the images that COLT may choose from."""
    if protocol.pool == "digits":
        return training.enlarged_digits(like)
    if protocol.pool == "mnist":
        return lt.datasets.load_mnist_subset()[0]
    if path is None:
        raise ValueError(
            "`--pool` must be an .npz file with an array `x` of images to "
            "choose from. Received: --pool=None"
        )
    return training.load_pool(path, like)
