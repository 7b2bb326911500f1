"""One table of wrong calls: each public argument refuses what it cannot be.

A row is a public name, arguments that are right, and for each argument the
values that are wrong for it. Every wrong value must raise a `ValueError` that
names the argument and says what was received.
"""

import inspect
import math
import reprlib
import types

import keras
import numpy as np
import pytest

import keras_ltssl as lt

NAN, INF = math.nan, math.inf


class Odd:
    """Stands for any object that has no meaning here."""

    def __repr__(self):
        return "Odd()"


ODD = Odd()


# What is wrong for each kind of argument. `also` adds what is out of range.
def number(*also, none=False):
    """Wrong values of a finite number."""
    values = ["a", [], ODD, True, NAN, INF, 10**400, *also]
    return values if none else [None, *values]


def integer(*also, none=False):
    """Wrong values of an integer."""
    values = ["a", "8", [], ODD, True, 2.0, 2.5, NAN, INF, *also]
    return values if none else [None, *values]


def tensor(*also, none=False):
    """Wrong values of a tensor of numbers that has at least one axis."""
    values = ["a", ODD, 2.5, [[1.0], [1.0, 2.0]], np.array(["a"]), *also]
    return values if none else [None, *values]


def pair(*also):
    """Wrong values of a pair of numbers in order."""
    wrong = ["a", "ab", None, [], ODD, 1.0, (1.0,), (0.1, 0.2, 0.3)]
    return [*wrong, (1.0, 0.5), (NAN, 1.0), (0.5, NAN), ("a", "b"), *also]


POSITIVE = number(0, -1)
NOT_NEGATIVE = number(-0.5)
SHARE = number(-0.1, 1.1)
BELOW_ONE = number(-0.1, 1.0)
COUNT = integer(0, -3)
COUNT_OR_NONE = integer(0, -3, none=True)
SEED = integer(-1)
SEED_OR_NONE = integer(-1, none=True)
LAYER_SEED = integer(-1, 2**31, none=True)  # What all backends take.
KMEANS_SEED = integer(-1, 2**32)
BOOLEAN = ["a", None, 0, 1, 2.5, [], ODD]
CHOICE = ["other", None, 1, [], ODD, np.array([1, 2])]
LAYER = ["a", None, 1, [], ODD, keras.layers.Dense]
OBJECT = ["a", None, 1, [], ODD]
TEXT = [None, 1, 2.5, [], ODD]
PATH = [None, "", 1, 2.5, [], ODD]
REDUCTION = ["other", 1]

# A temperature of a function may be a tensor or one number for each sample.
TEMPERATURES = ["a", None, [], ODD, True, NAN, INF, 0, -1, [0.2, -0.2] * 4]


def z():
    return np.random.default_rng(0).normal(size=(8, 2, 4)).astype("float32")


def base():
    return lt.losses.NTXentLoss()


def layer():
    return keras.layers.GaussianNoise(0.1)


def views():
    return lt.layers.TwoViews(layer())


def encoder():
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])


def mixed():
    return lt.datasets.MixedBatches(IMAGES, IMAGES, budget=4, batch_size=4)


def feature_split():
    return types.SimpleNamespace(
        **dict.fromkeys(["x_train", "x_probe", "x_test"], ROWS),
        **dict.fromkeys(["y_train", "y_probe", "y_test"], LABELS),
        class_names=("ant", "bee", "cat"),
    )


def report():
    result = lt.evaluation.ProbeResult([0, 1, 2], [[0.9, 0.6, 0.3]])
    probes = dict.fromkeys(["linear", "few_shot", "knn", "knn1"], result)
    return lt.evaluation.LongTailReport(
        "run", ("ant", "bee", "cat"), (9, 3, 1), "thirds", 10, probes
    )


def ood_choice():
    return lt.samplers.choose_colt(ROWS, ROWS, [0.1] * 12, 3, num_clusters=2)


def diagnosis():
    return lt.evaluation.tail_diagnosis(
        ROWS, num_neighbors=3, num_clusters=3, repeats=2
    )


PATH_OR_NONE = [value for value in PATH if value is not None]
PICTURE = [*PATH, "a.jpg"]
SCALE_OR_NONE = [
    value for value in pair((0, 1), (0.5, 1.1)) if value is not None
]
PART = ["a", 1, [], ODD, (0,), (0, 1, 2), (1, 1), (-1, 2), (False, 2), (0.0, 2)]
VERBOSE = ["a", None, 2.5, -1, [], ODD]
REPORTS = ["a", None, 1, [], ODD, [ODD]]
UINT8_IMAGES = [None, "a", 1, [], ODD, [[0]], np.zeros((12, 4, 4), "uint8")]
UINT8_IMAGES += [np.zeros((12, 4, 4, 1)), np.zeros((0, 4, 4, 1), "uint8")]
SPLIT_LABELS = [None, "a", 1, [], ODD, [0] * 12, np.zeros(5, "int64")]
SPLIT_LABELS += [np.zeros(12), np.full(12, 3), np.full(12, -1)]
POOL_SAMPLER = {
    "data": OBJECT,
    "interval": COUNT_OR_NONE,
    "budget": integer(0, 5, none=True),
    "num_clusters": integer(0, 13),
    "pool_subset": integer(3, 13, none=True),
    "batch_size": COUNT,
    "seed": KMEANS_SEED,
    "verbose": VERBOSE,
    "features_folder": PATH_OR_NONE,
}

VALUE_RANGE = pair((1.0, 1.0))
INPUT_SHAPE = ["a", "abc", None, 8, [], ODD, (8, 8), (8, 8, 0), (8, 8, 3.0)]
INPUT_SHAPE += [(8, 8, True), (8, 8, "a")]
LAYER_OR_NONE = [value for value in LAYER if value is not None]
MODEL = {
    "encoder": LAYER,
    "projector": LAYER_OR_NONE,
    "augmenter": LAYER_OR_NONE,
}

