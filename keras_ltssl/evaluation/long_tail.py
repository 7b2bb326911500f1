"""Every probe on one encoder and one long-tailed split."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from keras_ltssl.evaluation.groups import Grouping, class_groups
from keras_ltssl.evaluation.labeled_features import (
    as_labels,
    check_encoder,
    check_seen,
)
from keras_ltssl.evaluation.linear_probes import few_shot_probe, linear_probe
from keras_ltssl.evaluation.minibatch_probe import minibatch_linear_probe
from keras_ltssl.evaluation.nearest_neighbors import knn_probe
from keras_ltssl.evaluation.report import LongTailReport
from keras_ltssl.validation import (
    check_boolean,
    check_callable,
    check_instance,
    check_integer,
)

# The attributes of `LongTailData`.
PARTS = (
    "x_train",
    "y_train",
    "x_probe",
    "y_probe",
    "x_test",
    "y_test",
    "class_names",
)


class LongTailData(Protocol):
    """What a report reads: three labeled image sets and class names.

    A `keras_ltssl.datasets.LongTailSplit` is one; any object with these
    attributes will do. Class names are in the order of the sorted labels.
    """

    @property
    def x_train(self) -> Any:
        """The long-tailed training images."""

    @property
    def y_train(self) -> Any:
        """Their labels, `(samples,)`."""

    @property
    def x_probe(self) -> Any:
        """Images to train the linear probes on."""

    @property
    def y_probe(self) -> Any:
        """Their labels."""

    @property
    def x_test(self) -> Any:
        """Images to test every probe on."""

    @property
    def y_test(self) -> Any:
        """Their labels."""

    @property
    def class_names(self) -> Sequence[str]:
        """A name for each class."""


def long_tail_report(
    encoder: Any,
    split: LongTailData,
    name: str = "",
    groups: Grouping = "thirds",
    shots: int = 10,
    draws: int = 5,
    seed: int = 0,
    batch_size: int = 256,
    progress: Callable[[str], None] | None = None,
    in_minibatches: bool = False,
) -> LongTailReport:
    """Embeds a long-tailed split and runs every probe on the features.

    - linear: `linear_probe` trained on the balanced `x_probe`;
    - few-shot: `few_shot_probe`, `shots` labels a class out of `x_probe`;
    - 10-NN and 1-NN: `knn_probe` with the long-tailed `x_train` as bank.

    All are tested on `x_test`. Each of the three sets is embedded once.

    Args:
        encoder: The `keras.Model` to judge, images to `(batch, features)`:
            the backbone, without the projector. `None` if `split` holds
            features already, as arrays of shape `(samples, features)`.
        split: A `keras_ltssl.datasets.LongTailSplit` or any object with its
            attributes `x_train`, `y_train`, `x_probe`, `y_probe`, `x_test`,
            `y_test` and `class_names`. All three label arrays hold the same
            classes.
        name: What to call the report, such as `"tase, seed 0"`. Defaults to
            `""`.
        groups: `"thirds"` or `"thresholds"`, see `group_accuracy`. Defaults to
            `"thirds"`.
        shots: Labels a class for the few-shot probe. Defaults to `10`.
        draws: Draws of the few-shot probe. Defaults to `5`.
        seed: Seed of those draws. Defaults to `0`.
        batch_size: Images embedded at once. Defaults to `256`.
        progress: Called with a line of text as each step begins, `print` for
            one. Defaults to `None`, silence.
        in_minibatches: Whether `minibatch_linear_probe` is the linear probe,
            as sets need that do not fit into memory. Defaults to `False`.

    Returns:
        A `LongTailReport`.

    Raises:
        ValueError: Before anything is embedded, if labels and images differ
            in number, labels are no integers or not the same classes in all
            three sets, `class_names` has another length, a class has fewer
            than `shots` labels, there are fewer than 10 training images, or
            the encoder's output is known not to be `(batch, features)`; after
            embedding, if it turns out so or holds NaN.

    Example:

    >>> import types
    >>> import numpy as np
    >>> from keras_ltssl.evaluation import long_tail_report
    >>> def images(counts):
    ...     labels = np.repeat(np.arange(3), counts)
    ...     return np.eye(3)[labels], labels
    >>> split = types.SimpleNamespace(class_names=["ant", "bee", "cat"])
    >>> split.x_train, split.y_train = images([50, 20, 5])
    >>> split.x_probe, split.y_probe = images([10, 10, 10])
    >>> split.x_test, split.y_test = images([4, 4, 4])
    >>> report = long_tail_report(None, split, name="one-hot features")
    >>> report.summary()["linear"]["few"], report.summary()["knn1"]["few"]
    (1.0, 1.0)
    """
    check_integer("shots", shots, minimum=1)
    check_integer("draws", draws, minimum=1)
    check_integer("seed", seed, minimum=0)
    check_integer("batch_size", batch_size, minimum=1)
    check_instance("name", name, str, "a string")
    if progress is not None:
        check_callable("progress", progress)
    check_boolean("in_minibatches", in_minibatches)
    missing = [part for part in PARTS if not hasattr(split, part)]
    if missing:
        raise ValueError(
            "`split` must have the attributes of a LongTailSplit. Received: "
            f"{type(split).__name__} without {', '.join(missing)}"
        )
    if encoder is not None:
        check_encoder(encoder, "`encoder`")
    class_names = tuple(str(class_name) for class_name in split.class_names)
    labels, counts = check_split(split, groups, shots)

    def say(line: str) -> None:
        if progress is not None:
            progress(line)

    features = {}
    for part, title in (
        ("train", "training"),
        ("probe", "labeled"),
        ("test", "test"),
    ):
        images = getattr(split, f"x_{part}")
        if encoder is not None:
            say(f"embedding {len(images):,} {title} images")
            images = encoder.predict(images, batch_size=batch_size, verbose=0)
        features[part] = images
    test = features["test"], labels["test"]
    balanced = features["probe"], labels["probe"]
    long_tailed = features["train"], labels["train"]
    say(f"linear probe on {len(labels['probe']):,} labels")
    linear = (
        minibatch_linear_probe(*balanced, *test, seed=seed).result
        if in_minibatches
        else linear_probe(*balanced, *test)
    )
    say(f"few-shot probe, {shots} labels a class, {draws} draws")
    few_shot = few_shot_probe(
        *balanced, *test, shots=shots, draws=draws, seed=seed
    )
    say(f"k-NN probes against {len(labels['train']):,} training images")
    return LongTailReport(
        name=name,
        class_names=class_names,
        class_counts=tuple(counts.tolist()),
        groups=groups,
        shots=shots,
        probes={
            "linear": linear,
            "few_shot": few_shot,
            "knn": knn_probe(*long_tailed, *test, k=10),
            "knn1": knn_probe(*long_tailed, *test, k=1),
        },
    )


def check_split(
    split: LongTailData, groups: Grouping, shots: int
) -> tuple[dict[str, Any], Any]:
    """Returns labels of each set, and training images of each class.

    Raises:
        ValueError: If `long_tail_report` would refuse the split.
    """
    class_names = split.class_names
    labels = {
        part: as_labels(
            getattr(split, f"y_{part}"),
            f"y_{part}",
            len(getattr(split, f"x_{part}")),
            f"x_{part}",
        )
        for part in ("train", "probe", "test")
    }
    classes, counts = np.unique(labels["train"], return_counts=True)
    for part in ("probe", "test"):
        check_seen(labels[part], classes, f"y_{part}", "y_train")
        check_seen(classes, labels[part], "y_train", f"y_{part}")
    if len(class_names) != len(classes):
        raise ValueError(
            "`class_names` must hold one name for each class. Received: "
            f"{len(class_names)} names for {len(classes)} classes"
        )
    labeled = np.unique(labels["probe"], return_counts=True)[1].min()
    if labeled < shots:
        raise ValueError(
            "`shots` must not exceed the labels of any class in `y_probe`. "
            f"Received: shots={shots}, and a class with {labeled}"
        )
    if len(labels["train"]) < 10:
        raise ValueError(
            "`x_train` must hold at least 10 images for the 10-NN probe. "
            f"Received: {len(labels['train'])}"
        )
    class_groups(counts, groups)
    return labels, counts
