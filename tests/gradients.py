"""The gradient of a scalar function, on whichever backend runs."""

import keras
import numpy as np


def value_and_gradient(function, z):
    """Returns `function(z)` and its gradient, compiled where Keras would."""
    return compiled(function)(z)


def compiled(function):
    """Returns a function from z to `function(z)` and its gradient.

    One for many inputs is compiled once for those of the same shape.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        @tf.function
        def differentiate(z):
            with tf.GradientTape() as tape:
                tape.watch(z)
                value = function(z)
            return value, tape.gradient(value, z)

        def run(z):
            return differentiate(tf.convert_to_tensor(z))

    elif backend == "jax":
        import jax

        run = jax.jit(jax.value_and_grad(function))
    else:

        def run(z):
            # A copy, on the device of Keras.
            z = keras.ops.convert_to_tensor(np.array(z)).requires_grad_()
            value = function(z)
            value.backward()
            return value.detach(), z.grad

    def on_arrays(z):
        value, gradient = run(z)
        return (
            keras.ops.convert_to_numpy(value),
            keras.ops.convert_to_numpy(gradient),
        )

    return on_arrays
