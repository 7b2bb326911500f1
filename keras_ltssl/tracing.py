"""The one place that asks a backend what a compiled step is made of."""

from typing import Any

import keras

from keras_ltssl.typing import Tensor


def reads_as_constant(variable: Any, tensor: Tensor) -> bool:
    """Says whether a compiled step would freeze `variable` at today's value.

    JAX threads only the variables of the model through a compiled step. There
    any other variable reads as a concrete array while `tensor`, which the step
    computes, is traced: later changes to the variable would never be seen, and
    assignments inside the step would be lost. The other backends see every
    variable. Keras has no word for this question.
    """
    if keras.backend.backend() != "jax":
        return False
    import jax

    return isinstance(tensor, jax.core.Tracer) and not isinstance(
        variable.value, jax.core.Tracer
    )