PERIODIC = {"minimum": POSITIVE, "maximum": POSITIVE, "period": POSITIVE}
TEMPERATURE_LOSS = {"temperature": POSITIVE, "reduction": REDUCTION}
VIEWS = tensor(np.ones((8, 4)), np.ones((8, 3, 4)))
A_SAMPLE = [*TEMPERATURES, [0.2] * 3, np.ones((8, 2))]
PRIOR = tensor([1.0], [-1, 1], [0, 0], [NAN, 1], none=True)
SINKHORN = {
    "regularization": POSITIVE,
    "iterations": COUNT,
    "tolerance": number(0, -1, none=True),
}

CALLS = {
    # schedules
    "schedules.ConstantTemperature": ({}, {"temperature": POSITIVE}),
    "schedules.CosineTemperature": ({}, PERIODIC),
    "schedules.LinearTemperature": (
        {},
        {"start": POSITIVE, "end": POSITIVE, "period": POSITIVE},
    ),
    "schedules.RandomTemperature": (
        {},
        {"minimum": POSITIVE, "maximum": POSITIVE, "seed": SEED},
    ),
    "schedules.StepTemperature": ({}, PERIODIC),
    "schedules.TriangularTemperature": ({}, PERIODIC),
    # initializers
    "initializers.SimplexETF": ({}, {"seed": SEED}),
    # losses
    "losses.ContrastiveLoss": ({}, {"reduction": REDUCTION}),
    "losses.TemperatureLoss": ({}, TEMPERATURE_LOSS),
    "losses.WrappingLoss": (
        {"base_loss": base},
        {"base_loss": OBJECT, "reduction": REDUCTION},
    ),
    "losses.BYOLLoss": ({}, {"reduction": REDUCTION}),
    "losses.NTXentLoss": (
        {},
        {**TEMPERATURE_LOSS, "chunk_size": COUNT_OR_NONE},
    ),
    "losses.FocalNTXentLoss": (
        {},
        {
            **TEMPERATURE_LOSS,
            "gamma": NOT_NEGATIVE,
            "chunk_size": COUNT_OR_NONE,
        },
    ),
    "losses.MACLLoss": (
        {},
        {
            **TEMPERATURE_LOSS,
            "alpha": NOT_NEGATIVE,
            "threshold": number(-1.1, 1.1),
            "reweight": BOOLEAN,
            "chunk_size": COUNT_OR_NONE,
        },
    ),
    "losses.DySTreSSLoss": (
        {},
        {
            "minimum": [*POSITIVE, 0.5, lt.schedules.CosineTemperature()],
            "maximum": POSITIVE,
            "chunk_size": COUNT_OR_NONE,
            "reduction": REDUCTION,
        },
    ),
    "losses.TASELoss": (
        {},
        {
            **TEMPERATURE_LOSS,
            "num_prototypes": integer(1, -3),
            "headness": [*CHOICE, lt.layers.Headness],
            "spread": number(-1, 1),
            "weight_power": NOT_NEGATIVE,
            "weight_limit": number(0.9),
            "weights_from": CHOICE,
            "scale_by_reliability": BOOLEAN,
            "momentum": BELOW_ONE,
            "warmup_steps": integer(-1),
            "chunk_size": COUNT_OR_NONE,
        },
    ),
    "losses.BoostedLoss": (
        {"base_loss": base, "num_samples": 8},
        {
            "base_loss": OBJECT,
            "num_samples": COUNT,
            "momentum": BELOW_ONE,
            "reduction": REDUCTION,
        },
    ),
    "losses.ConMixLoss": (
        {"base_loss": base},
        {
            "base_loss": OBJECT,
            "num_tags": COUNT,
            "base_weight": NOT_NEGATIVE,
            "seed": integer(-1, 2**31),
            "reduction": REDUCTION,
        },
    ),
    "losses.con_mix": (
        {"z": z, "tags": [0] * 8, "num_tags": 2},
        {
            "z": VIEWS,
            "tags": tensor([0], [[0]], [0.5] * 8),
            "num_tags": COUNT,
            "temperature": [*A_SAMPLE, [0.2] * 8],
        },
    ),
    "losses.SogCLRLoss": (
        {"num_samples": 8},
        {
            **TEMPERATURE_LOSS,
            "num_samples": COUNT,
            "gamma": number(0, 1.1),
            "chunk_size": COUNT_OR_NONE,
        },
    ),
    "losses.ISogCLRLoss": (
        {"num_samples": 8},
        {
            "num_samples": COUNT,
            "temperature": [
                *POSITIVE,
                0.04,
                0.8,
                lt.schedules.CosineTemperature(),
            ],
            "gamma": number(0, 1.1),
            "rho": NOT_NEGATIVE,
            "eta": NOT_NEGATIVE,
            "beta": number(0, 1.1),
            "minimum": [*POSITIVE, 0.8],
            "maximum": [*POSITIVE, 0.04],
            "chunk_size": COUNT_OR_NONE,
            "reduction": REDUCTION,
        },
    ),
    "losses.COLTLoss": (
        {},
        {
            "temperature": number(0, -1, none=True),
            "ood_weight": NOT_NEGATIVE,
            "top_k": COUNT,
            "num_samples": COUNT_OR_NONE,
            "momentum": BELOW_ONE,
            "base_loss": ["a", 1, [], ODD],
            "chunk_size": COUNT_OR_NONE,
            "reduction": REDUCTION,
        },
    ),
    "losses.GeometricHarmonizationLoss": (
        {"base_loss": base},
        {
            "base_loss": OBJECT,
            "num_targets": integer(1, -3),
            "num_samples": COUNT_OR_NONE,
            "weight": NOT_NEGATIVE,
            "warmup_epochs": NOT_NEGATIVE,
            "ramp_epochs": NOT_NEGATIVE,
            "sinkhorn": ["a", 1, ODD, {"gamma": 0.1}],
            "gamma": POSITIVE,
            "momentum": BELOW_ONE,
            "late_momentum": BELOW_ONE,
            "share_momentum": BELOW_ONE,
            "seed": SEED,
            "prior": CHOICE,
            "prior_power": NOT_NEGATIVE,
            "reduction": REDUCTION,
        },
    ),
    "losses.aligned_temperature": (
        {"alignment": 0.5},
        {
            "alignment": number(-1.1, 1.1),
            "temperature": TEMPERATURES,
            "alpha": NOT_NEGATIVE,
            "threshold": number(-1.1, 1.1),
        },
    ),
    "losses.boosted_weights": (
        {"momentum_losses": [1.0, 2.0]},
        {
            "momentum_losses": tensor([[1.0]]),
            "seen": tensor([True], none=True),
        },
    ),
    "losses.distribution_supcon": (
        {"z": z, "is_ood": [False] * 8},
        {
            "z": VIEWS,
            "is_ood": tensor([True], [[True]]),
            "temperature": A_SAMPLE,
            "chunk_size": COUNT_OR_NONE,
        },
    ),
    "losses.dystress": (
        {"z": z},
        {
            "z": VIEWS,
            "minimum": [*POSITIVE, 0.5],
            "maximum": [*POSITIVE, 0.05],
            "chunk_size": COUNT_OR_NONE,
        },
    ),
    "losses.focal_nt_xent": (
        {"z": z},
        {
            "z": VIEWS,
            "temperature": A_SAMPLE,
            "gamma": NOT_NEGATIVE,
            "chunk_size": COUNT_OR_NONE,
        },
    ),
    "losses.geometric_harmonization": (
        {"z": z, "targets": np.eye(2, 4)},
        {
            "z": VIEWS,
            "targets": tensor([1.0], [[1.0]]),
            "prior": PRIOR,
            "gamma": POSITIVE,
            "sinkhorn": ["a", 1, ODD, {"gamma": 0.1}],
        },
    ),
    "losses.power_law_prior": (
        {"shares": [0.5, 0.5]},
        {"shares": tensor([[0.5]], [NAN], [], ["a"]), "power": NOT_NEGATIVE},
    ),
    "losses.macl": (
        {"z": z},
        {
            "z": VIEWS,
            "temperature": A_SAMPLE,
            "alpha": NOT_NEGATIVE,
            "threshold": number(-1.1, 1.1),
            "reweight": BOOLEAN,
            "chunk_size": COUNT_OR_NONE,
        },
    ),
    "losses.normalized_mse": (
        {"predictions": z, "targets": z},
        {
            "predictions": [*VIEWS, np.ones((1, 2, 4))],
            "targets": [*VIEWS, np.ones((1, 2, 4))],
        },
    ),
    "losses.nt_xent": (
        {"z": z},
        {"z": VIEWS, "temperature": A_SAMPLE, "chunk_size": COUNT_OR_NONE},
    ),
    "losses.pair_temperatures": (
        {"cosines": [0.5]},
        {
            "cosines": ["a", None, ODD, [[1.0], [1.0, 2.0]]],
            "minimum": [*POSITIVE, 0.5],
            "maximum": [*POSITIVE, 0.05],
        },
    ),
    "losses.queue_nt_xent": (
        {"z": z, "keys": np.eye(3, 4), "is_filled": [True] * 3},
        {
            "z": VIEWS,
            "keys": tensor([1.0], [[1.0]]),
            "is_filled": tensor([True], [[True]]),
            "temperature": A_SAMPLE,
            "chunk_size": COUNT_OR_NONE,
        },
    ),
    "losses.sample_temperatures": (
        {"headness": [0.5], "temperature": 0.2, "spread": 0.5},
        {
            "headness": tensor([[0.5]]),
            "temperature": TEMPERATURES,
            "spread": number(-1, 1),
        },
    ),
    "losses.inverse_headness_weights": (
        {"headness": [0.5], "power": 0.5, "limit": 4.0},
        {
            "headness": tensor([[0.5]]),
            "power": NOT_NEGATIVE,
            "limit": number(0.9),
        },
    ),
    "losses.inverse_share_weights": (
        {"shares": [0.5, 0.5], "labels": [0], "power": 0.5, "limit": 4.0},
        {
            "shares": tensor([[0.5]]),
            "labels": tensor([[0]]),
            "power": NOT_NEGATIVE,
            "limit": number(0.9),
        },
    ),
    "losses.sinkhorn": (
        {"scores": np.ones((3, 2), "float32")},
        {"scores": tensor([1.0]), "prior": PRIOR, **SINKHORN},
    ),
    "losses.SinkhornOptions": ({}, SINKHORN),
    "losses.tail_score": (
        {"z": z},
        {
            "z": VIEWS,
            "temperature": A_SAMPLE,
            "top_k": COUNT,
            "chunk_size": COUNT_OR_NONE,
        },
    ),
}

