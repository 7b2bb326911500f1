"""Which methods combine with which frameworks; prints the guide's table.

python tests/combinations.py
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_ltssl as lt

FRAMEWORKS = {
    "SimCLR": lt.models.ContrastiveModel,
    "MoCo v2": lt.models.MomentumContrast,
    "BYOL": lt.models.BYOL,
    "SDCLR": lt.models.SelfDamagingContrast,
}
SAMPLES, POOL, BUDGET, BATCH = 24, 16, 8, 8


@dataclasses.dataclass
class Method:
    """How a method is used.

    Attributes:
        title: Its name in the table.
        classes: The classes that make it.
        loss: From the loss of the framework to that of the method.
        shows: What it logs in the second of two epochs, if it works.
    """

    title: str
    classes: str
    loss: Callable[[Any], Any]
    shows: Callable[[dict[str, list[float]]], bool]


def _moved(logs, name):
    return logs[name][0] != logs[name][1]


METHODS = {
    "plain": Method(
        "Fixed τ",
        "`NTXentLoss`",
        lambda loss: loss,
        lambda logs: (
            not _moved(logs, "temperature")
            if "temperature" in logs
            else logs["embedding_std"][1] > 0
        ),
    ),
    "ts": Method(
        "Temperature Schedules",
        "`CosineTemperature`",
        lambda loss: lt.losses.NTXentLoss(
            lt.schedules.CosineTemperature(0.1, 1.0, period=4)
        ),
        lambda logs: _moved(logs, "temperature"),
    ),
    "tase": Method(
        "TASE",
        "`TASELoss`",
        lambda loss: lt.losses.TASELoss(num_prototypes=3, warmup_steps=1),
        lambda logs: (
            logs["temperature_std"][1] > 0 or _moved(logs, "temperature")
        ),
    ),
    "gh": Method(
        "Geometric Harmonization",
        "`GeometricHarmonizationLoss`",
        lambda loss: lt.losses.GeometricHarmonizationLoss(
            loss,
            num_targets=4,
            num_samples=SAMPLES,
            warmup_epochs=1,
            ramp_epochs=0,
            sinkhorn={"iterations": 20},
        ),
        lambda logs: (
            logs["harmonization_loss"][0] == 0
            and logs["harmonization_loss"][1] > 0
            and logs["prior_entropy"][1] < 1
        ),
    ),
    "colt": Method(
        "COLT",
        "`COLTLoss`, `OODSampler`",
        lambda loss: (
            lt.losses.COLTLoss(base_loss=loss, num_samples=SAMPLES)
            if loss.has_temperature
            else loss
        ),
        lambda logs: (
            logs["ood_chosen"] == [0, BUDGET]
            and ("supcon_loss" not in logs or logs["supcon_loss"][1] > 0)
        ),
    ),
    "focal": Method(
        "Focal",
        "`FocalNTXentLoss`",
        lambda loss: lt.losses.FocalNTXentLoss(),
        lambda logs: logs["loss"][1] > 0,
    ),
    "conmix": Method(
        "ConMix",
        "`ConMixLoss`",
        lambda loss: lt.losses.ConMixLoss(loss, num_tags=3, base_weight=0.5),
        lambda logs: logs["loss"][1] > logs["mixed_loss"][1] > 0,
    ),
    "bcl": Method(
        "Boosted memory (BCL)",
        "`BoostedLoss`, `BoostedViews`",
        lambda loss: lt.losses.BoostedLoss(loss, num_samples=SAMPLES),
        lambda logs: (
            logs["boosted_weight"][0] == 0
            and 0.2 < logs["boosted_weight"][1] < 0.8
        ),
    ),
    "sogclr": Method(
        "SogCLR",
        "`SogCLRLoss`",
        lambda loss: lt.losses.SogCLRLoss(SAMPLES),
        # A difference of cosines; NT-Xent's losses are larger here.
        lambda logs: (
            abs(logs["loss"][1]) < 1 and not _moved(logs, "temperature")
        ),
    ),
    "isogclr": Method(
        "iSogCLR",
        "`ISogCLRLoss`",
        lambda loss: lt.losses.ISogCLRLoss(SAMPLES),
        lambda logs: (
            logs["temperature_std"][1] > 0 and _moved(logs, "temperature")
        ),
    ),
}

REFUSED = {
    ("ts", "BYOL"): "BYOL has no temperature to schedule.",
    ("tase", "BYOL"): "TASE sets temperatures, and BYOL has none.",
    ("focal", "BYOL"): (
        "The focal weight is a probability among negatives, and BYOL has none."
    ),
    ("conmix", "BYOL"): (
        "Mixed samples are compared with each other, and BYOL compares none."
    ),
    ("sogclr", "BYOL"): "SogCLR is about negatives, and BYOL has none.",
    ("isogclr", "BYOL"): "iSogCLR learns temperatures, and BYOL has none.",
}
REMARKS = {
    ("plain", "BYOL"): "With `BYOLLoss`, which has no temperature.",
    ("colt", "BYOL"): (
        "Its choice of data, with `OODSampler(score=...)`: without negatives "
        "there is neither tailness nor a distribution term."
    ),
    ("conmix", "MoCo v2"): (
        "Mixed samples are compared within the batch, not with the queue; "
        "this package's own combination."
    ),
    ("gh", "BYOL"): "Over `BYOLLoss`, on the predictions.",
    ("bcl", "BYOL"): "Over `BYOLLoss`; this package's own combination.",
    **{
        (name, "MoCo v2"): (
            "Its negatives are the keys of the queue; this package's own "
            "combination."
        )
        for name in ("sogclr", "isogclr")
    },
}


def typicality(features):
    """A score of each sample that needs no negatives: high in the middle."""
    return features @ features.mean(axis=0)


def build(method, framework):
    """Returns a tiny compiled model, and what to fit it on."""
    random = np.random.default_rng(0)
    encoder = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(8),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Dense(6),
        ]
    )
    augmenter = lt.layers.TwoViews(keras.layers.GaussianNoise(0.3, seed=0))
    if method == "bcl":
        augmenter = lt.layers.BoostedViews(
            augmenter, value_range=(0, 1), seed=0
        )
    arguments = {"queue_size": 20} if framework == "MoCo v2" else {}
    model = FRAMEWORKS[framework](
        encoder, lt.layers.ProjectionHead(5), augmenter, **arguments
    )
    is_byol = framework == "BYOL"
    loss = lt.losses.BYOLLoss() if is_byol else lt.losses.NTXentLoss()
    model.compile(keras.optimizers.SGD(0.05), loss=METHODS[method].loss(loss))
    images = random.uniform(size=(SAMPLES, 4, 4, 3)).astype("float32")
    callbacks = []
    if method == "gh":
        callbacks.append(lt.callbacks.PriorEstimation(interval=1))
    if method != "colt":
        return model, {
            "x": images,
            "y": np.arange(SAMPLES),
            "batch_size": BATCH,
            "callbacks": callbacks,
        }
    data = lt.datasets.MixedBatches(
        images, images[:POOL] ** 2, BUDGET, batch_size=BATCH
    )
    sampler = lt.callbacks.OODSampler(
        data,
        start=1,
        num_clusters=2,
        score=typicality if is_byol else "tailness",
    )
    return model, {"x": data, "shuffle": False, "callbacks": [sampler]}


def table():
    """Returns the table of all cells, and what there is to say, in Markdown."""
    lines = [
        f"| | {' | '.join(FRAMEWORKS)} |",
        "|---|" + "---|" * len(FRAMEWORKS),
    ]
    notes = []
    for name, method in METHODS.items():
        cells = []
        for framework in FRAMEWORKS:
            text = REFUSED.get((name, framework))
            mark = "–" if text else "yes"
            text = text or REMARKS.get((name, framework))
            if text:
                if text not in notes:
                    notes.append(text)
                mark += f" ({notes.index(text) + 1})"
            cells.append(mark)
        lines.append(
            f"| {method.title}: {method.classes} | {' | '.join(cells)} |"
        )
    lines.append("")
    lines += [f"{number}. {text}" for number, text in enumerate(notes, 1)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
