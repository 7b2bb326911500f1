"""Embeds a whole set of samples between two epochs of training."""

from typing import Any

import keras
import numpy as np


def embed(
    network: keras.Model, samples: Any, batch_size: int, verbose: int = 0
) -> np.ndarray[Any, Any]:
    """Returns the outputs of `network` for all samples, batch by batch.

    Not `predict`: on PyTorch its data loader draws from the generator that
    shuffles the training data, so that a run with a callback would differ from
    the same run without it.
    """
    starts = range(0, len(samples), batch_size)
    progress = keras.utils.Progbar(len(starts), verbose=verbose)
    outputs = []
    for start in starts:
        batch = samples[start : start + batch_size]
        outputs.append(np.asarray(network.predict_on_batch(batch)))
        progress.add(1)
    return np.concatenate(outputs)
