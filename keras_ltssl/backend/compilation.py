"""How the backend compiles or traces a training step."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_ltssl.types import Tensor


def is_untracked(variable: Any) -> bool:
    """Returns whether a training step on JAX would lose an assignment.

    On JAX, Keras passes the variables of the model to the step, compiled or
    not, and reads their new values from its result. A variable that is not
    part of the model would keep its old value. On the other backends, and
    outside of a step, this returns `False`.

    Args:
        variable: A `keras.Variable` that this step has not assigned yet.
    """
    if keras.backend.backend() != "jax":
        return False
    step = _enclosing_scope()
    return step is not None and step.get_current_value(variable) is None


def infers_shapes() -> bool:
    """Returns whether Keras runs this on PyTorch only to infer shapes.

    Keras may then call a function more than once.
    """
    return keras.backend.backend() == "torch" and _enclosing_scope() is not None


def is_stateless() -> bool:
    """Returns whether values other than their own stand for variables.

    This is so in `stateless_call`.
    """
    return _enclosing_scope() is not None


def _enclosing_scope() -> Any:
    # Keras has no public API for this, but a scope stores the enclosing one.
    with keras.StatelessScope(initialize_variables=False) as inner:
        return inner.original_scope


def runs_eagerly() -> bool:
    """Returns whether a step runs operation by operation, as on PyTorch.

    Each operation then costs time, however small it is.
    """
    return bool(keras.backend.backend() == "torch")


def traced_function(tensor: Tensor) -> Any:
    """Returns the TensorFlow graph that `tensor` belongs to, or `None`.

    Two tensors of one traced step belong to one graph. Eager tensors and
    tensors of the other backends have no graph.

    Args:
        tensor: Any tensor.
    """
    if keras.backend.backend() != "tensorflow":
        return None
    return getattr(tensor, "graph", None)


def one_after(values: Tensor | None) -> int | Tensor:
    """Returns 1; on TensorFlow, where a step is traced, not before `values`.

    At the end of data of unknown size, Keras begins a step without data there.
    TensorFlow then still runs what needs no data, such as counting steps.
    """
    if values is None or traced_function(values) is None:
        return 1
    return ops.maximum(ops.cast(values[0] > 0, "int32"), 1)


def compiled_by_xla(
    function: Callable[..., Tensor],
) -> Callable[..., Tensor]:
    """Returns the function, compiled by XLA on TensorFlow.

    On TensorFlow, Keras does not use XLA for a step on CPUs or on several
    replicas, and long loops of small operations are slow without it. JAX
    compiles the whole step, and PyTorch stays eager. Keras has no API to
    compile a part of a step.

    Args:
        function: A function of tensors only.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    compiled: Callable[..., Tensor] = tf.function(function, jit_compile=True)
    return compiled


def compiled_on_torch(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function, compiled by PyTorch when it is called.

    Keras has no API to compile a part of a step.

    Args:
        function: Any function, on PyTorch.
    """
    import torch

    compiled: Callable[..., Any] = torch.compile(function)
    return compiled


def uncompiled_on_torch(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function, excluded from compilation on PyTorch.

    With `compile(jit_compile=True)`, PyTorch would unroll the loops of the
    function, which takes minutes, and recompile it where a condition depends
    on a value. Keras has no API to exclude a part of a step.

    Args:
        function: Any function.
    """
    if keras.backend.backend() != "torch":
        return function
    import torch

    disable: Any = torch.compiler.disable
    uncompiled: Callable[..., Any] = disable(function)
    return uncompiled