CALLS |= {
    # layers
    "layers.BoostedViews": (
        {"views": views},
        {
            "views": LAYER,
            "strength": pair((-1, 1), (0, 31)),
            "num_ops": COUNT,
            "value_range": VALUE_RANGE,
            "seed": LAYER_SEED,
        },
    ),
    "layers.RandomTags": (
        {"num_tags": 3},
        {"num_tags": COUNT, "seed": integer(-1, 2**31)},
    ),
    "layers.GeometricTargets": (
        {"num_targets": 3},
        {
            "num_targets": integer(1, -3),
            "momentum": BELOW_ONE,
            "seed": SEED,
        },
    ),
    "layers.Headness": ({}, {}),
    "layers.KeyQueue": ({}, {"size": COUNT}),
    "layers.LossState": (
        {},
        {
            "loss": ["a", 1, [], ODD, keras.losses.MeanSquaredError()],
            "steps_per_epoch": integer(0, -3, none=True),
        },
    ),
    "layers.DensityHeadness": (
        {},
        {"bandwidth": POSITIVE, "momentum": BELOW_ONE},
    ),
    "layers.RankedHeadness": ({}, {"momentum": BELOW_ONE}),
    "layers.MixedHeadness": ({}, {"typicality": SHARE, "momentum": BELOW_ONE}),
    "layers.PerSampleRandAugment": (
        {},
        {
            "num_ops": COUNT,
            "value_range": VALUE_RANGE,
            "seed": LAYER_SEED,
            "probability": number(-0.1, 1.1, none=True),
            "strength": number(-1, 31, none=True),
        },
    ),
    "layers.ProjectionHead": (
        {},
        {
            "output_dim": COUNT_OR_NONE,
            "hidden_dim": COUNT_OR_NONE,
            "batch_norm": BOOLEAN,
        },
    ),
    "layers.Prototypes": (
        {},
        {
            "num_prototypes": integer(1, -3),
            "momentum": BELOW_ONE,
            "empty_share": BELOW_ONE,
        },
    ),
    "layers.RandomBlur": (
        {},
        {
            "probability": SHARE,
            "sigma": pair((0, 1), (1, INF)),
            "seed": LAYER_SEED,
        },
    ),
    "layers.RandomColorDistortion": (
        {},
        {
            "jitter": BELOW_ONE,
            "jitter_probability": SHARE,
            "grayscale": SHARE,
            "value_range": VALUE_RANGE,
            "seed": LAYER_SEED,
        },
    ),
    "layers.RandomResizedCrop": (
        {"height": 8, "width": 8},
        {
            "height": COUNT,
            "width": COUNT,
            "scale": pair((0, 1), (0.5, 1.1)),
            "ratio": pair((0, 1), (1, INF)),
            "horizontal_flip": SHARE,
            "seed": LAYER_SEED,
        },
    ),
    "layers.SampleMemory": (
        {"num_samples": 8},
        {"num_samples": COUNT, "width": COUNT_OR_NONE, "momentum": BELOW_ONE},
    ),
    "layers.ShareHeadness": ({}, {}),
    "layers.TwoViews": (
        {"pipeline": layer},
        {
            "pipeline": [*LAYER, ["a"], [keras.layers.Dense]],
            "takes_views": BOOLEAN,
        },
    ),
    "layers.TypicalityHeadness": ({}, {"momentum": BELOW_ONE}),
    "layers.simclr_views": (
        {"image_size": 8},
        {
            "image_size": [*COUNT, (8,), (8, 8, 3), (8, 0), ("a", 8)],
            "scale": SCALE_OR_NONE,
            "horizontal_flip": SHARE,
            "jitter": BELOW_ONE,
            "jitter_probability": SHARE,
            "grayscale": SHARE,
            "blur": SHARE,
            "value_range": VALUE_RANGE,
            "seed": SEED_OR_NONE,
            "rand_augment": SHARE,
        },
    ),
    # models
    "models.ContrastiveModel": ({"encoder": encoder}, MODEL),
    "models.BYOL": (
        {"encoder": encoder},
        {**MODEL, "predictor": LAYER_OR_NONE, "momentum": BELOW_ONE},
    ),
    "models.MomentumContrast": (
        {"encoder": encoder},
        {**MODEL, "momentum": BELOW_ONE, "queue_size": COUNT},
    ),
    "models.SelfDamagingContrast": (
        {"encoder": encoder},
        {**MODEL, "pruned_share": number(0, 1, 90)},
    ),
    "models.backbone_encoder": (
        {"backbone": "MobileNet", "input_shape": (32, 32, 3)},
        {
            "backbone": ["a", "", 1, None, [], ODD, keras.Model, encoder],
            "input_shape": [*INPUT_SHAPE, (8, 8, 3), (32, 32, 2)],
            "weights": ["a", 1, [], ODD],
            "pooling": CHOICE,
            "image_converter": ["a", 1, [], ODD],
            "value_range": VALUE_RANGE,
            "name": [1, [], ODD],
        },
    ),
    "models.use_torch_kernels": (
        {"model": encoder},
        {"model": LAYER, "enabled": BOOLEAN},
    ),
    "models.resnet18": (
        {"input_shape": (8, 8, 3)},
        {
            "input_shape": INPUT_SHAPE,
            "stem": CHOICE,
            "zero_init_residual": BOOLEAN,
            "value_range": VALUE_RANGE,
            "name": TEXT,
        },
    ),
    "models.small_convnet": (
        {"input_shape": (8, 8, 3), "width": 4},
        {
            "input_shape": INPUT_SHAPE,
            "width": COUNT,
            "value_range": VALUE_RANGE,
            "name": TEXT,
        },
    ),
}
OF_CHANNELS = [*number(), (0.5, 0.5), (0.5, 0.5, NAN)]


