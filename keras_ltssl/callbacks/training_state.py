"""Reads, compares and restores the state of a training."""

import contextlib
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_ltssl.backend.random_states import random_states
from keras_ltssl.callbacks.checkpoint_files import Arrays, Checkpoint
from keras_ltssl.callbacks.checkpoint_folder import OLD_WEIGHTS
from keras_ltssl.callbacks.training_differences import find_differences

# Names have no effect, and Keras numbers them within a process.
_IGNORED = (
    "name",
    "state_key",
    "module",
    "registered_name",
    "build_config",
    "shared_object_id",
)


def describe_state(
    model: keras.Model, callbacks: Sequence[Any]
) -> dict[str, Any]:
    """Returns the shapes, loss, optimizer and callbacks of a training."""
    weights = []
    for layer, store in _stores(model):
        for key, value in store.items():
            is_variable = isinstance(value, keras.Variable)
            path = value.path if is_variable else f"{layer.name}/{key}"
            weights.append(_described(path, value))
    return {
        "weights": weights,
        "optimizer_variables": [
            _described(v.path, v) for v in model.optimizer.variables
        ],
        "random_states": [_described(v.path, v) for v in random_states(model)],
        "optimizer": _without_rate(_config(model.optimizer)),
        "loss": _config(model.loss),
        "callbacks": [type(callback).__name__ for callback in callbacks],
    }


def read_state(
    model: keras.Model, callbacks: Sequence[Any]
) -> dict[str, Arrays]:
    """Returns copies of all arrays of a training."""
    weights = [v for _, store in _stores(model) for v in store.values()]
    arrays = {
        "weights": _to_arrays(weights),
        "optimizer": _to_arrays(model.optimizer.variables),
        "random_states": _to_arrays(random_states(model)),
    }
    for index, callback in enumerate(callbacks):
        arrays[f"callback_{index}"] = {
            name: np.array(value)
            for name, value in callback.get_state().items()
        }
    return arrays


def write_state(
    model: keras.Model,
    callbacks: Sequence[Any],
    arrays: dict[str, Arrays],
) -> None:
    """Assigns the arrays that `read_state` returned."""
    if "weights" in arrays:
        values = iter(arrays["weights"].values())
        for layer, store in _stores(model):
            layer.load_own_variables({key: next(values) for key in store})
        _assign(model.optimizer.variables, arrays["optimizer"])
    _assign(random_states(model), arrays["random_states"])
    for index, callback in enumerate(callbacks):
        callback.set_state(dict(arrays[f"callback_{index}"]))


def restore_state(
    model: keras.Model,
    callbacks: Sequence[Any],
    checkpoint: Checkpoint,
    path: Path,
) -> None:
    """Loads a checkpoint into a model.

    Raises:
        ValueError: If the checkpoint does not fit the model, which is then
            unchanged.
    """
    model.optimizer.build(model.trainable_variables)
    differences = find_differences(checkpoint, describe_state(model, callbacks))
    if differences:
        raise ValueError(
            f"The checkpoint {path} does not fit this training: "
            f"{differences}. Make and compile the model as it was, or use "
            "another folder."
        )
    before = None
    # On JAX, an interrupted step has deleted the arrays of the model.
    with contextlib.suppress(RuntimeError):
        before = read_state(model, callbacks)
    try:
        if checkpoint.description is None:
            _load_old_weights(model, path)
        write_state(model, callbacks, checkpoint.arrays)
    except BaseException as error:
        if before is not None:
            write_state(model, callbacks, before)
        if isinstance(error, Exception):
            raise ValueError(
                f"The checkpoint {path} could not be loaded into this model: "
                f"{error}"
            ) from error
        raise


def find_not_finite(
    description: dict[str, Any], arrays: dict[str, Arrays]
) -> str | None:
    """Returns the name of the first weight with a NaN or an infinity."""
    for name, paths in (
        ("weights", description["weights"]),
        ("optimizer", description["optimizer_variables"]),
    ):
        for (path, *_), array in zip(paths, arrays[name].values(), strict=True):
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                return str(path)
    return None


def _stores(model: keras.Model) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yields each layer with weights, and the variables that it saves."""
    for layer in model._flatten_layers():
        store: dict[str, Any] = {}
        layer.save_own_variables(store)
        if store:
            yield layer, store


def _to_arrays(values: Sequence[Any]) -> Arrays:
    return {str(i): _to_numpy(value) for i, value in enumerate(values)}


def _to_numpy(value: Any) -> np.ndarray[Any, Any]:
    # A copy: on PyTorch the array would change with the variable.
    array = np.array(keras.ops.convert_to_numpy(value))
    # NumPy cannot save bfloat16 and the like; float32 holds their values.
    return array.astype("float32") if array.dtype.kind == "V" else array


def _described(path: str, value: Any) -> list[Any]:
    dtype = keras.backend.standardize_dtype(value.dtype)
    return [path, list(value.shape), dtype]


def _assign(variables: Sequence[Any], arrays: Arrays) -> None:
    for variable, array in zip(variables, arrays.values(), strict=True):
        variable.assign(array)


def _load_old_weights(model: keras.Model, path: Path) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model.load_weights(path / OLD_WEIGHTS)
    for warning in told:
        # Keras only warns if the optimizer does not fit.
        if "Skipping variable loading" in str(warning.message):
            raise ValueError(warning.message)


def _config(value: Any) -> Any:
    """Returns the class and the arguments of a loss or an optimizer."""
    serialize = keras.saving.serialize_keras_object
    try:
        # `serialize` imports TensorFlow if it is installed; avoid it.
        config = (
            {
                "class_name": type(value).__name__,
                "config": value.get_config(),
            }
            if hasattr(value, "get_config")
            else serialize(value)
        )
        return json.loads(json.dumps(_comparable(config), default=serialize))
    # Objects that cannot be serialized are compared by their type.
    except Exception:
        return {"class_name": type(value).__name__}


def _comparable(config: Any) -> Any:
    if isinstance(config, dict):
        if config.get("class_name") == "__lambda__":
            return "lambda"  # Its code contains line numbers.
        return {
            str(key): _comparable(value)
            for key, value in config.items()
            if key not in _IGNORED
        }
    if isinstance(config, (list, tuple)):
        return [_comparable(value) for value in config]
    return config


def _without_rate(config: Any) -> Any:
    """Removes a learning rate that callbacks may set; keeps a schedule."""
    if not isinstance(config, dict):
        return config
    return {
        key: _without_rate(value)
        for key, value in config.items()
        if key != "learning_rate" or isinstance(value, dict)
    }
