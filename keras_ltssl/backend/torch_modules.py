"""A layer that runs a `torch.nn.Module` on images.

Import this module only on the PyTorch backend.

Keras' own `TorchModuleWrapper` tracks parameters, but not buffers, so moving
statistics would be missing from momentum networks and pruned twins. It ignores
`stateless_call`, runs in training mode unless told otherwise, and its config
holds a pickled module, which Keras refuses to load.
"""

import contextlib
from typing import Any

import keras
import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from keras_ltssl.backend.compilation import is_stateless
from keras_ltssl.backend.torch_checks import check_module_features, not_features
from keras_ltssl.backend.torch_randomness import (
    Randomness,
    forked_random_numbers,
)
from keras_ltssl.backend.torch_tensors import HeldModule, kernels_of, places
from keras_ltssl.types import Tensor

# The key under which a layer saves its random numbers. No parameter of a
# module can have this name.
_RANDOM = "random state"


class TorchModule(keras.layers.Layer):
    """Scales images and passes them through a `torch.nn.Module`.

    The parameters and the persistent buffers of the module are variables of
    the layer that share its memory.

    Args:
        module: The module, `(batch, channels, height, width)` to
            `(batch, features)`. It is moved to the device that Keras uses.
        image_shape: Tuple `(height, width, channels)`.
        scale: Array `(channels,)`.
        offset: Array `(channels,)`; the module gets `scale * images + offset`.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        image_shape: tuple[int, int, int],
        scale: np.ndarray[Any, Any],
        offset: np.ndarray[Any, Any],
        **kwargs: Any,
    ) -> None:
        # Images stay float32 until `torch.autocast` casts them in the module.
        super().__init__(autocast=False, **kwargs)
        device = keras.ops.convert_to_tensor(0.0).device
        module.to(device)
        # Keras would wrap a module that is an attribute of a layer.
        self._held = HeldModule(module)
        self._random = Randomness()
        dtype = _dtype_of(module)
        self._scale = torch.tensor(scale, dtype=dtype, device=device)
        self._offset = torch.tensor(offset, dtype=dtype, device=device)
        self.features = self._dry_run(image_shape)
        with keras.name_scope(self.name):
            self._by_name = self._make_variables(module)
        self.built = True

    @property
    def module(self) -> torch.nn.Module:
        """The module, which shares its memory with this layer."""
        return self._held.module

    @property
    def has_local_statistics(self) -> bool:
        """Whether batch normalization ignores what other replicas see."""
        return any(
            isinstance(part, _BatchNorm)
            and not isinstance(part, torch.nn.SyncBatchNorm)
            for part in self.module.modules()
        )

    def _make_variables(
        self, module: torch.nn.Module
    ) -> dict[str, keras.Variable]:
        kernels = {id(kernel) for kernel in kernels_of(module)}
        saved = set(module.state_dict(keep_vars=True))
        variables = {}
        for owner, key, name in places(module):
            is_buffer = key in owner._buffers
            if is_buffer and name not in saved:
                continue  # A constant, which the module makes anew.
            tensor = (owner._buffers if is_buffer else owner._parameters)[key]
            assert tensor is not None
            # Keras takes a parameter as it is and copies any other tensor.
            shared = torch.nn.Parameter(tensor, False) if is_buffer else tensor
            assert isinstance(shared, torch.nn.Parameter)
            *path, last = name.split(".")
            with contextlib.ExitStack() as scopes:
                for part in path:
                    scopes.enter_context(keras.name_scope(part))
                variable = keras.Variable(
                    shared,
                    dtype=keras.backend.standardize_dtype(tensor.dtype),
                    trainable=shared.requires_grad,
                    autocast=False,
                    name=last,
                )
            variable.is_kernel = id(tensor) in kernels
            variables[name] = variable
            self._held.add(owner, key, name, tensor, is_buffer)
        return variables

    def _dry_run(self, image_shape: tuple[int, int, int]) -> int:
        """Returns the number of features, without effect on the module."""
        module = self.module
        height, width, channels = image_shape
        shape = (2, channels, height, width)
        images = torch.zeros(
            shape, dtype=self._scale.dtype, device=self._scale.device
        )
        modes = [(part, part.training) for part in module.modules()]
        state = {name: b.clone() for name, b in module.named_buffers()}
        module.eval()
        try:
            with torch.no_grad(), forked_random_numbers(images.device):
                outputs = torch.func.functional_call(
                    module,
                    state,
                    (images.to(memory_format=torch.channels_last),),
                )
        except Exception as error:
            raise ValueError(
                "`module` must take images of `input_shape`, which it gets "
                f"with the channels first. Received: input_shape={image_shape}"
                f", and for a batch of shape {shape}, {type(error).__name__}: "
                f"{error}"
            ) from error
        finally:
            for part, mode in modes:
                part.training = mode
        check_module_features(outputs)
        if len(outputs) != len(images):
            raise not_features(f"shape {tuple(outputs.shape)} for 2 images")
        return int(outputs.shape[1])

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return (input_shape[0], self.features)

    def compute_output_spec(
        self, images: Any, training: bool | None = None
    ) -> keras.KerasTensor:
        shape = self.compute_output_shape(images.shape)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def call(
        self, images: torch.Tensor, training: bool | None = None
    ) -> Tensor:
        if images.is_meta:  # Keras infers shapes.
            shape = (len(images), self.features)
            return keras.ops.empty(shape, dtype=self.compute_dtype)
        module, training = self.module, bool(training)
        module.train(training)
        if not self.trainable:
            # As in Keras, a frozen batch norm uses its moving statistics.
            for part in module.modules():
                if isinstance(part, _BatchNorm):
                    part.eval()
        x = torch.addcmul(
            self._offset, images.to(self._scale.dtype), self._scale
        ).permute(0, 3, 1, 2)
        x = x.contiguous(memory_format=torch.channels_last)
        with contextlib.ExitStack() as scopes:
            if self.compute_dtype in ("bfloat16", "float16"):
                low = getattr(torch, self.compute_dtype)
                scopes.enter_context(torch.autocast(x.device.type, low))
            if training:
                scopes.enter_context(forked_random_numbers(x.device))
                self._random.seed_next(x.device)
            outputs = self._run(x, training)
        check_module_features(outputs)
        return outputs.to(getattr(torch, self.compute_dtype))

    def _run(self, x: torch.Tensor, training: bool) -> Any:
        if not is_stateless():
            self._held.take_back()
            outputs = self.module(x)
            self._held.take_back()
            return outputs
        # `stateless_call` passes other values for the variables.
        values = {
            name: variable.value for name, variable in self._by_name.items()
        }
        buffers = self._held.buffers
        if training:
            values.update({name: values[name].clone() for name in buffers})
        outputs = torch.func.functional_call(self.module, values, (x,))
        if training:
            for name in buffers:
                self._by_name[name].assign(values[name])
        return outputs

    def get_config(self) -> dict[str, Any]:
        """Raises, since a module has no config. `TorchEncoder` has one.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "A torch.nn.Module has no config, so Keras cannot clone it. Make "
            "an encoder of a copy: `torch_encoder(copy.deepcopy("
            "encoder.module), ...)`."
        )

    def save_own_variables(self, store: Any) -> None:
        """Saves the `state_dict` and the state of the random numbers."""
        for name, variable in self._by_name.items():
            store[name] = variable
        store[_RANDOM] = self._random.state

    def load_own_variables(self, store: Any) -> None:
        """Loads what `save_own_variables` saved."""
        expected, found = {*self._by_name, _RANDOM}, set(store.keys())
        if expected != found:
            raise ValueError(
                f"The weights of {self.name} do not fit its module. Missing: "
                f"{sorted(expected - found)}; unexpected: "
                f"{sorted(found - expected)}"
            )
        for name, variable in self._by_name.items():
            variable.assign(store[name])
        self._random.state = np.array(store[_RANDOM], "int64")


def _dtype_of(module: torch.nn.Module) -> torch.dtype:
    for parameter in module.parameters():
        if parameter.is_floating_point():
            return parameter.dtype
    return torch.float32
