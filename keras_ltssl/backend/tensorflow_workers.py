"""The functions of `processes` for workers of `tf.distribute`.

Import this module only on the TensorFlow backend.
"""

import pickle
from typing import Any

import numpy as np
import tensorflow as tf


class Workers:
    """The processes that train together, and which of them this one is.

    Args:
        strategy: A `tf.distribute.MultiWorkerMirroredStrategy`.
    """

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy
        resolver = strategy.cluster_resolver
        cluster = resolver.cluster_spec()
        tasks = [
            (kind, index)
            for kind in ("chief", "worker")
            if kind in cluster.jobs
            for index in cluster.task_indices(kind)
        ]
        self.count = len(tasks)
        self.rank = tasks.index((resolver.task_type, resolver.task_id))

    def of_all(self, value: Any) -> list[Any]:
        """Returns the `value` of each process, which can be pickled."""
        content = pickle.dumps(value)
        ends = np.cumsum(self._gather(np.array([len(content)])))
        together = self._gather(np.frombuffer(content, "uint8"))
        parts = np.split(together.astype("uint8"), ends[:-1])
        return [pickle.loads(part.tobytes()) for part in parts]

    def of_first(self, value: Any) -> Any:
        """Returns the `value` of the first process."""
        return self.of_all(value if self.rank == 0 else None)[0]

    def _gather(self, numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Returns the integers of each process, one after the other."""
        own = tf.constant(numbers.astype("int32"))

        def gather() -> Any:
            context = tf.distribute.get_replica_context()
            return context.all_gather(own, axis=0)

        gathered = self._strategy.run(gather)
        first, *_ = self._strategy.experimental_local_results(gathered)
        return np.asarray(first)


def workers_of(strategy: Any) -> Workers | None:
    """Returns the workers of a strategy, or `None` if there is only one.

    Args:
        strategy: Any `tf.distribute.Strategy`.
    """
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    if not several or strategy.cluster_resolver is None:
        return None
    workers = Workers(strategy)
    return workers if workers.count > 1 else None
