"""One table of wrong calls: each public argument refuses what it cannot be.

A row is a public name, arguments that are right, and for each argument the
values that are wrong for it. Every wrong value must raise a `ValueError` that
names the argument and says what was received.
"""

import inspect
import math

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
    return ["a", *([] if none else [None]), [], ODD, True, NAN, INF, *also]


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
SINKHORN = {
    "prior": tensor([1.0], [-1, 1], [0, 0], [NAN, 1], none=True),
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
    "initializers.largest_cosine": (
        {"vectors": [[1.0, 0.0], [0.0, 1.0]]},
        {"vectors": tensor([1.0, 2.0], [[1.0, 2.0]])},
    ),
    # losses
    "losses.ContrastiveLoss": ({}, TEMPERATURE_LOSS),
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
            "regularization": POSITIVE,
            "iterations": COUNT,
            "tolerance": number(0, -1, none=True),
            "gamma": POSITIVE,
            "momentum": BELOW_ONE,
            "late_momentum": BELOW_ONE,
            "share_momentum": BELOW_ONE,
            "seed": SEED,
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
            **SINKHORN,
            "gamma": POSITIVE,
        },
    ),
    "losses.harmonization_from_scores": (
        {"scores": np.ones((3, 2, 2), "float32")},
        {"scores": tensor(np.ones((3, 2))), **SINKHORN, "gamma": POSITIVE},
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
    "losses.sample_weights": (
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
        {"scores": tensor([1.0]), **SINKHORN},
    ),
    "losses.tail_score": (
        {"z": z},
        {
            "z": VIEWS,
            "temperature": A_SAMPLE,
            "top_k": COUNT,
            "chunk_size": COUNT_OR_NONE,
        },
    ),
    "losses.target_scores": (
        {"z": z, "targets": np.eye(2, 4)},
        {"z": VIEWS, "targets": tensor([1.0], [[1.0]])},
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
            "seed": SEED_OR_NONE,
        },
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
    "layers.MixedHeadness": ({}, {"typicality": SHARE, "momentum": BELOW_ONE}),
    "layers.PerSampleRandAugment": (
        {},
        {"num_ops": COUNT, "value_range": VALUE_RANGE, "seed": SEED_OR_NONE},
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
            "seed": SEED_OR_NONE,
        },
    ),
    "layers.RandomColorDistortion": (
        {},
        {
            "jitter": BELOW_ONE,
            "jitter_probability": SHARE,
            "grayscale": SHARE,
            "value_range": VALUE_RANGE,
            "seed": SEED_OR_NONE,
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
            "seed": SEED_OR_NONE,
        },
    ),
    "layers.SampleMemory": (
        {"num_samples": 8},
        {"num_samples": COUNT, "width": COUNT_OR_NONE, "momentum": BELOW_ONE},
    ),
    "layers.ShareHeadness": ({}, {}),
    "layers.TwoViews": (
        {"pipeline": layer},
        {"pipeline": [*LAYER, ["a"], [keras.layers.Dense]]},
    ),
    "layers.TypicalityHeadness": ({}, {"momentum": BELOW_ONE}),
    "layers.simclr_views": (
        {"image_size": 8},
        {
            "image_size": [*COUNT, (8,), (8, 8, 3), (8, 0), ("a", 8)],
            "scale": pair((0, 1), (0.5, 1.1)),
            "horizontal_flip": SHARE,
            "jitter": BELOW_ONE,
            "jitter_probability": SHARE,
            "grayscale": SHARE,
            "blur": SHARE,
            "value_range": VALUE_RANGE,
            "seed": SEED_OR_NONE,
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

ROOMS = ("losses", "schedules", "initializers", "layers", "models")

# Base classes without arguments, and records that this package fills in.
WITHOUT_ARGUMENTS = {"schedules.TemperatureSchedule"}
FILLED_IN = {"layers.Assignment"}

# Keras looks at these itself.
LEFT_TO_KERAS = {"name", "dtype", "kwargs"}

# Arguments for which nothing is wrong, by what they are.
ANYTHING_GOES = set()


def made(value):
    return value() if inspect.isfunction(value) else value


def public(name):
    room, _, member = name.partition(".")
    return getattr(getattr(lt, room), member)


@pytest.mark.parametrize("name", CALLS)
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
def test_wrong_calls_are_refused_by_the_name_of_the_argument(name, argument):
    right, wrong = CALLS[name]
    failures = []
    for value in wrong[argument]:
        arguments = {key: made(value) for key, value in right.items()}
        try:
            public(name)(**{**arguments, argument: value})
        except ValueError as error:
            if f"`{argument}`" in str(error) and "Received" in str(error):
                continue
            failures.append(f"{argument}={value!r}: unclear, {error!r}"[:300])
        except Exception as error:
            failures.append(f"{argument}={value!r}: raised {error!r}"[:300])
        else:
            failures.append(f"{argument}={value!r}: was accepted")
    assert not failures, "\n".join(failures)


def test_every_public_name_is_in_the_table():
    names = {
        f"{room}.{member}"
        for room in ROOMS
        for member in getattr(lt, room).__all__
    }
    assert names == set(CALLS) | WITHOUT_ARGUMENTS | FILLED_IN


@pytest.mark.parametrize("name", CALLS)
def test_every_argument_is_in_the_table(name):
    arguments = set(inspect.signature(public(name)).parameters)
    told = set(CALLS[name][1]) | LEFT_TO_KERAS
    told |= {argument for of, argument in ANYTHING_GOES if of == name}
    assert arguments <= told
