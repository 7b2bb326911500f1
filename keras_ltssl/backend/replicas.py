"""Training on several devices.

On JAX, a loss always sees the whole batch, also if `keras.distribution` spreads
it over devices, so these functions do nothing. On TensorFlow (`tf.distribute`)
and PyTorch (`torch.distributed`), each *replica* calls the loss with a part of
the batch. There, `Part.gather` returns the whole batch, with gradients, so
negatives, prototypes, shares and memories are those of the whole batch. Work
that grows with the square of the batch is done for the replica's own samples
alone, and the results are gathered. Keras has no API for this.
"""

import contextlib
import hashlib
import math
import warnings
from typing import Any

import keras
import numpy as np

from keras_ltssl.backend.random_states import random_states
from keras_ltssl.types import Tensor


def _processes() -> Any:
    """Returns the module `torch_processes`, or `None` for a single process."""
    if keras.backend.backend() != "torch":
        return None
    import torch.distributed

    if not torch.distributed.is_available():
        return None
    if not torch.distributed.is_initialized():
        return None
    from keras_ltssl.backend import torch_processes

    return torch_processes if torch.distributed.get_world_size() > 1 else None


def _context() -> Any:
    """Returns TensorFlow's replica context, or `None` for a single replica.

    It is also `None` while Keras infers shapes.
    """
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    several = context is not None and context.num_replicas_in_sync > 1
    return context if several else None


def infers_shapes() -> bool:
    """Returns whether Keras runs a step only to infer shapes on TensorFlow.

    With several replicas, the step then gets the mean of their batches, in
    which ids are not integers.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.distribute.get_replica_context() is None


class Part:
    """The samples of a batch that one replica computes: here, all of them.

    Attributes:
        first: Index of its first sample in the batch of all replicas.
        is_whole: Whether it is the whole batch, so that `own` and `gather`
            return what they are given.
    """

    first: int | Tensor = 0
    is_whole = True

    def own(self, batch: Tensor) -> Tensor:
        """Returns the samples of this replica.

        Args:
            batch: One row for each sample of all replicas, `(batch, ...)`.
        """
        return batch

    def gather(self, own: Tensor) -> Tensor:
        """Returns the samples of all replicas, in the order of the replicas.

        The gradient for the samples of a replica is summed over all replicas,
        so it is the gradient of the sum of their losses. Replicas may have
        different numbers of samples.

        Args:
            own: One row for each sample of this replica, `(own, ...)`.
        """
        return own

    def plus(self, batch: Tensor, own: Tensor) -> Tensor:
        """Returns a tensor with something added to this replica's samples.

        Args:
            batch: One row for each sample of all replicas, `(batch, ...)`. On
                PyTorch it is overwritten.
            own: What to add, `(own, ...)`.
        """
        return batch + own


WHOLE = Part()
"""The part of a replica that is alone."""


class _PartOfTensorFlow(Part):
    is_whole = False

    def __init__(self, context: Any, size: Tensor) -> None:
        import tensorflow as tf

        self._context, self._size = context, size
        sizes = context.all_gather(size[None], axis=0)
        self._samples = tf.reduce_sum(sizes)
        self.first = tf.reduce_sum(sizes[: context.replica_id_in_sync_group])

    def own(self, batch: Tensor) -> Tensor:
        return batch[self.first : self.first + self._size]

    def gather(self, own: Tensor) -> Tensor:
        import tensorflow as tf

        gathered = self._context.all_gather(own, axis=0)
        # `all_gather` loses the static shape of a row.
        return tf.ensure_shape(gathered, [None, *own.shape[1:]])

    def plus(self, batch: Tensor, own: Tensor) -> Tensor:
        import tensorflow as tf

        after = self._samples - self.first - self._size
        widths = [[self.first, after]] + [[0, 0]] * (len(own.shape) - 1)
        return batch + tf.ensure_shape(tf.pad(own, widths), batch.shape)


def part_of(own: Tensor) -> Part:
    """Returns which part of a batch this replica was given.

    Args:
        own: One row for each sample of this replica, `(own, ...)`.
    """
    context, processes = _context(), _processes()
    if context is not None:
        import tensorflow as tf

        return _PartOfTensorFlow(context, tf.shape(own)[0])
    # Keras infers shapes on the device "meta".
    if processes is not None and own.device.type != "meta":
        return processes.part_of(own)  # type: ignore[no-any-return]
    return WHOLE


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
    return _processes()


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


def scope(model: keras.Model) -> contextlib.AbstractContextManager[Any]:
    """Returns the scope in which variables of `model` must be created.

    Args:
        model: Any Keras model.
    """
    if keras.backend.backend() == "tensorflow":
        return model.distribute_strategy.scope()  # type: ignore[no-any-return]
    return contextlib.nullcontext()


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
    processes = _processes()
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
