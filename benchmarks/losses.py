"""Time of each loss beside the three matrix products that it cannot avoid.

    KERAS_BACKEND=jax python benchmarks/losses.py --batch_sizes 512,1024

Training losses, forward and backward to the projections, with all that they
remember and log, on PyTorch eager and compiled; beside them the same of other
libraries, where these are installed and the backend is PyTorch: lightly, and
pytorch-metric-learning at the smallest batch, a single time. In turns in one
process, medians, and ratios to the three products within a round. Then, at
`--large_batch`, time and peak memory of NT-Xent in chunks beside all at once,
the peaks in processes of their own. Prints JSON and stores it in `--output`.
"""

import statistics
import time

import keras
import measuring
import numpy as np
from absl import app, flags
from keras import ops

import keras_ltssl as lt

flags.DEFINE_list("batch_sizes", "256,512,1024,2048,4096", "Samples.")
flags.DEFINE_integer("dim", 128, "Width of the projections.", lower_bound=1)
flags.DEFINE_integer("repeats", 20, "Timed rounds.", lower_bound=1)
flags.DEFINE_bool("xla", True, "Whether to compile by XLA on TensorFlow.")
flags.DEFINE_bool(
    "torch_compile", True, "Whether to time losses compiled on PyTorch, too."
)
flags.DEFINE_integer("large_batch", 8192, "Samples; 0 leaves this out.")
flags.DEFINE_integer("chunk_size", 128, "Anchors at a time.", lower_bound=1)
flags.DEFINE_enum(
    "peak_of", None, ["whole", "chunks"], "Only print this one's peak, in MiB."
)
FLAGS = flags.FLAGS

LOSSES = {
    "nt_xent": lambda samples: lt.losses.NTXentLoss(),
    "nt_xent in chunks": lambda samples: lt.losses.NTXentLoss(
        chunk_size=FLAGS.chunk_size
    ),
    "focal": lambda samples: lt.losses.FocalNTXentLoss(),
    "sogclr": lambda samples: lt.losses.SogCLRLoss(samples),
    "sogclr in chunks": lambda samples: lt.losses.SogCLRLoss(
        samples, chunk_size=FLAGS.chunk_size
    ),
    "isogclr": lambda samples: lt.losses.ISogCLRLoss(samples),
    "isogclr in chunks": lambda samples: lt.losses.ISogCLRLoss(
        samples, chunk_size=FLAGS.chunk_size
    ),
    "tase": lambda samples: lt.losses.TASELoss(warmup_steps=0),
    "colt": lambda samples: lt.losses.COLTLoss(num_samples=samples),
    "con_mix": lambda samples: lt.losses.ConMixLoss(
        lt.losses.NTXentLoss(), samples // 5
    ),
    "gh": lambda samples: lt.losses.GeometricHarmonizationLoss(
        lt.losses.NTXentLoss(),
        num_samples=samples,
        warmup_epochs=0,
        ramp_epochs=0,
    ),
}


def projections(batch_size):
    random = np.random.default_rng(0)
    return random.normal(size=(batch_size, 2, FLAGS.dim)).astype("float32")


def three_products(z):
    units = ops.reshape(z, (-1, z.shape[-1]))
    cosines = ops.matmul(units, ops.transpose(units))
    once = ops.matmul(cosines, units)
    return once + ops.matmul(ops.transpose(cosines), units)


def of_lightly(z):
    """Returns a call of lightly's NT-Xent, or `None` without it."""
    try:
        from lightly.loss import NTXentLoss
    except (ImportError, RuntimeError):  # Of torchvision, without its torch.
        return None
    loss = NTXentLoss(temperature=0.2)
    return measuring.compiled_gradient(lambda z: loss(z[:, 0], z[:, 1]), z)


def of_metric_learning(z):
    """Returns a call of pytorch-metric-learning's, or `None` without it."""
    try:
        from pytorch_metric_learning.losses import (
            NTXentLoss,
            SelfSupervisedLoss,
        )
    except (ImportError, RuntimeError):  # Of torchvision, without its torch.
        return None
    loss = SelfSupervisedLoss(NTXentLoss(temperature=0.2))
    return measuring.compiled_gradient(lambda z: loss(z[:, 0], z[:, 1]), z)


def at(batch_size, with_slow_peer):
    """Returns times of all losses in units of the three products."""
    z = projections(batch_size)
    # As in COLT's training: every fifth sample is out of distribution.
    ids = np.arange(batch_size, dtype="int32")
    ids[::5] = -1
    calls = {"three products": measuring.compiled(three_products, z)}
    for name, make in LOSSES.items():
        calls[name] = measuring.training_step(
            make(10 * batch_size), ids, z, FLAGS.xla
        )
    on_torch = keras.backend.backend() == "torch"
    if on_torch and FLAGS.torch_compile:
        for name in ("nt_xent", "focal", "tase", "colt"):
            calls[f"{name} compiled"] = measuring.training_step(
                LOSSES[name](10 * batch_size), ids, z, torch_compile=True
            )
    if on_torch and (peer := of_lightly(z)):
        calls["lightly"] = peer
    times = measuring.rounds(calls, FLAGS.repeats)
    bound = statistics.median(times["three products"])
    ratios = {
        name: measuring.ratio(times, name, "three products") for name in calls
    }
    if on_torch and with_slow_peer and (peer := of_metric_learning(z)):
        start = time.perf_counter()
        peer()
        ratios["pytorch-metric-learning"] = round(
            (time.perf_counter() - start) / bound
        )
    return {
        "three_products_ms": round(1000 * bound, 3),
        "times_the_three_products": ratios,
    }


def of_large_batch(chunk_size):
    z = projections(FLAGS.large_batch)
    return measuring.compiled_gradient(
        lambda z: ops.mean(lt.losses.nt_xent(z, 0.2, chunk_size)), z, FLAGS.xla
    )


def peak(chunk_size):
    """Returns what calls take beyond what was there before, in MiB."""
    small = projections(8)
    measuring.compiled_gradient(
        lambda z: ops.mean(lt.losses.nt_xent(z, 0.2, chunk_size)), small
    )()
    call = of_large_batch(chunk_size)
    before = measuring.memory_mib("VmRSS")
    measuring.forget_peak()
    call()
    call()
    return measuring.memory_mib("VmHWM") - before


def main(_):
    chunks = {"whole": None, "chunks": FLAGS.chunk_size}
    if FLAGS.peak_of:
        print(peak(chunks[FLAGS.peak_of]))
        return
    sizes = [int(size) for size in FLAGS.batch_sizes]
    result = {
        str(size): at(size, with_slow_peer=size == min(sizes)) for size in sizes
    }
    if FLAGS.large_batch:
        calls = {name: of_large_batch(chunks[name]) for name in chunks}
        times = measuring.rounds(calls, repeats=3, warm_up=1)
        peaks = {
            name: measuring.of_own_process(peak_of=name) for name in chunks
        }
        result["large_batch"] = {
            "batch_size": FLAGS.large_batch,
            "chunk_size": FLAGS.chunk_size,
            "time_of_chunks": measuring.ratio(times, "chunks", "whole"),
            "peak_mib": {n: round(value) for n, value in peaks.items()},
            "memory_of_chunks": round(peaks["chunks"] / peaks["whole"], 3),
        }
    measuring.store(
        "losses", dim=FLAGS.dim, repeats=FLAGS.repeats, xla=FLAGS.xla, **result
    )


if __name__ == "__main__":
    app.run(main)
