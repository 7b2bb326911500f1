"""Steps, `fit`, losses and views beside what one writes by hand, on one GPU.

    KERAS_BACKEND=torch python benchmarks/gpu.py
    KERAS_BACKEND=jax python benchmarks/gpu.py --parts resnet18,losses
    python benchmarks/gpu.py --table runs/bench

Parts, measured in the order in which they are named:

- `resnet18`: SimCLR with ResNet-18 on 512 images of 32 x 32: steps on views at
  hand, and `fit` with our views; on PyTorch beside a loop by hand on the same
  views, and with our encoder as well as a module in `torch_encoder`.
- `resnet50`: the same with ResNet-50 on 128 images of 224 x 224.
- `losses`: losses at each of `--batch_sizes`, forward and backward to the
  projections with all that they remember, beside the three matrix products,
  a cross-entropy by hand, lightly and optax; with the memory they take.
- `views`: our two views beside those of torchvision and kornia.
- `methods`: what TASE and GH add to a step of ResNet-18.
- `feed`: `fit` on batches that are read beside batches at hand, see
  `feeding.py`.

The nets run in bfloat16 and in float32, losses in float32. Each number is a
median, with a wait for the GPU after each call; of `fit`, the mean step of the
median epoch, the first left out. Nothing begins after `--seconds`; what was
left out or failed is listed. On a processor sizes are small, to try this.
Prints JSON and stores it in `--output`; `--table` prints stored files as the
tables of RESULTS.md.
"""

import functools
import gc
import importlib.util
import json
import statistics
import time
from pathlib import Path

import feeding
import keras
import measuring
import numpy as np
from absl import app, flags
from gpu_tables import tables
from keras import ops

import keras_ltssl as lt

PARTS = ("resnet18", "resnet50", "losses", "views", "methods", "feed")
flags.DEFINE_list("parts", ",".join(PARTS), f"Of {', '.join(PARTS)}.")
flags.DEFINE_float("seconds", 220, "Nothing begins after so many.")
flags.DEFINE_list("dtypes", "bfloat16,float32", "What the nets compute in.")
flags.DEFINE_list("batch_sizes", None, "Samples of the losses.")
flags.DEFINE_integer("repeats", None, "Timed calls.", lower_bound=1)
flags.DEFINE_bool("torch_compile", False, "Whether to compile the hand's loop.")
flags.DEFINE_bool("small", None, "Small sizes; by default, on a processor.")
flags.DEFINE_string("table", None, "Only print the files of this folder.")
FLAGS = flags.FLAGS
# On JAX, memory as the cube of the batch.
OPTAX_LIMIT = 512
STARTED = time.perf_counter()
# Names of parts and of their rows.
LEFT_OUT: list[str] = []


def is_small():
    on_processor = "cpu" in measuring.device_name().lower()
    return on_processor if FLAGS.small is None else FLAGS.small


def on_torch():
    return keras.backend.backend() == "torch"


def milliseconds(call):
    """Returns the median of a call, which has to wait for its result."""
    repeats, warm_up = (1, 1) if is_small() else (15, 3)
    times = measuring.rounds({"": call}, FLAGS.repeats or repeats, warm_up)
    return measuring.milliseconds(times, "")


def fill(rows, name, measure):
    """Fills in what `measure()` returns, or its error, unless it is late."""
    if time.perf_counter() - STARTED > FLAGS.seconds:
        LEFT_OUT.append(name)
        return
    try:
        rows[name] = measure()
    # One encoder or loss, of ours or others', must not end the benchmark.
    except Exception as error:
        rows[name] = {"failed": as_text(error)}


def as_text(error):
    return f"{type(error).__name__}: {error}"[:300]


class Sizes:
    """What `resnet18` and `resnet50` train on."""

    def __init__(self, batch, image, epoch):
        small = is_small()
        self.batch = 2 if small else batch
        self.image = min(image, 64) if small else image
        self.steps = 2 if small else epoch
        self.shape = (self.image, self.image, 3)

    def bytes(self, *shape):
        random = np.random.default_rng(0)
        return random.integers(0, 256, (*shape, *self.shape), dtype="uint8")


def keras_resnet50(shape):
    """Returns Keras' ResNet-50, from bytes to features."""
    net = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=shape, pooling="avg"
    )
    layers = keras.layers
    return keras.Sequential(
        [keras.Input(shape), layers.Rescaling(1 / 127.5, -1), net]
    )


