"""Whether `fit` keeps a GPU busy; a part of `gpu.py`.

SimCLR with ResNet-18 in bfloat16 on 128 images of 224 x 224, on PyTorch in
`torch_encoder`, in milliseconds a step:

- `at hand`: `fit` on batches that are on the device already;
- `read`: on `ImageBatches` of an array, read and copied while a step runs;
- `read in turn`: the same with `reads_ahead = False`;
- `array`: `fit(images)`.

On PyTorch with CUDA, also how often two steps of `read` wait for the device,
and where.
"""

import statistics
import time
import warnings

import keras
import numpy as np
from keras import ops

import keras_ltssl as lt

EPOCHS = 4  # The first one is left out.


class Sizes:
    """What is trained on."""

    def __init__(self, small):
        self.batch, self.image, self.steps = (
            (4, 32, 3) if small else (128, 224, 16)
        )
        self.shape = (self.image, self.image, 3)
        random = np.random.default_rng(0)
        self.images = random.integers(
            0, 256, (self.batch * self.steps, *self.shape), dtype="uint8"
        )


class AtHand(keras.utils.PyDataset):
    """Batches that are on the device already."""

    def __init__(self, sizes):
        super().__init__()
        self.batches = [
            tuple(ops.convert_to_tensor(array) for array in batch)
            for batch in read(sizes)
        ]

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def read(sizes, reads_ahead=True):
    data = lt.datasets.ImageBatches(sizes.images, batch_size=sizes.batch)
    data.reads_ahead = reads_ahead
    return data


class Clock(keras.callbacks.Callback):
    """Notes when epochs end."""

    def __init__(self):
        super().__init__()
        self.times = []

    def on_epoch_end(self, epoch, logs=None):
        self.times.append(time.perf_counter())


class Waits(keras.callbacks.Callback):
    """Makes PyTorch warn of each wait in the steps 11 and 12."""

    reads_step_logs = False

    def on_train_batch_end(self, batch, logs=None):
        import torch

        if batch in (9, 11):
            mode = "warn" if batch == 9 else "default"
            torch.cuda.set_sync_debug_mode(mode)


def encoder_of(shape):
    if keras.backend.backend() == "torch":
        from plain_torch import resnet18

        return lt.models.torch_encoder(resnet18(is_small=False), shape)
    return lt.models.resnet18(shape, stem="imagenet")


def new_model(sizes):
    keras.utils.set_random_seed(0)
    model = lt.models.ContrastiveModel(encoder_of(sizes.shape))
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9), loss=lt.losses.NTXentLoss()
    )
    return model


def step_of(model, data, sizes, **kwargs):
    """Returns the milliseconds of a step of `fit`."""
    clock = Clock()
    model.fit(
        data,
        epochs=EPOCHS,
        verbose=0,
        callbacks=[clock],
        **kwargs,
    )
    # Logs of an epoch have been read by then, so the device has ended it.
    seconds = statistics.median(np.diff(clock.times))
    return round(1000 * seconds / sizes.steps, 2)


def waits_of(model, sizes):
    """Returns how often two steps wait for the device, and where."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model.fit(read(sizes), verbose=0, callbacks=[Waits()])
    waits = [each for each in told if "synchroniz" in str(each.message)]
    places = sorted({f"{each.filename}:{each.lineno}" for each in waits})
    return {"in two steps": len(waits), "where": places}


def measure(result, small):
    """Fills in the times of steps, in milliseconds."""
    sizes = Sizes(small)
    result["batch"], result["image"] = sizes.batch, sizes.image
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = new_model(sizes)
    finally:
        keras.config.set_dtype_policy(before)
    at_hand = AtHand(sizes)
    model.fit(at_hand, verbose=0)
    # Twice, so that no order favors the one or the other.
    for _ in range(2):
        for name, data, kwargs in (
            ("at hand", at_hand, {"shuffle": False}),
            ("read", read(sizes), {}),
            ("read in turn", read(sizes, reads_ahead=False), {}),
            ("array", sizes.images, {"batch_size": sizes.batch}),
        ):
            step = step_of(model, data, sizes, **kwargs)
            result[name] = min(step, result.get(name, step))
    result["read, times at hand"] = round(result["read"] / result["at hand"], 3)
    if keras.backend.backend() == "torch" and not small:
        result["waits"] = waits_of(model, sizes)
