"""The gradient of a scalar function, on whichever backend runs."""

import keras
import numpy as np


def value_and_gradient(function, z):
    """Returns `function(z)` and its gradient, compiled where Keras would."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        @tf.function
        def run(z):
            with tf.GradientTape() as tape:
                tape.watch(z)
                value = function(z)
            return value, tape.gradient(value, z)

        value, gradient = run(tf.convert_to_tensor(z))
    elif backend == "jax":
        import jax

        value, gradient = jax.jit(jax.value_and_grad(function))(z)
    else:
        import torch

        z = torch.tensor(z, requires_grad=True)
        value = function(z)
        value.backward()
        value, gradient = value.detach(), z.grad
    return np.asarray(value), np.asarray(gradient)
