"""What is compared: each arm is a loss, and what goes with it."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import controls
import keras
import numpy as np
from stored import tuning_name

import keras_ltssl as lt


@dataclasses.dataclass(frozen=True)
class Task:
    """What an arm is made for.

    Attributes:
        epochs, budget, batches: of the protocol; `batches` are the arguments
            of the data that all arms share.
        images, labels: the training set. Only the oracles read labels.
        pool: returns what COLT chooses from.
        temperature, rand_augment: the fixed τ and the view strength at which
            SimCLR does best.
    """

    epochs: int
    budget: int
    batches: dict[str, Any]
    images: np.ndarray
    labels: np.ndarray
    pool: Callable[[], np.ndarray]
    temperature: float | None
    rand_augment: float = 0.0


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is trained: `training.build_model` and `training.train` take it."""

    loss: Any
    data: Any
    callbacks: Sequence[keras.callbacks.Callback] = ()
    framework: str = "simclr"
    boosts_views: bool = False


@dataclasses.dataclass(frozen=True)
class Arm:
    """A name to print, a group, and how to make the recipe for a task.

    `rand_augment` is the strength of the views, and `None` the tuned one; the
    temperature is the one tuned for it.
    """

    title: str
    group: str
    make: Callable[[Task], Recipe] | None
    rand_augment: float | None = None


def with_loss(loss):
    """Returns the maker of a recipe that differs from SimCLR in its loss."""

    def make(task):
        return Recipe(
            loss(task), lt.datasets.ImageBatches(task.images, **task.batches)
        )

    return make


def simclr(temperature=None):
    return with_loss(
        lambda task: lt.losses.NTXentLoss(temperature or task.temperature)
    )


def around(task, factor):
    """Returns the range whose mean is the fixed τ, and its half the width."""
    width = factor * task.temperature
    return task.temperature - width, task.temperature + width


def schedule(low=0.1, high=1.0, cycles=5, factor=None):
    """Returns the maker of Temperature Schedules, a whole number of cycles."""

    def loss(task):
        ends = (low, high) if factor is None else around(task, factor)
        return lt.losses.NTXentLoss(cosine(task, *ends, cycles))

    return with_loss(loss)


