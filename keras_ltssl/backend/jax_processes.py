"""The functions of `processes` for those of `jax.distributed`.

Import this module only on the JAX backend.
"""

import pickle
from typing import Any

import numpy as np
from jax.experimental import multihost_utils


def of_all(value: Any) -> list[Any]:
    """Returns the `value` of each process; it must be possible to pickle it."""
    content = np.frombuffer(pickle.dumps(value), "uint8")
    sizes = multihost_utils.process_allgather(np.int32(len(content)))
    # All processes must send arrays of one size.
    padded = np.zeros(int(np.max(sizes)), "uint8")
    padded[: len(content)] = content
    rows = multihost_utils.process_allgather(padded)
    return [pickle.loads(np.asarray(row).tobytes()) for row in rows]


def of_first(value: Any) -> Any:
    """Returns the `value` of the first process."""
    content = np.frombuffer(pickle.dumps(value), "uint8")
    size = multihost_utils.broadcast_one_to_all(np.int32(len(content)))
    padded = np.zeros(int(size), "uint8")
    padded[: len(content)] = content[: int(size)]
    sent = multihost_utils.broadcast_one_to_all(padded)
    return pickle.loads(np.asarray(sent).tobytes())
