"""A layer that runs a `torch.nn.Module` on images.

Import this module only on the PyTorch backend.

Keras' own `TorchModuleWrapper` tracks parameters, but not buffers, so moving
statistics would be missing from momentum networks and pruned twins. It ignores
`stateless_call`, runs in training mode unless told otherwise, and its config
holds a pickled module, which Keras refuses to load.
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from keras_ltssl.backend import replicas
from keras_ltssl.backend.compilation import is_stateless
from keras_ltssl.types import Tensor

# The key under which a layer saves its random numbers. No parameter of a
# module can have this name.
_RANDOM = "random state"

# Modules that layers which are being copied lend to their copies.
_lent: dict[str, torch.nn.Module] | None = None


@contextlib.contextmanager
def lending() -> Iterator[None]:
    """Lets `lend` and `borrowed` pass modules through configs."""
    global _lent
    before, _lent = _lent, {}
    try:
        yield
    finally:
        _lent = before


def lend(module: torch.nn.Module) -> str | None:
    """Returns a key for `borrowed`, or `None` if nothing is being copied."""
    if _lent is None:
        return None
    key = f"lent {len(_lent)}"
    _lent[key] = module
    return key


def borrowed(key: str) -> torch.nn.Module | None:
    """Returns a copy of the module with this key, or `None`.

    Raises:
        ValueError: If the module cannot be copied.
    """
    if _lent is None or key not in _lent:
        return None
    try:
        return copy.deepcopy(_lent[key])
    except Exception as error:
        raise ValueError(
            "A momentum network is a copy of the encoder, and this `module` "
            f"cannot be copied by `copy.deepcopy`: {error}"
        ) from error


def checked_module(module: Any) -> torch.nn.Module:
    """Returns a module, or what a function makes; raises if it is none.

    Args:
        module: A `torch.nn.Module`, or a function without arguments that
            returns one.
    """
    made = module
    is_class = isinstance(made, type)
    if (
        callable(made)
        and not is_class
        and not isinstance(made, torch.nn.Module)
    ):
        made = made()
    if not isinstance(made, torch.nn.Module):
        raise ValueError(
            "`module` must be a torch.nn.Module, or a function without "
            f"arguments that returns one. Received: module={module!r} of type "
            f"{type(module).__name__}"
        )
    if isinstance(made, keras.layers.Layer):
        raise ValueError(
            "`module` must be a torch.nn.Module of PyTorch. A Keras layer is "
            f"an encoder already. Received: module={made!r}"
        )
    for name, parameter in made.named_parameters():
        if torch.nn.parameter.is_lazy(parameter):
            raise ValueError(
                "`module` must know the shapes of its parameters: call it "
                f"once on a batch. Received: {name} without a shape"
            )
    return made


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
        # The module gets what it needs in float32, `torch.autocast` does the
        # rest.
        super().__init__(autocast=False, **kwargs)
        device = keras.ops.convert_to_tensor(0.0).device
        module.to(device)
        # A dictionary of another class: Keras would wrap a bare module, and
        # look for variables in a dictionary.
        self._held = _Held(module)
        self._random = _Randomness()
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
        kernels = {id(kernel) for kernel in _kernels_of(module)}
        saved = set(module.state_dict(keep_vars=True))
        variables = {}
        for owner, key, name in _places(module):
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
            with torch.no_grad(), _forked_random_numbers(images.device):
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
        _check_features(outputs)
        if len(outputs) != len(images):
            raise _not_features(f"shape {tuple(outputs.shape)} for 2 images")
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
                scopes.enter_context(_forked_random_numbers(x.device))
                self._random.seed_next(x.device)
            outputs = self._run(x, training)
        _check_features(outputs)
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


class _Held:
    """A module and the places of its tensors that variables share."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module
        self.buffers: list[str] = []
        self._places: list[tuple[Mapping[str, Any], str, str, Any]] = []

    def add(
        self,
        owner: torch.nn.Module,
        key: str,
        name: str,
        tensor: torch.Tensor,
        is_buffer: bool,
    ) -> None:
        tensors = owner._buffers if is_buffer else owner._parameters
        self._places.append((tensors, key, name, tensor))
        if is_buffer:
            self.buffers.append(name)

    def take_back(self) -> None:
        """Puts tensors back that were replaced, with the new values.

        A module may assign a new tensor to a buffer, and `load_state_dict(...,
        assign=True)` replaces parameters.

        Raises:
            ValueError: If the shape of a tensor has changed.
        """
        for tensors, key, name, tensor in self._places:
            now = tensors.get(key)
            if now is tensor:
                continue
            if now is None or now.shape != tensor.shape:
                raise ValueError(
                    f"{name} of the module was replaced or removed after the "
                    "encoder was made. Change the module first, then call "
                    "`torch_encoder`."
                )
            with torch.no_grad():
                tensor.copy_(now)
            tensors[key] = tensor  # type: ignore[index]