def of_module(make):
    """Returns an encoder around a PyTorch module."""
    return lambda shape: lt.models.torch_encoder(make(), shape)


def model_of(make_encoder, shape, loss):
    keras.utils.set_random_seed(0)
    model = lt.models.ContrastiveModel(make_encoder(shape))
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss=loss)
    return model


def step_of(make_encoder, sizes, loss):
    """Returns the time of a step on views at hand, on their device."""
    model = model_of(make_encoder, sizes.shape, loss)
    views = sizes.bytes(sizes.batch, 2)
    model.build((None, *views.shape[1:]))
    model.loss_state.set_steps_per_epoch(sizes.steps)
    views = ops.convert_to_tensor(views)
    ids = ops.arange(sizes.batch, dtype="int32")
    return milliseconds(lambda: float(model.train_on_batch(views, ids)[0]))


def fit_of(make_encoder, sizes, loss):
    """Returns the mean step of `fit` with views, in the median epoch."""
    model = model_of(make_encoder, sizes.shape, loss)
    clock = feeding.Clock()
    data = lt.datasets.ImageBatches(
        sizes.bytes(sizes.batch * sizes.steps), batch_size=sizes.batch
    )
    model.fit(
        data,
        epochs=2 if is_small() else 4,
        shuffle=False,
        verbose=0,
        callbacks=[clock],
    )
    epoch = statistics.median(np.diff(clock.times))
    return round(1000 * epoch / sizes.steps, 2)


def by_hand(make_net, sizes, is_mixed, compiles):
    """Returns the time of a step of the loop by hand on views at hand."""
    import plain_torch

    views = ops.convert_to_tensor(sizes.bytes(sizes.batch, 2))
    step = plain_torch.training_step(make_net(), views, is_mixed, compiles)
    return milliseconds(lambda: measuring.finished(step()))


def training(sizes, encoders, make_plain, result):
    """Fills in the times of steps and of `fit`, in milliseconds."""
    for dtype in FLAGS.dtypes:
        rows = result.setdefault(dtype, {})
        is_mixed = dtype == "bfloat16"
        kinds = {"loop by hand": False}
        if FLAGS.torch_compile:
            kinds["loop by hand, compiled"] = True
        for name, compiles in kinds.items() if make_plain else ():
            loop = functools.partial(
                by_hand, make_plain, sizes, is_mixed, compiles
            )
            fill(rows, name, loop)
        keras.config.set_dtype_policy("mixed_bfloat16" if is_mixed else dtype)
        try:
            for name, make in encoders.items():
                for what, measure in (("fit", fit_of), ("step", step_of)):
                    call = functools.partial(
                        measure, make, sizes, lt.losses.NTXentLoss()
                    )
                    fill(rows, f"{what}, {name}", call)
                    clear()
        finally:
            keras.config.set_dtype_policy("float32")
        numbers = {n: v for n, v in rows.items() if not isinstance(v, dict)}
        if "loop by hand" in numbers:
            rows["times the loop"] = {
                name: round(value / numbers["loop by hand"], 2)
                for name, value in numbers.items()
                if name.startswith(("fit", "step"))
            }


def clear():
    keras.utils.clear_session(free_memory=False)
    gc.collect()
    if on_torch():
        import torch

        torch.cuda.empty_cache()


def resnet18(result):
    sizes = Sizes(batch=512, image=32, epoch=24)
    result["batch"], result["image"] = sizes.batch, sizes.image
    encoders, plain = {"our encoder": lt.models.resnet18}, None
    if on_torch():
        from plain_torch import resnet18 as plain

        encoders["torch module"] = of_module(plain)
    training(sizes, encoders, plain, result)


def resnet50(result):
    sizes = Sizes(batch=128, image=224, epoch=8)
    result["batch"], result["image"] = sizes.batch, sizes.image
    encoders, plain = {"Keras' encoder": keras_resnet50}, None
    if on_torch():
        from plain_torch import resnet50 as plain

        encoders["torch module"] = of_module(plain)
    training(sizes, encoders, plain, result)


