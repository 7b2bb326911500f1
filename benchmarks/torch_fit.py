"""`fit` of ResNet-18 beside a loop written by hand, on PyTorch.

    KERAS_BACKEND=torch python benchmarks/torch_fit.py --batch_size 64

Epochs of a few steps in one process, in turns, so that a noisy machine hurts
all alike; medians over rounds of the ratio to the loop, of time and, for a busy
machine, of processor time (on a GPU it tells little). The loop is plain
PyTorch: a ResNet-18 and a projector of `torch.nn`, NT-Xent as a cross-entropy,
SGD with momentum. All train on the same ready-made views, as floats. `fit` runs
PyTorch's own operations in the layers of the encoder (the default), and those
of Keras (`compile(torch_kernels=False)`). Prints JSON and stores it in
`--output`.
"""

import time

import keras
import measuring
import numpy as np
from absl import app, flags

import keras_ltssl as lt

flags.DEFINE_integer("batch_size", 64, "Samples in a batch.", lower_bound=2)
flags.DEFINE_integer("image_size", 32, "Height and width of the images.")
flags.DEFINE_integer("steps", 3, "Steps of an epoch.", lower_bound=1)
flags.DEFINE_integer("repeats", 3, "Timed rounds.", lower_bound=1)
flags.DEFINE_bool("monitor_learning", True, "Whether `fit` logs the signs.")
FLAGS = flags.FLAGS


def by_hand(views):
    """Returns a call that trains a network of `torch.nn` for an epoch."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before, channels, stride):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(before, channels, 3, stride, 1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
                nn.BatchNorm2d(channels),
            )
            self.shortcut = nn.Identity()
            if stride > 1:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(before, channels, 1, stride, bias=False),
                    nn.BatchNorm2d(channels),
                )

        def forward(self, x):
            return torch.relu(self.body(x) + self.shortcut(x))

    stem = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    layers, before = [stem, nn.BatchNorm2d(64), nn.ReLU()], 64
    for stage, channels in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(Block(before, channels, stride))
            before = channels
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    layers += [nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 128)]
    device = keras.ops.convert_to_tensor(0.0).device
    net = nn.Sequential(*layers).to(device).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    size = FLAGS.batch_size
    other = (torch.arange(2 * size) ^ 1).to(device)

    def epoch():
        for start in range(0, len(views), size):
            batch = torch.from_numpy(views[start : start + size]).to(device)
            x = batch.flatten(0, 1).permute(0, 3, 1, 2) / 127.5 - 1
            z = nn.functional.normalize(net(x))
            similarity = (z @ z.T / 0.1).fill_diagonal_(-np.inf)
            loss = nn.functional.cross_entropy(similarity, other)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    return epoch


def fit(views, torch_kernels):
    """Returns a call that fits a model of its own for an epoch."""
    keras.utils.set_random_seed(0)
    model = lt.models.ContrastiveModel(
        lt.models.resnet18(views.shape[2:]), lt.layers.ProjectionHead(512, 128)
    )
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        loss=lt.losses.NTXentLoss(0.1),
        monitor_learning=FLAGS.monitor_learning,
        torch_kernels=torch_kernels,
    )
    return lambda: model.fit(
        views, batch_size=FLAGS.batch_size, verbose=0, shuffle=False
    )


def main(_):
    if keras.backend.backend() != "torch":
        raise SystemExit("This is about PyTorch: KERAS_BACKEND=torch.")
    size = FLAGS.image_size
    views = np.random.default_rng(0).uniform(
        0, 255, (FLAGS.batch_size * FLAGS.steps, 2, size, size, 3)
    )
    views = views.astype("float32")
    calls = {
        "by hand": by_hand(views),
        "fit": fit(views, torch_kernels=True),
        "fit, operations of Keras": fit(views, torch_kernels=False),
    }
    start = time.perf_counter()
    processor = {name: [] for name in calls}

    def noting(name):
        def call():
            before = time.process_time()
            calls[name]()
            processor[name].append(time.process_time() - before)

        return call

    times = measuring.rounds(
        {name: noting(name) for name in calls}, FLAGS.repeats, warm_up=1
    )
    processor = {name: spent[1:] for name, spent in processor.items()}
    measuring.store(
        "torch_fit",
        batch_size=FLAGS.batch_size,
        image_size=size,
        steps=FLAGS.steps,
        repeats=FLAGS.repeats,
        monitor_learning=FLAGS.monitor_learning,
        seconds=round(time.perf_counter() - start),
        step_ms={
            name: round(measuring.milliseconds(times, name) / FLAGS.steps, 1)
            for name in calls
        },
        times_by_hand={
            name: measuring.ratio(times, name, "by hand") for name in calls
        },
        processor_times_by_hand={
            name: measuring.ratio(processor, name, "by hand") for name in calls
        },
    )


if __name__ == "__main__":
    app.run(main)