def torch_module():
    import torch

    return torch.nn.Flatten()


# It is refused on every other backend.
if keras.backend.backend() == "torch":
    CALLS["models.torch_encoder"] = (
        {"module": torch_module, "input_shape": (8, 8, 3)},
        {
            "module": LAYER,
            "input_shape": INPUT_SHAPE,
            "value_range": VALUE_RANGE,
            "mean": OF_CHANNELS,
            "std": [*OF_CHANNELS, 0, (0.5, 0.5, 0)],
            "name": TEXT,
        },
    )

ROWS = np.random.default_rng(0).normal(size=(12, 3))
LABELS = np.arange(12) % 3
IMAGES = np.zeros((12, 4, 4, 1), "uint8")
FEATURES = tensor(
    [1.0], np.zeros((0, 3)), np.full((12, 3), NAN), np.full((12, 3), "a")
)
SCORES = tensor([], [[1.0]], [NAN] * 12, [0.5] * 5, ["a"] * 12)
CLASS_OF_EACH = tensor([[0]], [0], [0.5] * 12, ["a"] * 12)
NOT_ALL_ROWS = [*COUNT, 13]
ENGINE = ["other", 1, [], ODD]
GROUPS = CHOICE
CLASS_COUNTS = ["a", ODD, 2.5, [[1], [1, 2]], [1], [-1, 2, 3], ["a"] * 3]
CLASS_NAMES = ["abc", 1, ODD, ["a"]]
SAMPLES = ["a", None, 2.5, [], ODD, {"image": 1}]
PROBE = {
    "test_features": [*FEATURES, np.ones((12, 2))],
    "test_labels": [*CLASS_OF_EACH, [7] * 12],
}

# A band that is None is no band.
BAND = [value for value in pair((-0.1, 0.5), (0.5, 1.1)) if value is not None]

