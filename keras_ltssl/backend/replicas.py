"""The part of a batch that one of several devices is given.

On JAX, a loss always sees the whole batch, also if `keras.distribution` spreads
it over devices, so these functions do nothing. On TensorFlow (`tf.distribute`)
and PyTorch (`torch.distributed`), each *replica* calls the loss with a part of
the batch. There, `Part.gather` returns the whole batch, with gradients, so
negatives, prototypes, shares and memories are those of the whole batch. Work
that grows with the square of the batch is done for the replica's own samples
alone, and the results are gathered. Keras has no API for this.
"""

import contextlib
import math
from typing import Any

import keras
import numpy as np

from keras_ltssl.types import Tensor


def torch_processes_if_several() -> Any:
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
    context, processes = _context(), torch_processes_if_several()
    if context is not None:
        import tensorflow as tf

        return _PartOfTensorFlow(context, tf.shape(own)[0])
    # Keras infers shapes on the device "meta".
    if processes is not None and own.device.type != "meta":
        return processes.part_of(own)  # type: ignore[no-any-return]
    return WHOLE


def scope(model: keras.Model) -> contextlib.AbstractContextManager[Any]:
    """Returns the scope in which variables of `model` must be created.

    Args:
        model: Any Keras model.
    """
    if keras.backend.backend() == "tensorflow":
        return model.distribute_strategy.scope()  # type: ignore[no-any-return]
    return contextlib.nullcontext()


def shared_out(model: keras.Model, batch: np.ndarray[Any, Any]) -> Any:
    """Returns a batch whose rows are shared out among the devices of a model.

    Where they cannot have as many rows each, it is filled up with the last one.
    Processes share nothing out: each has a batch of its own.

    Args:
        model: The model whose `predict_on_batch` takes it.
        batch: Array of samples, `(batch, ...)`.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        distribution = keras.distribution.distribution()
        if (
            not isinstance(distribution, keras.distribution.DataParallel)
            or jax.process_count() > 1
        ):
            return batch
        batch = _filled_up(batch, math.prod(distribution.device_mesh.shape))
        layout = distribution.get_data_layout(batch.shape)
        return keras.distribution.distribute_tensor(batch, layout)
    if backend == "tensorflow":
        from keras_ltssl.backend.tensorflow_workers import workers_of

        strategy = model.distribute_strategy
        count = strategy.num_replicas_in_sync
        if count == 1 or workers_of(strategy) is not None:
            return batch
        rows = np.split(_filled_up(batch, count), count)
        return strategy.experimental_distribute_values_from_function(
            lambda context: rows[context.replica_id_in_sync_group]
        )
    return batch


def _filled_up(batch: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Returns a batch with a multiple of `count` rows; the last is repeated."""
    missing = -len(batch) % count
    if not missing:
        return batch
    return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