class _Randomness:
    """Random numbers of the module that depend on a seed and a counter.

    Modules draw from the generators of PyTorch, which others use, too. With
    numbers of its own, a training that was interrupted goes on as it would
    have. The state is on the host, so reading it does not wait for the device.
    """

    def __init__(self) -> None:
        # Follows `torch.manual_seed` and `keras.utils.set_random_seed`.
        self._seed = int(torch.randint(2**31, ()))
        self._calls = 0

    @property
    def state(self) -> np.ndarray[Any, Any]:
        return np.array([self._seed, self._calls], "int64")

    @state.setter
    def state(self, state: np.ndarray[Any, Any]) -> None:
        self._seed, self._calls = (int(number) for number in state)

    def seed_next(self, device: torch.device) -> None:
        """Seeds the generators of PyTorch for the next call."""
        entropy = [self._seed, self._calls, replicas.process()[0]]
        self._calls += 1
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        torch.default_generator.manual_seed(seed)
        if device.type != "cpu":
            getattr(torch, device.type).manual_seed(seed)


def _forked_random_numbers(device: torch.device) -> Any:
    """Returns a context after which generators are as they were before."""
    if device.type == "cpu":
        return torch.random.fork_rng(devices=[])
    return torch.random.fork_rng([device.index or 0], device_type=device.type)


def _places(
    module: torch.nn.Module,
) -> Iterator[tuple[torch.nn.Module, str, str]]:
    """Yields each parameter and buffer once: its owner, its key, its name."""
    seen = set()
    for prefix, owner in module.named_modules():
        for tensors in (owner._parameters, owner._buffers):
            for key, tensor in tensors.items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield owner, key, f"{prefix}.{key}" if prefix else key


def _kernels_of(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Yields the kernels of convolutions, dense layers and attention."""
    attention = torch.nn.MultiheadAttention
    packed = ("in_proj_weight", "q_proj_weight", "k_proj_weight")
    for part in module.modules():
        names: tuple[str, ...] = ()
        if isinstance(part, (torch.nn.Linear, torch.nn.Bilinear, _ConvNd)):
            names = ("weight",)
        elif isinstance(part, attention):
            names = (*packed, "v_proj_weight")
        for name in names:
            kernel = part._parameters.get(name)
            if kernel is not None:
                yield kernel


def _dtype_of(module: torch.nn.Module) -> torch.dtype:
    for parameter in module.parameters():
        if parameter.is_floating_point():
            return parameter.dtype
    return torch.float32


def _check_features(outputs: Any) -> None:
    """Raises if a module returns anything but `(batch, features)`."""
    if not isinstance(outputs, torch.Tensor):
        raise _not_features(
            f"a {type(outputs).__name__}", " Wrap it to return one tensor."
        )
    if outputs.ndim != 2:
        advice = {
            3: " Of tokens, return their mean or one of them.",
            4: " A feature map has to be pooled: `torch.nn.Sequential(module, "
            "torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())`.",
        }.get(outputs.ndim, "")
        raise _not_features(f"shape {tuple(outputs.shape)}", advice)


def _not_features(received: str, advice: str = "") -> ValueError:
    return ValueError(
        "`module` must return features, one tensor of shape (batch, "
        f"features).{advice} Received: {received}"
    )