CALLS |= {
    # samplers
    "samplers.cluster_scores": (
        {"scores": [0.1] * 12, "labels": LABELS, "num_clusters": 3},
        {
            "scores": [*SCORES[:-2], ["a"] * 12],
            "labels": [*CLASS_OF_EACH, [3] * 12, [-1] * 12],
            "num_clusters": COUNT,
        },
    ),
    "samplers.cluster_budgets": (
        {
            "scores": [0.1] * 12,
            "labels": LABELS,
            "num_clusters": 3,
            "budget": 4,
        },
        {
            "scores": [*SCORES[:-2], ["a"] * 12],
            "labels": [*CLASS_OF_EACH, [3] * 12, [-1] * 12],
            "num_clusters": COUNT,
            "budget": integer(-1),
            "temperature": POSITIVE,
        },
    ),
    "samplers.rank_in_band": (
        {"scores": [0.1] * 12},
        {
            "scores": [*SCORES[:-2], ["a"] * 12],
            "band": pair((-0.1, 0.5), (0.5, 1.1), (0.5, 0.5)),
        },
    ),
    "samplers.kmeans": (
        {"features": ROWS, "num_clusters": 3},
        {
            "features": FEATURES,
            "num_clusters": NOT_ALL_ROWS,
            "seed": KMEANS_SEED,
            "engine": ENGINE,
            "max_rows": [*COUNT, 2],
        },
    ),
    "samplers.greedy_k_centers": (
        {"features": ROWS, "budget": 3},
        {
            "features": FEATURES,
            "budget": integer(-1, 13),
            "centers": [value for value in FEATURES if value is not None],
        },
    ),
    "samplers.nearest_to_centers": (
        {"pool": ROWS, "centers": ROWS[:2], "budgets": [2, 1]},
        {
            "pool": FEATURES,
            "centers": [*FEATURES[:-2], np.full((2, 3), NAN), [["a"] * 3] * 2],
            "budgets": tensor([1], [-1, 1], [0.5, 1.0], ["a", "b"], [12, 1]),
        },
    ),
    "samplers.choose_colt": (
        {
            "id_features": ROWS,
            "pool_features": ROWS,
            "scores": [0.1] * 12,
            "budget": 3,
            "num_clusters": 2,
        },
        {
            "id_features": FEATURES,
            "pool_features": FEATURES,
            "scores": SCORES,
            "budget": integer(-1, 13),
            "num_clusters": NOT_ALL_ROWS,
            "temperature": POSITIVE,
            "seed": KMEANS_SEED,
            "engine": ENGINE,
            "max_rows": [*COUNT, 1],
            "band": [*BAND, (0.5, 0.5)],
        },
    ),
    "samplers.choose_mak": (
        {
            "id_features": ROWS,
            "pool_features": ROWS,
            "pool_losses": [0.1] * 12,
            "budget": 3,
            "num_clusters": 2,
        },
        {
            "id_features": FEATURES,
            "pool_features": FEATURES,
            "pool_losses": SCORES,
            "budget": integer(-1, 13),
            "num_clusters": NOT_ALL_ROWS,
            "candidate_factor": number(0.5),
            "seed": KMEANS_SEED,
            "engine": ENGINE,
            "max_rows": [*COUNT, 1],
        },
    ),
    "samplers.choose_to_label": (
        {"features": ROWS, "budget": 3},
        {
            "features": FEATURES,
            "budget": integer(-1, 13),
            "headness": [value for value in SCORES if value is not None],
            "groups": ["a", 1, [], ODD, [0.5] * 12, [0] * 11],
            "labeled": ["a", 1, ODD, [0.5], [12], [-1], [1, 1], [True]],
            "seed": SEED,
            "max_samples": [*COUNT, 1],
        },
    ),
    "samplers.write_to_label": (
        {"path": "a.csv", "chosen": [1, 0], "files": ["a.png", "b.png"]},
        {
            "path": PATH,
            "chosen": [None, "a", 1, ODD, [0.5], [2], [-1], [1, 1]],
            "files": [None, 1, ODD, [], ["a.png"]],
            "reasons": [1, ODD, [], ["rare"]],
        },
    ),
    # datasets
    "datasets.ImageBatches": (
        {"images": IMAGES},
        {
            "images": ["a", None, 1, [], ODD, [1.0], np.array([ODD])],
            "ids": [
                "a",
                ODD,
                2.5,
                [[1], [1, 2]],
                [1],
                [-2] * 12,
                [0.5] * 12,
            ],
            "batch_size": COUNT,
            "seed": SEED,
            "shuffle": BOOLEAN,
            "image_size": ["a", 8, [], ODD, (8, 8)],
            "workers": integer(-1),
            "use_multiprocessing": BOOLEAN,
            "max_queue_size": COUNT,
            "part": PART,
            "crop_scale": SCALE_OR_NONE,
        },
    ),
    "datasets.image_batches_from_directory": (
        # No folder, so a value that is accepted raises for another reason.
        {"directory": "photos", "labels": "inferred"},
        {
            "directory": [*PATH, "a folder that is missing"],
            "names": ["fox", 1, [], ODD, [1], ["a", "a"], ["../a"], ["/a"]],
            "labels": [value for value in CHOICE if value is not None],
            "class_names": ["fox", 1, [], ODD, [1], ["fox", "fox"]],
            "color_mode": [*CHOICE, "rgba"],
            "batch_size": COUNT,
            "image_size": ["a", None, 8, [], ODD, (8,), (8, 0), (8, 8.0)],
            "shuffle": BOOLEAN,
            "seed": SEED,
            "follow_links": BOOLEAN,
            "crop_to_aspect_ratio": BOOLEAN,
            "on_error": CHOICE,
            "check": BOOLEAN,
            "workers": integer(-1),
            "use_multiprocessing": BOOLEAN,
            "max_queue_size": COUNT,
            "part": PART,
            "verbose": BOOLEAN,
            "crop_scale": SCALE_OR_NONE,
        },
    ),
    "datasets.MixedBatches": (
        {"images": IMAGES, "pool": IMAGES, "budget": 4, "batch_size": 4},
        {
            "images": ["a", None, 1, [], ODD, [1.0], np.array([ODD])],
            "pool": ["a", None, 1, [], ODD, [1.0], IMAGES[:, :2]],
            "budget": [*COUNT, 13],
            "batch_size": [*COUNT, 1],
            "seed": SEED,
            "image_size": ["a", 8, [], ODD, (8, 8)],
            "workers": integer(-1),
            "use_multiprocessing": BOOLEAN,
            "max_queue_size": COUNT,
            "part": PART,
        },
    ),
    "datasets.LongTailSplit": (
        {
            **dict.fromkeys(["x_train", "x_probe", "x_test"], IMAGES),
            **dict.fromkeys(["y_train", "y_probe", "y_test"], LABELS),
            "class_names": ("ant", "bee", "cat"),
        },
        {
            **dict.fromkeys(["x_train", "x_probe", "x_test"], UINT8_IMAGES),
            **dict.fromkeys(["y_train", "y_probe", "y_test"], SPLIT_LABELS),
            "class_names": ["abc", None, 1, (), ODD, ("a", 1, 2)],
        },
    ),
    "datasets.load_keras_dataset": ({"name": "cifar10"}, {"name": CHOICE}),
    "datasets.load_npz_split": ({"path": "a.npz"}, {"path": PATH}),
    "datasets.long_tail_counts": (
        {"max_count": 100, "num_classes": 3, "imbalance": 10},
        {
            "max_count": [*COUNT, 5],
            "num_classes": COUNT,
            "imbalance": number(0, 0.5),
            "profile": CHOICE,
        },
    ),
    "datasets.long_tail_indices": (
        {"labels": LABELS, "imbalance": 2},
        {
            "labels": tensor([[0]], [], [0.5], ["a"]),
            "imbalance": number(0, 0.5),
            "max_count": integer(0, -3, none=True),
            "profile": CHOICE,
            "seed": SEED,
        },
    ),
    "datasets.make_long_tail_split": (
        {
            "x": IMAGES,
            "y": LABELS,
            "imbalance": 2,
            "num_probe": 1,
            "num_test": 1,
        },
        {
            "x": UINT8_IMAGES,
            "y": CLASS_OF_EACH,
            "imbalance": number(0, 0.5),
            "max_count": integer(0, -3, none=True),
            "profile": CHOICE,
            "num_probe": COUNT,
            "num_test": COUNT,
            "seed": SEED,
            "class_names": CLASS_NAMES,
        },
    ),
    "datasets.read_image_list": (
        {"path": "a.txt"},
        {"path": PATH, "root": PATH_OR_NONE},
    ),
    "datasets.read_images": (
        {"paths": ["a.png"], "image_size": (8, 8)},
        {
            "paths": ["a", None, 1, ODD, [1]],
            "image_size": ["a", None, 8, [], ODD, (8,), (8, 0), (8, 8.0)],
            "color_mode": [*CHOICE, "rgba"],
            "crop_to_aspect_ratio": BOOLEAN,
        },
    ),
    "datasets.read_index_list": ({"path": "a.npy"}, {"path": PATH}),
    # report
    "report.contact_sheet": (
        {
            "path": "a.png",
            "images": [np.zeros((4, 4), "uint8")],
            "captions": ["a"],
        },
        {
            "path": PATH,
            "images": [None, 1, ODD, [], [np.zeros((4, 4))], ["a"]],
            "captions": [None, 1, ODD, []],
            "columns": COUNT,
            "size": [*COUNT, 15, 10**5],
        },
    ),
    "report.write_report": (
        # No folder, so a value that is accepted raises for another reason.
        {"folder": "run"},
        {
            "folder": [*PATH, "a folder that is missing"],
            "directory": [value for value in PATH if value is not None],
            "neighbors_of": ["a.png", 1, [], ODD, [1]],
            "num_groups": [1, *COUNT],
            "max_image_bytes": integer(-1),
            "seed": SEED,
            "verbose": BOOLEAN,
        },
    ),
    # evaluation
    "evaluation.ImbalanceCurve": (
        {"sizes": [3, 2, 1]},
        {
            "sizes": tensor([], [[1]], [-1, 2], [0, 0], [NAN, 1]),
            "rerun_sizes": tensor([1], [[1]], [[-1, 1, 1]], none=True),
        },
    ),
    "evaluation.ProbeResult": (
        {"classes": [0, 1], "draw_accuracy": [[0.5, 0.5]]},
        {
            "classes": tensor([], [1, 0], [[1]]),
            "draw_accuracy": tensor([0.5], [[0.5]], [[0.5, 2]], [[NAN, NAN]]),
        },
    ),
    "evaluation.budget_shares": (
        {"budgets": [2, 6, 1], "clusters": LABELS, "labels": LABELS},
        {
            "budgets": tensor([1], [[1]]),
            "clusters": tensor([], [[0]], [7] * 12, [-1] * 12, [NAN] * 12),
            "labels": tensor([0], [[0]]),
            "groups": GROUPS,
        },
    ),
    "evaluation.class_similarity": (
        {"features": ROWS, "labels": LABELS},
        {
            "features": FEATURES,
            "labels": [*CLASS_OF_EACH, [0] * 12],
            "class_counts": [*CLASS_COUNTS, [0.5] * 3],
            "groups": GROUPS,
            "centered": BOOLEAN,
        },
    ),
    "evaluation.compare_reports": (
        {"reports": lambda: [report()]},
        {"reports": REPORTS, "format": CHOICE},
    ),
    "evaluation.few_shot_probe": (
        {
            **dict.fromkeys(["train_features", "test_features"], ROWS),
            **dict.fromkeys(["train_labels", "test_labels"], LABELS),
            "shots": 2,
        },
        {
            "train_features": FEATURES,
            "train_labels": [*CLASS_OF_EACH, [0] * 12],
            **PROBE,
            "shots": [*COUNT, 5],
            "draws": COUNT,
            "seed": SEED,
            "l2": POSITIVE,
        },
    ),
    "evaluation.group_accuracy": (
        {"class_accuracy": [0.5, 0.6, 0.7], "class_counts": [3, 2, 1]},
        {
            "class_accuracy": tensor([0.5], [NAN] * 3, ["a"] * 3, [INF] * 3),
            "class_counts": [None, "a", ODD, 2.5, [1, 2, 3, 4], [-1, 2, 3]],
            "groups": GROUPS,
        },
    ),
    "evaluation.effective_rank": (
        {"features": ROWS},
        {"features": FEATURES},
    ),
    "evaluation.headness_estimate": (
        {"features": ROWS, "num_neighbors": 3, "num_clusters": 3},
        {
            "features": FEATURES,
            "estimate": CHOICE,
            "num_neighbors": [*COUNT_OR_NONE, 12],
            "num_clusters": COUNT,
            "max_bank": COUNT,
            "seed": SEED,
            "bandwidth": POSITIVE,
            "margin": number(0, -1, 1.5),
        },
    ),
    "evaluation.embed": (
        {"encoder": encoder, "images": np.ones((12, 8), "float32")},
        {
            "encoder": LAYER,
            "images": [None, "a", 2.5, [], ODD, np.array([]), np.ones((4, 9))],
            "path": PATH_OR_NONE,
            "batch_size": COUNT,
            "image_size": ["a", 1, ODD, (8, 8), (8,)],
            "dtype": CHOICE,
            "workers": integer(-1),
            "verbose": VERBOSE,
        },
    ),
    "evaluation.near_duplicates": (
        {"features": ROWS},
        {"features": FEATURES, "similarity": number(0, -1, 1.5)},
    ),
    "evaluation.outliers": (
        {"features": ROWS},
        {
            "features": FEATURES,
            "num_neighbors": COUNT,
            "groups": ["a", 1, [], ODD, [0.5] * 12, [0] * 11],
        },
    ),
    "evaluation.knn_probe": (
        {
            **dict.fromkeys(["bank_features", "test_features"], ROWS),
            **dict.fromkeys(["bank_labels", "test_labels"], LABELS),
        },
        {
            "bank_features": FEATURES,
            "bank_labels": CLASS_OF_EACH,
            **PROBE,
            "k": NOT_ALL_ROWS,
            "chunk_size": COUNT,
        },
    ),
    "evaluation.linear_probe": (
        {
            **dict.fromkeys(["train_features", "test_features"], ROWS),
            **dict.fromkeys(["train_labels", "test_labels"], LABELS),
        },
        {
            "train_features": FEATURES,
            "train_labels": [*CLASS_OF_EACH, [0] * 12],
            **PROBE,
            "l2": POSITIVE,
        },
    ),
    "evaluation.minibatch_linear_probe": (
        {
            **dict.fromkeys(["train_features", "test_features"], ROWS),
            **dict.fromkeys(["train_labels", "test_labels"], LABELS),
        },
        {
            "train_features": FEATURES,
            "train_labels": [*CLASS_OF_EACH, [0] * 12],
            **PROBE,
            "validation": ["a", 1, ODD, (ROWS,), (ROWS, [7] * 12)],
            "learning_rates": ["a", None, 1, ODD, [], [0], ["a"], [NAN]],
            "l2": ["a", None, 1, ODD, [], [-1], ["a"], [INF]],
            "epochs": COUNT,
            "batch_size": COUNT,
            "seed": SEED,
            "verbose": ["auto", None, 3, ODD],
        },
    ),
    "evaluation.long_tail_report": (
        {"encoder": None, "split": feature_split, "shots": 2},
        {
            "encoder": ["a", 1, [], ODD, keras.Model, layer],
            "split": OBJECT,
            "name": TEXT,
            "groups": GROUPS,
            "shots": [*COUNT, 5],
            "in_minibatches": BOOLEAN,
            "draws": COUNT,
            "seed": SEED,
            "batch_size": COUNT,
            "progress": ["a", 1, [], ODD],
        },
    ),
    "evaluation.plot_class_accuracy": (
        {"reports": lambda: [report()], "path": "a.png"},
        {"reports": REPORTS, "path": PICTURE, "probe": CHOICE},
    ),
    "evaluation.plot_class_similarity": (
        {"features": ROWS, "labels": LABELS, "path": "a.png"},
        {
            "features": [*FEATURES, {}],
            "labels": CLASS_OF_EACH,
            "path": PICTURE,
            "class_counts": CLASS_COUNTS,
            "class_names": CLASS_NAMES,
            "groups": GROUPS,
            "centered": BOOLEAN,
        },
    ),
    "evaluation.plot_embedding": (
        {"features": ROWS, "labels": LABELS, "path": "a.png"},
        {
            "features": FEATURES,
            "labels": CLASS_OF_EACH,
            "path": PICTURE,
            "class_names": CLASS_NAMES,
            "seed": KMEANS_SEED,
            "max_samples": COUNT,
        },
    ),
    "evaluation.plot_ood_choice": (
        {
            "choice": ood_choice,
            "id_images": IMAGES,
            "pool_images": IMAGES,
            "path": "a.png",
        },
        {
            "choice": OBJECT,
            "id_images": [*SAMPLES, IMAGES[:3], ROWS],
            "pool_images": [*SAMPLES, IMAGES[:1], ROWS],
            "path": PICTURE,
            "images_per_cluster": [*COUNT, 21],
            "score_name": TEXT,
        },
    ),
    "evaluation.plot_tail_diagnosis": (
        {"diagnosis": diagnosis, "images": IMAGES, "path": "a.png"},
        {
            "diagnosis": OBJECT,
            "images": [*SAMPLES, IMAGES[:3], ROWS],
            "path": PICTURE,
            "images_per_column": [*COUNT, 11],
        },
    ),
    "evaluation.plot_temperature": (
        {"history": {"temperature": [0.1, 0.2]}, "path": "a.png"},
        {
            "history": [
                *OBJECT,
                {},
                {"temperature": []},
                {"temperature": "a"},
                {"temperature": [NAN]},
            ],
            "path": PICTURE,
            "class_temperature": ["a", ODD, 2.5, [0.1]],
            "class_counts": ["a", ODD, 2.5, [1]],
        },
    ),
    "evaluation.tail_agreement": (
        {"scores": np.linspace(0, 1, 12), "labels": LABELS},
        {
            "scores": tensor([], [[1.0]], [NAN] * 12),
            "labels": tensor([0], [[0]]),
            "groups": GROUPS,
        },
    ),
    "evaluation.tail_diagnosis": (
        {"features": ROWS, "num_neighbors": 3, "num_clusters": 3, "repeats": 2},
        {
            "features": [*FEATURES, ROWS[:3]],
            "labels": ["a", ODD, 2.5, [[1], [1, 2]], [1]],
            "estimate": ["other", None, 1, [], ODD, [0.5], [NAN] * 12],
            "num_neighbors": [*COUNT_OR_NONE, 12],
            "num_clusters": [*COUNT, 7],
            "repeats": [*COUNT, 1],
            "groups": GROUPS,
            "max_bank": [*COUNT, 3],
            "seed": SEED,
            "take_out": BOOLEAN,
        },
    ),
    # callbacks
    "callbacks.FeatureMonitor": (
        {"images": ROWS},
        {
            "images": SAMPLES,
            "interval": COUNT,
            "batch_size": COUNT,
            "encoder": ["a", 1, [], ODD, keras.Model, layer],
        },
    ),
    "callbacks.KNNProbe": (
        {
            **dict.fromkeys(["bank", "test"], ROWS),
            **dict.fromkeys(["bank_labels", "test_labels"], LABELS),
        },
        {
            "bank": SAMPLES,
            "bank_labels": CLASS_OF_EACH,
            "test": SAMPLES,
            "test_labels": [*CLASS_OF_EACH, [7] * 12],
            "k": NOT_ALL_ROWS,
            "interval": COUNT,
            "batch_size": COUNT,
            "groups": GROUPS,
            "prefix": TEXT,
            "encoder": ["a", 1, [], ODD, keras.Model, layer],
        },
    ),
    "callbacks.MAKSampler": (
        {"data": mixed, "num_clusters": 2},
        {
            **POOL_SAMPLER,
            "start": integer(-1),
            "candidate_factor": number(0.5),
            "passes": COUNT,
        },
    ),
    "callbacks.OODSampler": (
        {"data": mixed, "num_clusters": 2},
        {
            **POOL_SAMPLER,
            "start": integer(0),
            "temperature": POSITIVE,
            "score": CHOICE,
            "band": [*BAND, (0.5, 0.5)],
        },
    ),
    "callbacks.PriorEstimation": (
        {},
        {"start": integer(-1, none=True), "interval": COUNT},
    ),
    "callbacks.PrototypeRefit": (
        {"x": ROWS},
        {
            "x": SAMPLES,
            "interval": COUNT,
            "start": integer(-1),
            "hold": BOOLEAN,
            "batch_size": COUNT,
            "seed": KMEANS_SEED,
            "verbose": VERBOSE,
        },
    ),
    "callbacks.ResumableCheckpoint": (
        {"folder": "a"},
        {
            "folder": PATH,
            "interval": COUNT,
            "callbacks": ["a", None, 1, ODD, [ODD]],
            "keep": COUNT,
            "resume": BOOLEAN,
        },
    ),
    "callbacks.TemperatureScheduler": (
        {"schedule": lt.schedules.CosineTemperature()},
        {"schedule": OBJECT, "frequency": CHOICE},
    ),
}

