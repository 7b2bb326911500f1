"""Functional models of Keras that call their layers without its checks.

Import this module only on the PyTorch backend.

`Layer.__call__` converts and checks arguments, finds masks and opens scopes:
0.2 ms for each layer, in which a GPU waits. In a network of plain layers, all
of that gives the same each time. Here the method `call` of such a model runs
the graph of Keras with the methods `call` of its layers.
"""

from collections.abc import Callable
from types import MethodType
from typing import Any

import keras
import torch

_Layers = keras.layers

# Layers that make no masks, add no losses and draw no random numbers.
_PLAIN = {
    _Layers.Activation,
    _Layers.Add,
    _Layers.AveragePooling2D,
    _Layers.BatchNormalization,
    _Layers.Concatenate,
    _Layers.Conv2D,
    _Layers.Dense,
    _Layers.DepthwiseConv2D,
    _Layers.Flatten,
    _Layers.GlobalAveragePooling2D,
    _Layers.GlobalMaxPooling2D,
    _Layers.MaxPooling2D,
    _Layers.Multiply,
    _Layers.ReLU,
    _Layers.Rescaling,
    _Layers.Reshape,
    _Layers.ZeroPadding2D,
}


def set_plain_graph(model: Any, enabled: bool) -> None:
    """Replaces `call` of a functional model of plain layers, or restores it.

    Args:
        model: Any layer. All but functional models of plain layers with one
            dtype policy stay as they are, and so does a model whose `call`
            somebody else has replaced.
        enabled: Whether to replace `call`.
    """
    replaced = vars(model).get("call")
    is_ours = getattr(replaced, "__func__", None) is _call
    if enabled and replaced is None and _is_plain(model):
        model.call = MethodType(_call, model)
    elif is_ours and not enabled:
        del model.call


def _is_plain(model: Any) -> bool:
    kind: Any = type(model)
    # A subclass of somebody else may have a `call` of its own.
    if kind.__name__ != "Functional" or not kind.__module__.startswith(
        "keras."
    ):
        return False
    layers = [
        operation
        for operation in model.operations
        if type(operation) is not _Layers.InputLayer
    ]
    return all(
        type(layer) in _PLAIN
        # Then the scope of the model, which casts variables, serves them all.
        and layer.dtype_policy.name == model.dtype_policy.name
        and layer.autocast
        and layer.built
        and layer.activity_regularizer is None
        for layer in layers
    )


def _call(
    model: Any,
    inputs: Any,
    training: bool | None = None,
    mask: Any = None,
    **arguments: Any,
) -> Any:
    """Calls a functional model of plain layers."""
    if (
        mask is not None
        or arguments
        or not all(_is_unmasked_tensor(x) for x in keras.tree.flatten(inputs))
    ):
        return type(model).call(
            model, inputs, training=training, mask=mask, **arguments
        )
    dtype = getattr(torch, model.compute_dtype)
    if not _casts_variables(model, dtype):
        return type(model).call(model, inputs, training=training)
    outputs = model._run_through_graph(
        model._standardize_inputs(inputs),
        operation_fn=lambda layer: _caller(layer, dtype, training),
    )
    is_one = isinstance(outputs, list | tuple) and len(outputs) == 1
    return outputs[0] if is_one else outputs


def _casts_variables(model: Any, dtype: torch.dtype) -> bool:
    """Returns whether variables come in a dtype, as within `model(...)`.

    In mixed precision they do not if somebody calls `model.call` itself.
    """
    if model.compute_dtype == model.variable_dtype:
        return True
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            cast: torch.Tensor = keras.ops.convert_to_tensor(kernel)
            return cast.dtype == dtype
    return True


def _is_unmasked_tensor(x: Any) -> bool:
    return (
        isinstance(x, torch.Tensor)
        and not x.is_meta
        and getattr(x, "_keras_mask", None) is None
    )


def _caller(
    layer: Any, dtype: torch.dtype, training: bool | None
) -> Callable[..., Any]:
    """Returns what calls a layer with the arguments of a node of the graph."""

    def as_dtype(x: Any) -> Any:
        if isinstance(x, list | tuple):
            return [as_dtype(each) for each in x]
        if x.dtype == dtype or not x.is_floating_point():
            return x
        return x.to(dtype)

    def call(x: Any, mask: Any = None, **arguments: Any) -> Any:
        if training is not None and type(layer) is _Layers.BatchNormalization:
            arguments["training"] = training
        if _needs_keras(layer):
            return layer(x, **arguments)
        return layer.call(as_dtype(x), **arguments)

    return call


def _needs_keras(layer: Any) -> bool:
    """Returns whether a layer got hooks, was quantized, or recomputes."""
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or getattr(layer, "quantization_mode", None)
        or getattr(layer, "_remat_mode", None)
    )
