"""Networks that call their layers without the checks of Keras.

Import this module only on the PyTorch backend.

`Layer.__call__` converts and checks arguments, finds masks and opens scopes:
0.2 ms for each layer, in which a GPU waits. In a network of plain layers, all
of that gives the same each time, and so does the walk through Keras' graph.
Here the method `call` of such a model runs a list of its layers. Images pass
from layer to layer with their channels first, as PyTorch takes them: a view of
the same memory for each layer would take the host as long as the layer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import torch

from keras_ltssl.backend import torch_layers
from keras_ltssl.backend.compilation import is_stateless
from keras_ltssl.backend.torch_image_layers import (
    Images,
    as_dtype,
    is_plain_relu,
    of_images,
)
from keras_ltssl.backend.torch_values import (
    KerasValues,
    PlainValues,
    Values,
)

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
    """Replaces `call` of a network of plain layers, or restores it.

    Args:
        model: Any layer. All but functional models, and layers with an
            attribute `layers_in_turn`, stay as they are. So do those with other
            than plain layers or several dtype policies, and one whose `call`
            somebody else has replaced.
        enabled: Whether to replace `call`.
    """
    replaced = vars(model).get("call")
    if enabled and replaced is None and _is_plain(model):
        graph = _PlainGraph(model)
        if graph.is_complete:
            model.call = graph
    elif isinstance(replaced, _PlainGraph) and not enabled:
        del model.call


def _layers_of(model: Any) -> list[Any]:
    """Returns the layers that the method `call` of a network calls.

    None if it is no functional model and does not say which.
    """
    kind: Any = type(model)
    # A subclass of somebody else may have a `call` of its own.
    if kind.__name__ == "Functional" and kind.__module__.startswith("keras."):
        return [
            operation
            for operation in model.operations
            if type(operation) is not _Layers.InputLayer
        ]
    # So may a subclass of a layer that says which layers its own `call` calls.
    if _definer(kind, "layers_in_turn") is not _definer(kind, "call"):
        return []
    return list(model.layers_in_turn)


def _definer(kind: type, name: str) -> type | None:
    """Returns the class that defines an attribute of a class."""
    return next((each for each in kind.__mro__ if name in vars(each)), None)


def _is_plain(model: Any) -> bool:
    layers = _layers_of(model)
    return bool(layers) and all(
        type(layer) in _PLAIN
        # Then the scope of the model, which casts variables, serves them all.
        and layer.dtype_policy.name == model.dtype_policy.name
        and layer.autocast
        and layer.built
        and layer.activity_regularizer is None
        for layer in layers
    )


class _Place:
    """A tensor of the graph: its place in the order of making them."""

    def __init__(self, number: int) -> None:
        self.number = number


class _Node(NamedTuple):
    """A call of a layer."""

    layer: Any
    policy: Any
    inputs: list[int]
    takes_list: bool
    arguments: dict[str, Any]


class _PlainGraph:
    """Calls a network of plain layers.

    Args:
        model: The model.

    Attributes:
        is_complete: Whether all layers take tensors of the graph by position
            alone. Otherwise this cannot call them.
    """

    def __init__(self, model: Any) -> None:
        self.is_complete = True
        self._model = model
        self._variable = next(iter(model.variables), None)
        self._nodes: list[_Node] = []
        self._layers = _layers_of(model)
        self._is_functional = isinstance(model, keras.Model)
        if self._is_functional:
            self._count = len(model.inputs)
            self._outputs = model._run_through_graph(
                [_Place(number) for number in range(self._count)],
                operation_fn=self._noting,
            )
        else:
            self._count, self._outputs = 1, _Place(0)
            for layer in self._layers:
                self._outputs = self._noting(layer)(self._outputs)

    def _noting(self, layer: Any) -> Callable[..., _Place]:
        """Returns what notes a call of a layer, in place of calling it."""

        def note(x: Any, mask: Any = None, **arguments: Any) -> _Place:
            takes_list = isinstance(x, list | tuple)
            inputs = list(x) if takes_list else [x]
            others = keras.tree.flatten([mask, arguments])
            self.is_complete &= all(isinstance(x, _Place) for x in inputs)
            self.is_complete &= not any(isinstance(x, _Place) for x in others)
            if self.is_complete:
                self._nodes.append(
                    _Node(
                        layer,
                        layer.dtype_policy,
                        [each.number for each in inputs],
                        takes_list,
                        arguments,
                    )
                )
            self._count += 1
            return _Place(self._count - 1)

        return note

    def __call__(
        self,
        inputs: Any,
        training: bool | None = None,
        mask: Any = None,
        **arguments: Any,
    ) -> Any:
        model = self._model
        if (
            mask is not None
            or arguments
            or not all(
                _is_unmasked_tensor(x) for x in keras.tree.flatten(inputs)
            )
        ):
            if mask is not None:
                arguments["mask"] = mask
            # A projection head takes no mask.
            return type(model).call(
                model, inputs, training=training, **arguments
            )
        dtype = getattr(torch, model.compute_dtype)
        if not self._casts_variables(dtype):
            return type(model).call(model, inputs, training=training)
        tensors = [inputs]
        if self._is_functional:
            tensors = list(model._standardize_inputs(inputs))
        values = self._values(tensors[0], dtype)
        for node in self._nodes:
            tensors.append(_run(node, tensors, training, dtype, values))
        if isinstance(self._outputs, _Place):
            return _last(tensors[self._outputs.number])
        outputs = keras.tree.map_structure(
            lambda place: _last(tensors[place.number]), self._outputs
        )
        is_one = isinstance(outputs, list | tuple) and len(outputs) == 1
        return outputs[0] if is_one else outputs

    def _casts_variables(self, dtype: torch.dtype) -> bool:
        """Returns whether variables come in a dtype, as within `model(...)`.

        In mixed precision they do not if somebody calls `model.call` itself.
        """
        if self._model.compute_dtype == self._model.variable_dtype:
            return True
        for layer in self._layers:
            kernel = getattr(layer, "kernel", None)
            if kernel is not None:
                cast: torch.Tensor = keras.ops.convert_to_tensor(kernel)
                return cast.dtype == dtype
        return True

    def _values(self, tensor: torch.Tensor, dtype: torch.dtype) -> Values:
        """Returns what reads the variables of the layers in this call."""
        model = self._model
        variable = self._variable
        if is_stateless() or (
            variable is not None and variable.value.device != tensor.device
        ):
            return KerasValues()
        is_mixed = model.compute_dtype != model.variable_dtype
        return PlainValues(dtype if is_mixed else None)


def _is_unmasked_tensor(x: Any) -> bool:
    return (
        isinstance(x, torch.Tensor)
        and not x.is_meta
        and getattr(x, "_keras_mask", None) is None
    )


def _run(
    node: _Node,
    tensors: list[torch.Tensor | Images],
    training: bool | None,
    dtype: torch.dtype,
    values: Values,
) -> Any:
    """Returns the output of a layer."""
    layer, kind = node.layer, type(node.layer)
    inputs = [tensors[number] for number in node.inputs]
    arguments = node.arguments
    if training is not None and kind is _Layers.BatchNormalization:
        arguments = {**arguments, "training": training}
    replaced = vars(layer).get("call")
    takes_values = (
        getattr(replaced, "__func__", None) in torch_layers.TAKES_VALUES
    )
    needs_keras = _needs_keras(layer, node.policy)
    is_ours = takes_values or (
        replaced is None and kind not in torch_layers.REPLACED
    )
    if is_ours and not needs_keras:
        y = of_images(layer, inputs, arguments, dtype, values)
        if y is not None:
            return y
    last = [as_dtype(_last(x), dtype) for x in inputs]
    x: Any = last if node.takes_list else last[0]
    if needs_keras:
        return layer(x, **arguments)
    if takes_values:
        arguments = {**arguments, "values": values}
    elif kind is _Layers.ReLU and replaced is None and is_plain_relu(layer):
        return torch.relu(x)
    return layer.call(x, **arguments)


def _last(x: torch.Tensor | Images) -> torch.Tensor:
    return x.last if isinstance(x, Images) else x


def _needs_keras(layer: Any, policy: Any) -> bool:
    """Returns whether a layer got hooks, was quantized, or recomputes."""
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer.dtype_policy is not policy
        or getattr(layer, "_remat_mode", None)
    )
