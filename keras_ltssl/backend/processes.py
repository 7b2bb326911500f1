"""Processes that train one model together.

They are those of `torch.distributed`, `jax.distributed` and, for TensorFlow,
the workers of `tf.distribute`. Each backend has its own way to exchange objects
between them; Keras has no API for it.
"""

import hashlib
import math
import warnings
from typing import Any

import keras
import numpy as np

from keras_ltssl.backend.random_states import random_states
from keras_ltssl.backend.replicas import torch_processes_if_several


def _together(model: keras.Model | None) -> Any:
    """Returns what exchanges objects between processes, `None` for one process.

    Args:
        model: The model they train. TensorFlow needs it.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        if jax.process_count() == 1:
            return None
        from keras_ltssl.backend import jax_processes

        return jax_processes
    if backend == "tensorflow" and model is not None:
        from keras_ltssl.backend.tensorflow_workers import workers_of

        return workers_of(model.distribute_strategy)
    return torch_processes_if_several()


def process(model: keras.Model | None = None) -> tuple[int, int]:
    """Returns the rank of this process and the number of processes.

    Args:
        model: The model they train. TensorFlow needs it. Defaults to `None`.
    """
    backend = keras.backend.backend()
    together = _together(model)
    if together is None:
        return 0, 1
    if backend == "jax":
        import jax

        return jax.process_index(), jax.process_count()
    if backend == "tensorflow":
        return together.rank, together.count
    import torch.distributed

    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def of_first(value: Any, model: keras.Model | None = None) -> Any:
    """Returns the `value` of the first process, for choices made on the host.

    On PyTorch, the batch statistics of an encoder differ between processes,
    but all processes must make the same choice.

    Args:
        value: Any object that can be pickled.
        model: The model they train. TensorFlow needs it. Defaults to `None`.
    """
    together = _together(model)
    return value if together is None else together.of_first(value)


def copies_from_first() -> bool:
    """Returns whether `prepare` copies the weights of the first process."""
    return bool(keras.backend.backend() == "torch")


def prepare(model: keras.Model, steps: int | None) -> None:
    """Prepares replicas to train one model, or raises if they cannot.

    On PyTorch, this copies the weights of the first process to the others and
    averages gradients over processes. There and on TensorFlow, it gives each
    process other random numbers. JAX draws those of the whole batch.

    Args:
        model: A built and compiled model.
        steps: Steps of an epoch, or `None` if unknown.
    """
    together = _together(model)
    if together is not None:
        all_steps = together.of_all(steps)
        if None in all_steps or len(set(all_steps)) > 1:
            raise ValueError(
                "All processes must train for the same, known number of steps "
                "an epoch, or they would wait for each other forever. "
                f"Received: {all_steps}"
            )
    processes = torch_processes_if_several()
    if processes is not None:
        _warn_of_batch_statistics(
            model, "With small parts prefer normalization that needs no batch."
        )
        state = [*model.variables, *model.optimizer.variables]
        processes.copy_from_first(variable.value for variable in state)
        processes.average_gradients(
            weight.value for weight in model.trainable_weights
        )
    elif (
        keras.backend.backend() == "tensorflow"
        and model.distribute_strategy.num_replicas_in_sync > 1
    ):
        _warn_of_batch_statistics(model, "Pass `synchronized=True` to them.")
    if together is not None and keras.backend.backend() != "jax":
        rank, _ = process(model)
        seeds = random_states(model)  # Each a seed and a counter.
        first = [keras.ops.convert_to_numpy(seed) for seed in seeds]
        first = together.of_first(first)
        for seed, state in zip(seeds, first, strict=True):
            seed.assign(state + np.array([rank, 0], state.dtype))


def check_strategy(model: keras.Model) -> None:
    """Raises if Keras' `fit` cannot train under a strategy of TensorFlow.

    Args:
        model: Any Keras model.
    """
    is_tensorflow = keras.backend.backend() == "tensorflow"
    if is_tensorflow and _together(model) is not None:
        raise ValueError(
            "Keras' `fit` cannot train under `MultiWorkerMirroredStrategy` "
            "(https://github.com/keras-team/keras/issues/20585). Write the "
            "loop out around `strategy.run(model.train_step)`, as the guide "
            "`Several hosts` does, or use JAX or PyTorch. Received: a model "
            f"of {process(model)[1]} workers"
        )


def check_parts(x: Any, y: Any) -> None:
    """Raises if several processes were given the same data.

    Args:
        x: Argument of `fit`.
        y: Argument of `fit`.
    """
    together = _together(None)
    if together is None:
        return
    if keras.backend.backend() == "jax":
        distribution = keras.distribution.distribution()
        # Processes that share a model's weights need the same data.
        if not isinstance(distribution, keras.distribution.DataParallel):
            return
    digest = hashlib.sha256()
    for array in (x, y):
        if isinstance(array, np.ndarray):
            digest.update(np.ascontiguousarray(array[:4096]).tobytes())
    # Other sources of batches cannot be compared before they are read.
    known = isinstance(x, np.ndarray) or hasattr(x, "part")
    data = (digest.hexdigest(), getattr(x, "part", None)) if known else None
    parts = together.of_all(data)
    if None not in parts and len(set(parts)) < len(parts):
        raise ValueError(
            "Each process must train on a part of its own of every batch. "
            "Received: the same data in several processes. Pass "
            "`part=(rank, number of processes)` to ImageBatches or "
            "MixedBatches, or slice arrays."
        )


def check_batches(x: Any, batch_size: int | None) -> None:
    """Raises if JAX cannot split a batch evenly among its devices.

    Args:
        x: The samples. Only arrays and datasets of this package can be checked
            before they are read.
        batch_size: Argument of `fit`, or `None`.
    """
    if keras.backend.backend() != "jax":
        return
    distribution = keras.distribution.distribution()
    if not isinstance(distribution, keras.distribution.DataParallel):
        return
    # Each process has a part of the batch and of the devices.
    devices = math.prod(distribution.device_mesh.shape) // process()[1]
    if isinstance(x, np.ndarray) or keras.ops.is_tensor(x):
        size = min(batch_size or 32, len(x))
        sizes = {size, len(x) % size or size}
    else:
        sizes = set(getattr(x, "batch_sizes", ()))
    uneven = sorted(size for size in sizes if size % devices)
    if uneven:
        raise ValueError(
            "JAX shares each batch evenly among its devices, so every batch, "
            f"also the last one, must be a multiple of {devices} samples. "
            f"Received: batches of {uneven} samples. Leave the rest of the "
            "samples out, or choose another `batch_size`."
        )


def _warn_of_batch_statistics(model: keras.Model, advice: str) -> None:
    local = [
        layer.name
        for layer in model._flatten_layers()
        # Of a layer around a PyTorch module.
        if getattr(layer, "has_local_statistics", False)
        or (
            isinstance(layer, keras.layers.BatchNormalization)
            and not getattr(layer, "synchronized", False)
        )
    ]
    if local:
        warnings.warn(
            "Losses and what they remember are those of the whole batch, but "
            "batch normalization uses the statistics of each replica's part, "
            f"in {len(local)} layers ({local[0]}, ...). {advice}",
            stacklevel=2,
        )
