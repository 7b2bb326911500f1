"""The one place that asks a backend what a compiled step is made of."""

from collections.abc import Callable
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


def compiled_by_xla(
    function: Callable[..., Tensor],
) -> Callable[..., Tensor]:
    """Returns a function of tensors alone, compiled where Keras may not do it.

    Keras leaves a step on TensorFlow to the plain graph where there are only
    processors, or several replicas, where long loops of small operations are
    slow. JAX compiles the whole step; PyTorch stays eager. Keras has no word
    for a part of a step.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    compiled: Callable[..., Tensor] = tf.function(function, jit_compile=True)
    return compiled


def uncompiled_on_torch(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that PyTorch's compiler leaves as it is.

    `compile(jit_compile=True)` would write out every turn of its loops, which
    takes minutes, and again where a value decides about the next one. Keras
    has no word for a part of a step.
    """
    if keras.backend.backend() != "torch":
        return function
    import torch

    disable: Any = torch.compiler.disable
    apart: Callable[..., Any] = disable(function)
    return apart