# Their right calls would read or write files.
TOUCHES_FILES = {name for name, (right, _) in CALLS.items() if "path" in right}
TOUCHES_FILES |= {
    "datasets.load_keras_dataset",
    "datasets.image_batches_from_directory",
    "datasets.read_images",
    "report.write_report",
    "callbacks.ResumableCheckpoint",
}

ROOMS = (
    "callbacks",
    "datasets",
    "evaluation",
    "initializers",
    "layers",
    "losses",
    "models",
    "report",
    "samplers",
    "schedules",
)

# Base classes without arguments, and records that this package fills in.
WITHOUT_ARGUMENTS = {
    "datasets.load_digits",
    "datasets.load_mnist_subset",
    "evaluation.LongTailData",
    "schedules.TemperatureSchedule",
}
FILLED_IN = {
    "datasets.DirectoryBatches",
    "evaluation.ClassSimilarity",
    "evaluation.GroupAccuracy",
    "evaluation.GroupShare",
    "evaluation.LinearProbeSweep",
    "evaluation.LongTailReport",
    "evaluation.TailAgreement",
    "evaluation.TailDiagnosis",
    "losses.Requirements",
    "losses.find_loss",
    "losses.Step",
    "samplers.MAKChoice",
    "samplers.OODChoice",
    "samplers.PoolChoice",
    # A base class, whose constructor OODSampler's row calls.
    "callbacks.PoolSampler",
}
OF_PYTORCH = {"models.torch_encoder"}