def cosine(task, low, high, cycles):
    """Returns the cosine; in short runs of fewer cycles, of three epochs each.

    A cycle of one epoch or two would be no cosine: τ changes by the epoch.
    """
    cycles = max(1, min(cycles, task.epochs // 3))
    return lt.schedules.CosineTemperature(low, high, task.epochs / cycles)


def tase(**arguments):
    return with_loss(
        lambda task: lt.losses.TASELoss(task.temperature, **arguments)
    )


def tase_refit(task):
    recipe = tase()(task)
    refit = lt.callbacks.PrototypeRefit(
        task.images, interval=part_of(task.epochs, 20), start=1, hold=True
    )
    return dataclasses.replace(recipe, callbacks=[refit])


def tase_scheduled(task):
    low, high = around(task, 0.5)
    return with_loss(
        lambda task: lt.losses.TASELoss(cosine(task, low, high, 5))
    )(task)


def part_of(epochs, part, least=1):
    """Returns the epochs that a published share of a training comes to."""
    return max(least, round(epochs / part))


def harmonized(base=None, warmup=0.5, **arguments):
    """Returns the maker of GH, its times those published for 1000 epochs.

    Around the loss of `base`, another maker; SimCLR's by default.
    """

    def make(task):
        recipe = (base or simclr())(task)
        loss = lt.losses.GeometricHarmonizationLoss(
            recipe.loss,
            num_samples=len(task.images),
            warmup_epochs=round(warmup * task.epochs),
            ramp_epochs=part_of(task.epochs, 100),
            **arguments,
        )
        prior = lt.callbacks.PriorEstimation(interval=part_of(task.epochs, 50))
        return dataclasses.replace(
            recipe, loss=loss, callbacks=[*recipe.callbacks, prior]
        )

    return make


def colt(
    base=None,
    ood_weight=0.2,
    is_random=False,
    score="tailness",
    band=None,
):
    """Returns the maker of COLT, its times those published for 2000 epochs.

    Around the loss of `base`, another maker; SimCLR's by default. `score` is
    that of `OODSampler`, or a function from the loss of `base` to it.
    """

    def make(task):
        recipe = (base or simclr())(task)
        data = lt.datasets.MixedBatches(
            task.images, task.pool(), task.budget, **task.batches
        )
        loss = lt.losses.COLTLoss(
            base_loss=recipe.loss,
            ood_weight=ood_weight,
            num_samples=len(task.images),
        )
        start = part_of(task.epochs, 20)
        if is_random:
            chooser = controls.RandomChoice(data, start)
        else:
            interval = part_of(task.epochs, 80, least=5)
            chooser = lt.callbacks.OODSampler(
                data,
                start,
                interval,
                score=score(recipe.loss) if callable(score) else score,
                band=band,
            )
        return dataclasses.replace(
            recipe, loss=loss, data=data, callbacks=[*recipe.callbacks, chooser]
        )

    return make


def learned_temperatures(loss):
    """Returns the score by what iSogCLR learns, which is small in the tail."""
    return lambda features: loss.temperatures()


def sdclr(task):
    return dataclasses.replace(simclr()(task), framework="sdclr")


def bcl(base=None, loss_class=lt.losses.BoostedLoss):
    """Returns the maker of BCL, around the loss of `base`.

    As published its weights alone make views stronger: `run.py` puts
    `BoostedViews` around plain views, whatever the tuned strength.
    """

    def make(task):
        recipe = (base or simclr())(task)
        loss = loss_class(recipe.loss, len(task.images))
        return dataclasses.replace(recipe, loss=loss, boosts_views=True)

    return make


def conmix(task):
    """Returns ConMix, with as many samples in a mixed one as published."""
    tags = max(2, task.batches["batch_size"] // 5)
    return lt.losses.ConMixLoss(lt.losses.NTXentLoss(task.temperature), tags)


def global_contrast(loss_class, **arguments):
    """Returns the maker of SogCLR or iSogCLR, beginning at the tuned τ."""
    return with_loss(
        lambda task: loss_class(len(task.images), task.temperature, **arguments)
    )


def pixel_weights(is_permuted=False):
    """Returns the maker of SimCLR with weights by clusters of pixels."""

    def loss(task):
        weights = controls.cluster_weights(task.images)
        if is_permuted:  # The same weights, to the wrong samples.
            weights = np.random.default_rng(0).permutation(weights)
        return controls.KnownWeights(
            lt.losses.NTXentLoss(task.temperature), weights.tolist()
        )

    return with_loss(loss)


def oracle(spread=0.0, weight_power=0.0):
    """Returns the maker of TASE that knows the true number of each class."""

    def loss(task):
        counts = controls.class_sizes(task.labels)
        temperatures = lt.losses.TASELoss(
            task.temperature,
            headness=controls.KnownHeadness(controls.midranks(counts)),
            spread=spread,
            weight_power=0.0,
        )
        if not weight_power:
            return temperatures
        weights = counts.astype("float32") ** -weight_power
        return controls.KnownWeights(temperatures, weights.tolist())

    return with_loss(loss)


ARMS = {
    "untrained": Arm("Untrained encoder", "methods", None),
    "ts": Arm("Temperature Schedules, 0.1 to 1", "methods", schedule()),
    "tase": Arm("TASE", "methods", tase()),
    "gh": Arm("Geometric Harmonization", "methods", harmonized()),
    "colt": Arm("COLT", "methods", colt()),
    "ts+gh": Arm(
        "Temperature Schedules and GH",
        "methods",
        harmonized(schedule()),
    ),
    "sdclr": Arm("SDCLR", "methods", sdclr),
    "bcl": Arm("BCL", "methods", bcl()),
    # Several methods at once.
    "bcl+gh": Arm("BCL and GH", "combined", harmonized(bcl())),
    "bcl+tase": Arm("BCL and TASE", "combined", bcl(tase())),
    "bcl+colt": Arm("BCL and COLT", "combined", colt(bcl())),
    "bcl+gh+colt": Arm("BCL, GH and COLT", "combined", harmonized(colt(bcl()))),
    # BCL's weights dealt to other samples: what is left is strong views.
    "bcl_permuted": Arm(
        "BCL, its weights dealt to other samples",
        "combined",
        bcl(loss_class=controls.PermutedBoostedLoss),
    ),
    # Later methods.
    "gh_power_law": Arm(
        "GH, power-law prior", "newer", harmonized(prior="power_law")
    ),
    "conmix": Arm("ConMix", "newer", with_loss(conmix)),
    # Weights from what can be seen before training, without labels.
    "weights_pixels": Arm(
        "Weights by clusters of pixels", "weights", pixel_weights()
    ),
    "weights_pixels_permuted": Arm(
        "Weights by clusters of pixels, dealt to other samples",
        "weights",
        pixel_weights(is_permuted=True),
    ),
    # Contrasts with all samples, for small batches; a learned temperature.
    "sogclr": Arm("SogCLR", "global", global_contrast(lt.losses.SogCLRLoss)),
    "isogclr": Arm(
        "iSogCLR, ρ = 0.3", "global", global_contrast(lt.losses.ISogCLRLoss)
    ),
    "isogclr_rho08": Arm(
        "iSogCLR, ρ = 0.8",
        "global",
        global_contrast(lt.losses.ISogCLRLoss, rho=0.8),
    ),
    # SimCLR again, watched: what is seen of the tail while it trains.
    "simclr_watched": Arm("SimCLR, watched", "tail", simclr()),
    # Why the methods do what they do.
    "ts_around": Arm(
        "TS around the fixed τ (0.5 to 1.5 of it)", "why", schedule(factor=0.5)
    ),
    "ts_wide": Arm(
        "TS around the fixed τ (0.1 to 1.9 of it)", "why", schedule(factor=0.9)
    ),
    "ts_one_cycle": Arm(
        "TS, 0.5 to 1.5 of the fixed τ, one cycle",
        "why",
        schedule(cycles=1, factor=0.5),
    ),
    "gh_light": Arm("GH, weight 0.2", "why", harmonized(weight=0.2)),
    "gh_early": Arm(
        "GH from a tenth of the run", "why", harmonized(warmup=0.1)
    ),
    "gh_10_targets": Arm("GH, 10 targets", "why", harmonized(num_targets=10)),
    "colt_random": Arm("COLT, chosen at random", "why", colt(is_random=True)),
    "colt_no_term": Arm(
        "COLT, no distribution term", "why", colt(ood_weight=0.0)
    ),
    "colt_density": Arm(
        "COLT, by neighbors instead of tailness",
        "why",
        colt(score="density"),
    ),
    "colt_kernel_density": Arm(
        "COLT, by kernel density instead of tailness",
        "why",
        colt(score="kernel_density"),
    ),
    "colt_adaptive_mass": Arm(
        "COLT, by adaptive mass instead of tailness",
        "why",
        colt(score="adaptive_mass"),
    ),
    "colt_learned": Arm(
        "COLT around iSogCLR, by learned temperatures",
        "why",
        colt(
            global_contrast(lt.losses.ISogCLRLoss), score=learned_temperatures
        ),
    ),
    "colt_adaptive_mass_band": Arm(
        "COLT, by adaptive mass, without outliers",
        "why",
        colt(score="adaptive_mass", band=(0.75, 0.99)),
    ),
    # TASE's ablation; the mean temperature is the fixed one in all of them.
    "tase_head_hot": Arm(
        "Temperature alone, larger in the head",
        "ablation",
        tase(weight_power=0.0),
    ),
    "tase_head_cold": Arm(
        "Temperature alone, smaller in the head",
        "ablation",
        tase(weight_power=0.0, spread=-0.5),
    ),
    "tase_permuted": Arm(
        "Temperature alone, dealt to other samples",
        "ablation",
        tase(weight_power=0.0, headness=controls.PermutedHeadness()),
    ),
    "tase_share": Arm(
        "Temperature alone, by share",
        "ablation",
        tase(weight_power=0.0, headness="share"),
    ),
    "tase_typicality": Arm(
        "Temperature alone, by typicality",
        "ablation",
        tase(weight_power=0.0, headness="typicality"),
    ),
    "tase_weights_05": Arm(
        "Weights alone, power 0.5", "ablation", tase(spread=0.0)
    ),
    "tase_weights_1": Arm(
        "Weights alone, power 1",
        "ablation",
        tase(spread=0.0, weight_power=1.0, weight_limit=10.0),
    ),
    "tase_density": Arm(
        "Both, by density",
        "ablation",
        tase(headness="density", weights_from="headness"),
    ),
    "tase_reliable": Arm(
        "Both, as far as two views agree",
        "ablation",
        tase(scale_by_reliability=True),
    ),
    "tase_density_reliable": Arm(
        "Both, by density, as far as two views agree",
        "ablation",
        tase(
            headness="density",
            weights_from="headness",
            scale_by_reliability=True,
        ),
    ),
    "tase_10": Arm("Both, 10 prototypes", "ablation", tase(num_prototypes=10)),
    "tase_200": Arm(
        "Both, 200 prototypes", "ablation", tase(num_prototypes=200)
    ),
    "tase_refit": Arm("Both, prototypes refitted", "ablation", tase_refit),
    "tase_scheduled": Arm("Both, scheduled τ_0", "ablation", tase_scheduled),
    "oracle_head_hot": Arm(
        "True counts: larger τ in the head", "ablation", oracle(0.5)
    ),
    "oracle_head_cold": Arm(
        "True counts: smaller τ in the head", "ablation", oracle(-0.5)
    ),
    "oracle_weights_05": Arm(
        "True counts: weights, power 0.5", "ablation", oracle(0.0, 0.5)
    ),
    "oracle_weights_1": Arm(
        "True counts: weights, power 1", "ablation", oracle(0.0, 1.0)
    ),
    "oracle_both": Arm(
        "True counts: larger τ in the head, weights",
        "ablation",
        oracle(0.5, 0.5),
    ),
}


# Others on SimCLR's own views, too, at the τ that was tuned for them. SimCLR
# itself is there among the tuning arms, and BCL's base is always plain views.
ARMS |= {
    f"{name}_plain": dataclasses.replace(
        ARMS[name],
        title=f"{ARMS[name].title}, plain views",
        group="plain",
        rand_augment=0.0,
    )
    for name in ("tase", "oracle_head_hot", "oracle_weights_1", "oracle_both")
}


# No methods: what they are compared with. So are arms whose weights or
# temperatures were dealt to other samples.
CONTROLS = ("untrained", "simclr_watched", "colt_random")


def role(name, group):
    """Returns what an arm is there for, by its name and group.

    `"tuning"`, SimCLR at one setting; `"control"`, which shows what something
    is not due to; `"oracle"`, which knows the labels; `"variation"`, of a
    method; or `"method"`.
    """
    if group == "tuning":
        return "tuning"
    if name in CONTROLS or "permuted" in name:
        return "control"
    if name.startswith("oracle"):
        return "oracle"
    return "variation" if group in ("plain", "why", "ablation") else "method"


def tuning_arms(protocol):
    """Returns SimCLR at each temperature and view strength to choose from."""
    return {
        tuning_name(temperature, rand_augment): Arm(
            f"SimCLR, τ = {temperature:g}{views_title(rand_augment)}",
            "tuning",
            simclr(temperature),
            rand_augment,
        )
        for temperature, rand_augment in itertools.product(
            protocol.temperatures, protocol.rand_augments
        )
    }


def views_title(rand_augment):
    return f", view strength {rand_augment:g}" if rand_augment else ""
