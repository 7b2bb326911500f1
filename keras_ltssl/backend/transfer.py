"""Copies batches to the device while a step runs.

Keras' PyTorch trainer copies each batch before its step and waits for the copy,
which itself waits for the step before. Keras has no API for this.
"""

from typing import Any

import keras


class HostTransfer:
    """Leaves batches where they are; Keras converts them."""

    def send(self, batch: Any) -> Any:
        """Returns the batch.

        Args:
            batch: Nested structure of arrays.
        """
        return batch

    def receive(self, sent: Any) -> Any:
        """Returns the batch.

        Args:
            sent: What `send` returned.
        """
        return sent

    def end_of_step(self) -> Any:
        """Returns `None`: a processor has ended its step by then."""
        return None


class _JaxTransfer(HostTransfer):
    """Copies batches to the device that JAX would copy them to."""

    def __init__(self) -> None:
        import jax

        # A thread would not know the device of a context.
        config: Any = jax.config
        self._device = config.jax_default_device

    def send(self, batch: Any) -> Any:
        import jax

        with jax.default_device(self._device):
            return jax.device_put(batch)


def transfer_to_device() -> Any:
    """Returns what copies batches, or `None` if the backend reads ahead.

    On TensorFlow, Keras reads ahead by `tf.data`. On JAX with
    `keras.distribution`, Keras lays out the batches, so they stay on the host.
    On processors nothing has to be copied.
    """
    backend = keras.backend.backend()
    if backend == "torch":
        from keras_ltssl.backend import torch_transfer

        device = keras.ops.convert_to_tensor(0).device
        if device.type == "cuda":
            return torch_transfer.PinnedTransfer(device)
        return HostTransfer()
    if backend == "jax":
        import jax

        is_spread = keras.distribution.distribution() is not None
        if is_spread or jax.default_backend() == "cpu":
            return HostTransfer()
        return _JaxTransfer()
    return None