def methods(result):
    sizes = Sizes(batch=512, image=32, epoch=24)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        for name in ("NT-Xent", "TASE", "GH"):
            loss = our_losses(sizes.batch)[name]()
            fill(
                result,
                name,
                functools.partial(step_of, lt.models.resnet18, sizes, loss),
            )
            clear()
    finally:
        keras.config.set_dtype_policy("float32")


def feed(result):
    feeding.measure(result, is_small())


def our_losses(batch):
    """Returns functions that make our losses, by name."""
    losses = lt.losses

    def harmonized():
        return losses.GeometricHarmonizationLoss(
            losses.NTXentLoss(),
            num_samples=batch,
            warmup_epochs=0,
            ramp_epochs=0,
        )

    return {
        "NT-Xent": losses.NTXentLoss,
        "NT-Xent in chunks": lambda: losses.NTXentLoss(chunk_size=1024),
        "scheduled": lambda: losses.NTXentLoss(
            lt.schedules.CosineTemperature()
        ),
        "focal": losses.FocalNTXentLoss,
        "BCL": lambda: losses.BoostedLoss(
            losses.NTXentLoss(), num_samples=batch
        ),
        "TASE": lambda: losses.TASELoss(warmup_steps=0),
        "COLT": lambda: losses.COLTLoss(num_samples=batch),
        "GH": harmonized,
    }


def three_products(z):
    units = ops.reshape(z, (-1, z.shape[-1]))
    cosines = ops.matmul(units, ops.transpose(units))
    once = ops.matmul(cosines, units)
    return once + ops.matmul(ops.transpose(cosines), units)


def peers(batch):
    """Returns the losses of others, of projections `(batch, 2, dim)`."""
    if on_torch():
        import plain_torch

        found = {"cross-entropy by hand": plain_torch.nt_xent}
        try:
            from lightly.loss import NTXentLoss
        except (
            ImportError,
            RuntimeError,
        ):  # Of torchvision, without its torch.
            return found
        loss = NTXentLoss(temperature=0.2)
        return {**found, "lightly": lambda z: loss(z[:, 0], z[:, 1])}
    if keras.backend.backend() != "jax":
        return {}
    import jax

    def by_hand(z):
        units = ops.normalize(ops.reshape(z, (2 * batch, -1)), axis=1)
        itself = jax.numpy.eye(2 * batch, dtype=bool)
        logits = jax.numpy.where(itself, -np.inf, units @ units.T / 0.2)
        anchors = jax.numpy.arange(2 * batch)
        return jax.numpy.mean(
            jax.nn.logsumexp(logits, axis=1) - logits[anchors, anchors ^ 1]
        )

    found = {"cross-entropy by hand": by_hand}
    if batch > OPTAX_LIMIT:
        return found
    try:
        import optax
    except ImportError:
        return found
    labels = jax.numpy.repeat(jax.numpy.arange(batch), 2)
    found["optax"] = lambda z: jax.numpy.mean(
        optax.losses.ntxent(ops.reshape(z, (2 * batch, -1)), labels, 0.2)
    )
    return found


def training_step(make_loss, ids, z):
    return measuring.training_step(make_loss(), ids, z)


def with_memory(make_call):
    """Returns the time of a call, and where it is known its memory."""
    call = make_call()
    row = {"ms": milliseconds(call)}
    memory = measuring.memory_of_device_mib(call)
    return row if memory is None else {**row, "mib": memory}


def losses(result):
    sizes = FLAGS.batch_sizes or ((64,) if is_small() else (512, 2048, 8192))
    for batch in map(int, sizes):
        rows = result[str(batch)] = {}
        random = np.random.default_rng(0)
        z = random.normal(size=(batch, 2, 128)).astype("float32")
        ids = np.arange(batch, dtype="int32")
        make_call = functools.partial
        calls = {
            "three products": make_call(measuring.compiled, three_products, z)
        }
        for name, loss in peers(batch).items():
            calls[name] = make_call(measuring.compiled_gradient, loss, z)
        for name, make in our_losses(batch).items():
            if name != "NT-Xent in chunks" or batch > 4096:
                calls[name] = make_call(training_step, make, ids, z)
        for name, make in calls.items():
            fill(rows, name, functools.partial(with_memory, make))
        if on_torch():
            clear()


