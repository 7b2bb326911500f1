"""The choice of a backend for Keras."""

import importlib.util
import json
import os
from pathlib import Path

# What Keras takes, in its own order.
BACKENDS = ("tensorflow", "torch", "jax")


def choose_backend() -> None:
    """Sets the environment variable `KERAS_BACKEND`, if nobody has set it.

    Keras would take the backend of its file `keras.json`, which it writes by
    itself and which names TensorFlow. That one comes first, if it is installed.

    Raises:
        ImportError: If no backend is installed, or not the one that was chosen.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    chosen = os.environ.get("KERAS_BACKEND")
    installed = [
        name for name in BACKENDS if importlib.util.find_spec(name) is not None
    ]
    if chosen in BACKENDS and chosen not in installed:
        raise ImportError(
            f"KERAS_BACKEND must name a package that is installed. Received: "
            f"KERAS_BACKEND={chosen}, with {' and '.join(installed) or 'none'} "
            "installed"
        )
    if chosen:
        return
    if not installed:
        raise ImportError(
            "Keras needs TensorFlow, PyTorch or JAX, and none of them is "
            "installed. One of them comes with `pip install torch`."
        )
    configured = _configured()
    os.environ["KERAS_BACKEND"] = (
        configured if configured in installed else installed[0]
    )


def _configured() -> str | None:
    """Returns the backend that Keras' own file names, if there is one."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        named = json.loads((home / "keras.json").read_text())["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(named)
