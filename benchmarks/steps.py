"""What each method adds to a training step of SimCLR, and what feeding costs.

    KERAS_BACKEND=jax python benchmarks/steps.py --batch_size 512

Whole training steps on ready-made views, with `small_convnet` and with an
encoder of next to no cost, in turns in one process; medians over rounds of the
ratio to SimCLR and of the difference in milliseconds. Beside them the encoder
and projector alone, trained with a loss of no cost. Then `fit` on batches read
from an array, with the cheap encoder, beside the same steps on one batch: what
reading batches and Keras' loop cost, by step and, from epochs of two lengths,
by call of `fit`. Prints JSON and stores it in `--output`.
"""

import statistics
import time

import keras
import measuring
import numpy as np
from absl import app, flags
from keras import ops

import keras_ltssl as lt

flags.DEFINE_integer("batch_size", 512, "Samples in a batch.", lower_bound=2)
flags.DEFINE_integer("num_samples", 12406, "Samples in the memories.")
flags.DEFINE_integer("image_size", 32, "Height and width of the images.")
flags.DEFINE_integer("repeats", 15, "Timed rounds.", lower_bound=3)
FLAGS = flags.FLAGS

LOSSES = {
    "simclr": lambda: lt.losses.NTXentLoss(),
    "ts": lambda: lt.losses.NTXentLoss(lt.schedules.CosineTemperature()),
    "tase": lambda: lt.losses.TASELoss(warmup_steps=0),
    "gh": lambda: lt.losses.GeometricHarmonizationLoss(
        lt.losses.NTXentLoss(),
        num_samples=FLAGS.num_samples,
        warmup_epochs=0,
        ramp_epochs=0,
    ),
    "gh, stopping early": lambda: lt.losses.GeometricHarmonizationLoss(
        lt.losses.NTXentLoss(),
        num_samples=FLAGS.num_samples,
        warmup_epochs=0,
        ramp_epochs=0,
        sinkhorn=lt.losses.SinkhornOptions(tolerance=1e-5),
    ),
    "colt": lambda: lt.losses.COLTLoss(num_samples=FLAGS.num_samples),
}


def convnet(shape):
    return lt.models.small_convnet(shape)


def cheap(shape):
    """An encoder of next to no cost."""
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Rescaling(1 / 255),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


def encoder_alone(make_encoder, views):
    """Returns a call that trains encoder and projector without a loss."""
    shape = views.shape[2:]
    model = keras.Sequential([make_encoder(shape), lt.layers.ProjectionHead()])
    model.compile(
        keras.optimizers.SGD(0.01), loss=lambda _, z: ops.mean(z, axis=-1)
    )
    folded = views.reshape(-1, *shape)
    nothing = np.zeros(len(folded), "float32")
    return lambda: float(model.train_on_batch(folded, nothing))


def make_model(make_encoder, make_loss, shape):
    keras.utils.set_random_seed(0)
    model = lt.models.ContrastiveModel(make_encoder(shape))
    model.compile(keras.optimizers.SGD(0.01), loss=make_loss())
    return model


def step(make_encoder, make_loss, views, ids):
    """Returns a call that trains a model of its own by one step."""
    model = make_model(make_encoder, make_loss, views.shape[2:])
    model.build((None, *views.shape[1:]))
    model.loss_state.set_steps_per_epoch(25)
    # Numbers that come back are computed: nothing is left in a queue.
    return lambda: float(model.train_on_batch(views, ids)[0])


def methods_with(make_encoder, views, ids):
    calls = {"encoder alone": encoder_alone(make_encoder, views)}
    for name, make_loss in LOSSES.items():
        calls[name] = step(make_encoder, make_loss, views, ids)
    times = measuring.rounds(calls, FLAGS.repeats)
    result = {}
    for name in calls:
        pairs = zip(times[name], times["simclr"], strict=True)
        added = statistics.median(own - plain for own, plain in pairs)
        result[name] = {
            "step_ms": measuring.milliseconds(times, name),
            "times_simclr": measuring.ratio(times, name, "simclr"),
            "added_ms": round(1000 * added, 2),
        }
    return result


def feeding(views):
    """Returns what a step of `fit` takes, and one on a batch at hand."""
    few, many = 20, 60
    images = np.concatenate([views[:, 0]] * many)  # As bytes.
    shape = images.shape[1:]
    views_of = lt.layers.TwoViews(keras.layers.Rescaling(1.0))
    model = lt.models.ContrastiveModel(cheap(shape), augmenter=views_of)
    model.compile(keras.optimizers.SGD(0.01), loss=lt.losses.NTXentLoss())
    short, long = (
        lt.datasets.ImageBatches(
            images[: steps * FLAGS.batch_size], batch_size=FLAGS.batch_size
        )
        for steps in (few, many)
    )
    batch, ids = short[0]

    def fit(data):
        model.fit(data, verbose=0)

    def by_hand():
        for _ in range(few):
            model.train_on_batch(batch, ids)

    def reading():
        for index in range(few):
            short[index]

    calls = {
        "short": lambda: fit(short),
        "long": lambda: fit(long),
        "by hand": by_hand,
        "reading": reading,
    }
    times = measuring.rounds(calls, repeats=5, warm_up=1)
    # The least, since noise only adds, and here differences are taken.
    ms = {name: 1000 * min(times[name]) for name in calls}
    a_step = (ms["long"] - ms["short"]) / (many - few)
    return {
        "step_of_fit_ms": round(a_step, 2),
        "call_of_fit_ms": round(ms["short"] - few * a_step, 2),
        "step_on_batch_at_hand_ms": round(ms["by hand"] / few, 2),
        "reading_a_batch_ms": round(ms["reading"] / few, 2),
    }


def main(_):
    random = np.random.default_rng(0)
    size = FLAGS.image_size
    views = random.integers(
        0, 256, (FLAGS.batch_size, 2, size, size, 3), dtype="uint8"
    )
    ids = random.permutation(FLAGS.num_samples)[: FLAGS.batch_size]
    ids = ids.astype("int32")
    start = time.perf_counter()
    result = {
        "small_convnet": methods_with(convnet, views, ids),
        "encoder_of_no_cost": methods_with(cheap, views, ids),
        "feeding": feeding(views),
    }
    measuring.store(
        "steps",
        batch_size=FLAGS.batch_size,
        num_samples=FLAGS.num_samples,
        repeats=FLAGS.repeats,
        seconds=round(time.perf_counter() - start),
        **result,
    )


if __name__ == "__main__":
    app.run(main)
