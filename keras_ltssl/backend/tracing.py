"""The one place that asks a backend what a compiled step is made of."""

from collections.abc import Callable
from typing import Any

import keras

from keras_ltssl.types import Tensor


def is_untracked(variable: Any) -> bool:
    """Returns whether a training step on JAX would lose what it assigns.

    Keras hands the variables of the model to a step on JAX, compiled or not,
    and takes their new values back from it. Any other variable keeps the value
    that it has now. The other backends see every variable. Outside of a step
    this returns `False`.

    Args:
        variable: A `keras.Variable` to which the step has assigned nothing yet.
    """
    if keras.backend.backend() != "jax":
        return False
    step = _enclosing_scope()
    return step is not None and step.get_current_value(variable) is None


def infers_shapes() -> bool:
    """Returns whether PyTorch runs this on stand-ins, to learn shapes.

    Keras may then call a function more than once.
    """
    return keras.backend.backend() == "torch" and _enclosing_scope() is not None


def _enclosing_scope() -> Any:
    # Keras has no API for this, but a scope knows the one around it.
    with keras.StatelessScope(initialize_variables=False) as inner:
        return inner.original_scope


def runs_eagerly() -> bool:
    """Returns whether a step runs operation by operation: on PyTorch.

    There every small operation costs time, whatever its size.
    """
    return bool(keras.backend.backend() == "torch")


def traced_function(tensor: Tensor) -> Any:
    """Returns the graph that TensorFlow traces `tensor` into, or `None`.

    Two tensors of one traced step are of one graph. Where nothing is traced,
    and on the other backends, there is no graph.
    """
    if keras.backend.backend() != "tensorflow":
        return None
    return getattr(tensor, "graph", None)


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
    has no API for a part of a step.
    """
    if keras.backend.backend() != "torch":
        return function
    import torch

    disable: Any = torch.compiler.disable
    apart: Callable[..., Any] = disable(function)
    return apart