def views(result):
    for image, batch, blur in ((32, 512, 0.0), (224, 128, 0.5)):
        sizes = Sizes(batch, image, 1)
        rows = result[f"{sizes.batch} of {sizes.image} x {sizes.image}"] = {}
        makers = {"simclr_views": our_views}
        if on_torch() and importlib.util.find_spec("torchvision"):
            makers["torchvision, one draw a batch"] = torchvision_views
        if on_torch() and importlib.util.find_spec("kornia"):
            makers["kornia"] = kornia_views
        for name, make in makers.items():
            images = sizes.bytes(sizes.batch)
            fill(rows, name, functools.partial(drawing, make, images, blur))


def drawing(make, images, blur):
    return milliseconds(make(images, blur))


def our_views(images, blur):
    """Returns a call that makes two views of each image."""
    layer = lt.layers.simclr_views(images.shape[1:3], blur=blur)
    inputs = keras.Input(images.shape[1:])
    model = keras.Model(inputs, layer(inputs))
    images = ops.convert_to_tensor(images)
    if on_torch():
        return lambda: measuring.finished(model(images, training=True))
    if keras.backend.backend() != "jax":
        return lambda: model.predict_on_batch(images)
    state = [variable.value for variable in model.non_trainable_variables]

    def draw(images, state):
        return model.stateless_call([], state, images, training=True)

    return measuring.compiled_by_jax(draw, images, state)


def on_device(images):
    """Returns images on the device, with the channels first."""
    return ops.convert_to_tensor(images).permute(0, 3, 1, 2)


def blur_of(images):
    """Returns the width of the kernel, and the range of its deviation."""
    size = images.shape[1]
    return 2 * round(size / 20) + 1, (0.1 * size / 224, 2 * size / 224)


def torchvision_views(images, blur):
    """Returns a call that makes two views by torchvision, on the device."""
    import torch
    from torchvision.transforms import v2

    blurs = [v2.RandomApply([v2.GaussianBlur(*blur_of(images))], blur)]
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(images.shape[1], scale=(0.1, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            v2.RandomGrayscale(0.2),
            *(blurs if blur else []),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    pixels = on_device(images)

    def draw():
        transform(pixels)
        measuring.finished(transform(pixels))

    return draw


def kornia_views(images, blur):
    """Returns a call that makes two views by kornia, on the device."""
    import kornia.augmentation as kornia
    import torch

    kernel, sigma = blur_of(images)
    pipeline = torch.nn.Sequential(
        kornia.RandomResizedCrop(images.shape[1:3], scale=(0.1, 1.0)),
        kornia.RandomHorizontalFlip(),
        kornia.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        kornia.RandomGrayscale(p=0.2),
        kornia.RandomGaussianBlur((kernel, kernel), sigma, p=blur),
    )
    # Without blur, its random numbers would still cost time.
    pipeline = pipeline if blur else pipeline[:-1]
    pixels = on_device(images)

    def draw():
        floats = pixels.float() / 255
        pipeline(floats)
        measuring.finished(pipeline(floats))

    return draw


def measured():
    """Returns what every part measured, and what was left out or failed."""
    result, failed, seconds = {}, {}, {}
    for name in FLAGS.parts:
        start = time.perf_counter()
        if start - STARTED > FLAGS.seconds:
            LEFT_OUT.append(name)
            continue
        part = result[name] = {}
        try:
            globals()[name](part)
        # What was measured before must not be lost.
        except Exception as error:
            failed[name] = as_text(error)
        clear()
        seconds[name] = round(time.perf_counter() - start, 1)
        # So that a run that is ended has what it measured so far.
        store(result, failed, seconds, prints=False)
    return result, failed, seconds


def store(result, failed, seconds, prints=True):
    measuring.store(
        "gpu",
        prints,
        version=lt.__version__,
        small=is_small(),
        left_out=LEFT_OUT,
        failed=failed,
        seconds=seconds,
        **result,
    )


def main(_):
    unknown = set(FLAGS.parts) - set(PARTS)
    if unknown:
        raise ValueError(
            f"`--parts` must be of {', '.join(PARTS)}. Received: "
            f"{', '.join(sorted(unknown))}"
        )
    if FLAGS.table is not None:
        paths = sorted(Path(FLAGS.table).glob("gpu-*.json"), reverse=True)
        print(tables([json.loads(path.read_text()) for path in paths]))
        return
    store(*measured())


if __name__ == "__main__":
    app.run(main)
