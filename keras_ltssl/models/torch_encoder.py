"""An encoder around a PyTorch module."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_ltssl.backend import pytorch
from keras_ltssl.validation import (
    check_instance,
    check_number,
    check_pair,
    check_sizes,
)


def torch_encoder(
    module: Any,
    input_shape: tuple[int, int, int],
    value_range: tuple[float, float] = (0, 255),
    mean: float | Sequence[float] = 0.5,
    std: float | Sequence[float] = 0.5,
    name: str = "torch_encoder",
) -> keras.Model:
    """Returns an encoder that runs a `torch.nn.Module`, on PyTorch only.

    The module may come from torchvision, from timm or from your own code. The
    encoder takes raw images with the channels last, as every encoder here, and
    scales them:

        x = ((images - low) / (high - low) - mean) / std

    for `value_range = (low, high)`. The module gets x of shape `(batch,
    channels, height, width)` in the memory format `torch.channels_last`. It is
    in training mode while the model trains and in evaluation mode otherwise,
    and runs under `torch.autocast` with the policies `mixed_bfloat16` and
    `mixed_float16`.

    - `encoder.module` is the module that was passed. Training changes it in
      place. Its `state_dict()` keeps its names.
    - Parameters and persistent buffers, such as the moving statistics of a
      batch norm, are weights of the encoder. Frameworks copy them,
      `ResumableCheckpoint` and `save_weights` save them.
    - Parameters with `requires_grad=False` stay as they are. Freeze them before
      this call. With `encoder.trainable = False`, batch norms use their moving
      statistics, as in Keras.
    - Dropout and other random layers draw numbers that depend on a seed and the
      number of the step. The seed is drawn from PyTorch's generator in this
      call. A run that resumes goes on with the same numbers.
    - Models of `MomentumContrast` and `BYOL` copy the module by
      `copy.deepcopy`. `SelfDamagingContrast` prunes the kernels of
      convolutions, of `torch.nn.Linear` and of `torch.nn.MultiheadAttention`.

    Args:
        module: `torch.nn.Module`, `(batch, channels, height, width)` to
            `(batch, features)`; or a function without arguments that returns
            one. A `.keras` file needs a function with
            `@keras.saving.register_keras_serializable()`, since a file cannot
            hold the code of a module.
        input_shape: Tuple `(height, width, channels)` in pixels.
        value_range: Pair of floats, smallest and largest pixel value.
            Defaults to `(0, 255)`.
        mean: Float, or one for each channel, for pixel values in [0, 1].
            Defaults to `0.5`, which gives x in [-1, 1]. Of ImageNet:
            `(0.485, 0.456, 0.406)`.
        std: Float > 0, or one for each channel. Defaults to `0.5`. Of
            ImageNet: `(0.229, 0.224, 0.225)`.
        name: Name of the model. Defaults to `"torch_encoder"`.

    Returns:
        `keras.Model`, `(batch, height, width, channels)` ->
        `(batch, features)`, with the attribute `module`.

    Raises:
        ValueError: If an argument is out of range, Keras does not run on
            PyTorch, or the module does not turn images of `input_shape` into
            features `(batch, features)`. The module is called once on zeros,
            in evaluation mode, to see it.

    Example:

    ```python
    import torch
    import torchvision
    import keras_ltssl as lt

    net = torchvision.models.resnet50(weights=None)
    net.fc = torch.nn.Identity()
    encoder = lt.models.torch_encoder(net, (224, 224, 3))
    model = lt.models.ContrastiveModel(encoder)
    model.compile("sgd", loss=lt.losses.NTXentLoss(0.1))
    model.fit(images, batch_size=256, epochs=100)
    torch.save(encoder.module.state_dict(), "encoder.pt")
    ```
    """
    return TorchEncoder(module, input_shape, value_range, mean, std, name)


@keras.saving.register_keras_serializable(package="keras_ltssl")
class TorchEncoder(keras.Model):
    """The model that `torch_encoder` returns.

    Args:
        module: As for `torch_encoder`; or, from a config, the name of a
            registered function.
        input_shape: As for `torch_encoder`.
        value_range: As for `torch_encoder`.
        mean: As for `torch_encoder`.
        std: As for `torch_encoder`.
        name: As for `torch_encoder`.
        dtype: Dtype or dtype policy. Defaults to `None`: that of Keras.
        trainable: Boolean, whether the encoder is trained. Defaults to `True`.
    """

    def __init__(
        self,
        module: Any,
        input_shape: tuple[int, int, int],
        value_range: tuple[float, float] = (0, 255),
        mean: float | Sequence[float] = 0.5,
        std: float | Sequence[float] = 0.5,
        name: str = "torch_encoder",
        dtype: Any = None,
        trainable: bool = True,
    ) -> None:
        pytorch.check_pytorch()
        sizes = check_sizes(
            "input_shape", input_shape, ("height", "width", "channels")
        )
        low, high = check_pair("value_range", value_range, may_be_equal=False)
        means = _of_channels("mean", mean, sizes[2])
        stds = _of_channels("std", std, sizes[2], above=0)
        check_instance("name", name, str, "a string")
        layer = pytorch.module_layer(
            pytorch.checked_module(module),
            sizes,
            scale=1 / ((high - low) * stds),
            offset=-(low / (high - low) + means) / stds,
            name=name,
            dtype=dtype,
        )
        images = keras.Input(sizes, name="images")
        super().__init__(images, layer(images), name=name)
        self._layer = layer
        self._make = module if module is not layer.module else None
        self._arguments = {
            "input_shape": sizes,
            "value_range": (low, high),
            "mean": means.tolist(),
            "std": stds.tolist(),
        }
        self.trainable = trainable

    @property
    def module(self) -> Any:
        """The `torch.nn.Module`, as training has left it."""
        return self._layer.module

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, the module by its function.

        Raises:
            ValueError: If the module was not made by a registered function.
        """
        key = pytorch.lend(self.module)
        return {
            **self._arguments,
            "module": self._name_of_function() if key is None else key,
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(
                self._layer.dtype_policy
            ),
            "trainable": self.trainable,
        }

    def _name_of_function(self) -> str:
        make = self._make
        if make is not None:
            registered = keras.saving.get_registered_name(make)
            if keras.saving.get_registered_object(registered) is make:
                return str(registered)
        raise ValueError(
            "A file of Keras cannot hold the code of a torch.nn.Module. Save "
            "its weights, `torch.save(encoder.module.state_dict(), path)`, or "
            "those of the model, `model.save_weights(path)`. Or give "
            "`torch_encoder` a function that makes the module, with the "
            "decorator `@keras.saving.register_keras_serializable()`. "
            f"Received: {type(self.module).__name__} made by {make!r}"
        )

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> "TorchEncoder":
        """Makes the encoder from what `get_config()` returned."""
        key = config["module"]
        pytorch.check_pytorch()
        module = pytorch.borrowed(key)
        if module is None:
            module = keras.saving.get_registered_object(key, custom_objects)
        if module is None:
            raise ValueError(
                "The function that makes the module of this encoder must be "
                "registered before the file is loaded: import the file with "
                "`@keras.saving.register_keras_serializable()`. Received: no "
                f"function called {key!r}"
            )
        return cls(**{**config, "module": module})


def _of_channels(
    name: str,
    value: float | Sequence[float],
    channels: int,
    above: float | None = None,
) -> np.ndarray[Any, Any]:
    """Returns a number for each channel; raises if `value` is not that."""
    values = np.asarray(value, "O").ravel()
    if len(values) not in (1, channels):
        raise ValueError(
            f"`{name}` must be a number, or one for each of {channels} "
            f"channels. Received: {name}={value!r}"
        )
    checked = [check_number(name, number, above=above) for number in values]
    return np.full(channels, checked)