# Keras looks at these itself.
LEFT_TO_KERAS = {"name", "dtype", "kwargs"}


def made(value):
    return value() if inspect.isfunction(value) else value


def public(name):
    room, _, member = name.partition(".")
    return getattr(getattr(lt, room), member)


@pytest.mark.parametrize("name", sorted(set(CALLS) - TOUCHES_FILES))
def test_right_calls_are_accepted(name):
    arguments = {key: made(value) for key, value in CALLS[name][0].items()}
    public(name)(**arguments)


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        (name, argument)
        for name, (_, wrong) in CALLS.items()
        for argument in wrong
    ],
)
def test_wrong_calls_are_refused_by_the_name_of_the_argument(
    name, argument, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # For what a call writes that is accepted.
    right, wrong = CALLS[name]
    failures = []
    for value in wrong[argument]:
        arguments = {key: made(value) for key, value in right.items()}
        try:
            public(name)(**{**arguments, argument: value})
        except ValueError as error:
            if f"`{argument}`" in str(error) and "Received" in str(error):
                continue
            failures.append(f"{reprlib.repr(value)}: unclear, {error!r}")
        except Exception as error:
            failures.append(f"{reprlib.repr(value)}: raised {error!r}")
        else:
            failures.append(f"{reprlib.repr(value)}: was accepted")
    assert not failures, "\n".join(failures)


def test_every_public_name_is_in_the_table():
    names = {
        f"{room}.{member}"
        for room in ROOMS
        for member in getattr(lt, room).__all__
    }
    assert names == {*CALLS, *WITHOUT_ARGUMENTS, *FILLED_IN, *OF_PYTORCH}


@pytest.mark.parametrize("name", CALLS)
def test_every_argument_is_in_the_table(name):
    arguments = set(inspect.signature(public(name)).parameters)
    told = set(CALLS[name][1]) | LEFT_TO_KERAS
    assert arguments <= told
