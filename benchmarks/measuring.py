"""What the benchmarks share: calls to time, rounds, peaks of memory, files."""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import keras
from absl import flags

import keras_ltssl as lt

flags.DEFINE_string("output", "runs/bench", "Folder for the JSON files.")


def compiled(function, *arrays, xla=True):
    """Returns a call that computes `function(*arrays)` and waits for it.

    Compiled as the backend can: by XLA on JAX and, with `xla`, on TensorFlow,
    else as a graph there; PyTorch is eager.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        arrays = [tf.constant(array) for array in arrays]
        run = tf.function(lambda: function(*arrays), jit_compile=xla)
        return lambda: tf.nest.map_structure(lambda x: x.numpy(), run())
    if backend == "jax":
        import jax

        return compiled_by_jax(function, *map(jax.numpy.asarray, arrays))
    arrays = [keras.ops.convert_to_tensor(array) for array in arrays]
    return lambda: finished(function(*arrays))


def compiled_gradient(function, z, xla=True):
    """Returns a call that computes the value of `function(z)` and its gradient.

    It waits for both. See `compiled`.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        def value_and_gradient(z):
            with tf.GradientTape() as tape:
                tape.watch(z)
                value = function(z)
            return value, tape.gradient(value, z)

        return compiled(value_and_gradient, z, xla=xla)
    if backend == "jax":
        import jax

        return compiled(jax.value_and_grad(function), z)
    z = keras.ops.convert_to_tensor(z)

    def run():
        leaf = z.detach().requires_grad_()
        function(leaf).backward()
        return finished(leaf.grad)

    return run


def finished(result):
    """Returns a result of PyTorch once the device has computed it."""
    if result.is_cuda:
        import torch

        torch.cuda.synchronize()
    return result


def device_name():
    """Returns what the backend computes on, and the name of a GPU."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.devices()[0].device_kind
    if backend == "torch":
        import torch

        return (
            torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        )
    import tensorflow as tf

    return "gpu" if tf.config.list_physical_devices("GPU") else "cpu"


def memory_of_device_mib(call):
    """Returns what a call takes on a GPU beyond what was there before.

    `None` on processors. On JAX, a call has it as `temporary_mib`, from the
    compiler's plan.
    """
    if keras.backend.backend() == "jax":
        return getattr(call, "temporary_mib", None)
    if keras.backend.backend() != "torch" or device_name() == "cpu":
        return None
    import torch

    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return round((torch.cuda.max_memory_allocated() - before) / 2**20)


def training_step(
    loss, ids, z, xla=True, torch_compile=False, monitor=False, queue=None
):
    """Returns a call that computes a loss as a training step does.

    Value, gradient to the projections, and what the loss remembers, which it
    keeps from call to call (on JAX, it starts from the same). `torch_compile`
    is for PyTorch what `compile(jit_compile=True)` makes of the loss. With
    `monitor`, it logs whether the model learns; `queue` is MoCo's.
    """
    state = lt.layers.LossState(loss, steps_per_epoch=10)
    state.monitor_learning(monitor)
    state(z, training=True)
    if keras.backend.backend() != "jax":
        ids = keras.ops.convert_to_tensor(ids)

        def value(z):
            state(z, training=True, queue=queue)
            return loss(ids, z)

        if torch_compile:
            import torch

            value = torch.compile(value)
        return compiled_gradient(value, z, xla)
    import jax

    variables = state.variables

    def value_and_state(z, values, ids):
        mapping = list(zip(variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            state(z, training=True, queue=queue)
            result = loss(ids, z)
            after = [scope.get_current_value(v) for v in variables]
        return result, after

    values = [variable.value for variable in variables]
    z, ids = jax.numpy.asarray(z), jax.numpy.asarray(ids)
    return compiled_by_jax(
        jax.value_and_grad(value_and_state, has_aux=True), z, values, ids
    )


def compiled_by_jax(function, *arguments):
    """Returns a call, compiled ahead; it says what memory it takes for a time.

    As `temporary_mib`.
    """
    import jax

    run = jax.jit(function).lower(*arguments).compile()

    def call():
        return jax.block_until_ready(run(*arguments))

    plan = run.memory_analysis()
    if plan is not None:
        call.temporary_mib = round(plan.temp_size_in_bytes / 2**20)
    return call


def rounds(calls, repeats, warm_up=3):
    """Returns seconds of every call by name, taken in turns.

    A noisy machine then hurts all alike, and ratios within a round are fair.
    """
    times = {name: [] for name in calls}
    for round_ in range(repeats + warm_up):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if round_ >= warm_up:
                times[name].append(time.perf_counter() - start)
    return times


def ratio(times, name, to):
    """Returns the median over rounds of the ratio of two calls."""
    pairs = zip(times[name], times[to], strict=True)
    return round(statistics.median(own / other for own, other in pairs), 3)


def milliseconds(times, name):
    """Returns the median of a call."""
    return round(1000 * statistics.median(times[name]), 3)


def memory_mib(field):
    """Returns a number of Linux's account of this process, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"`{field}` must be in /proc/self/status.")


def forget_peak():
    """Makes `VmHWM`, the peak of memory, start anew."""
    Path("/proc/self/clear_refs").write_text("5")


def of_own_process(**arguments):
    """Returns the number that this script prints last with these arguments."""
    child = subprocess.run(
        [sys.executable, *sys.argv]
        + [f"--{name}={value}" for name, value in arguments.items()],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(child.stdout.split()[-1])


def store(name, prints=True, **result):
    """Stores a result with what it was measured on as JSON, and prints it."""
    result = {
        "backend": keras.backend.backend(),
        "keras": keras.version(),
        "device": device_name(),
        "threads": os.environ.get("OMP_NUM_THREADS", f"{os.cpu_count()}"),
        **result,
    }
    text = json.dumps(result, indent=2)
    if prints:
        print(text)
    output = Path(flags.FLAGS.output)
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{name}-{result['backend']}.json").write_text(text + "\n")
