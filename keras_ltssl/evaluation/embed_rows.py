"""Embeds samples, batch by batch, in memory."""

from typing import Any

import keras
import numpy as np

from keras_ltssl.backend.replicas import shared_out

# Values that a Keras progress bar takes.
VERBOSE = (0, 1, 2, False, True)


def outputs_of(network: keras.Model, batch: Any) -> np.ndarray[Any, Any]:
    """Returns the outputs of `network` for a batch.

    Args:
        network: The model.
        batch: Array of samples. The devices of one process share its rows.

    Returns:
        Array, one row for each sample.
    """
    batch = np.asarray(batch)
    outputs = network.predict_on_batch(shared_out(network, batch))
    # Of workers of TensorFlow, each computes the whole batch, and Keras returns
    # what all of them did, one after the other.
    return np.asarray(outputs)[: len(batch)]


def embed_rows(
    network: keras.Model,
    samples: Any,
    batch_size: int,
    verbose: int = 0,
    rows: np.ndarray[Any, Any] | None = None,
) -> np.ndarray[Any, Any]:
    """Returns the outputs of `network` for samples, batch by batch.

    It does not call `predict`, whose data loader on PyTorch draws from the
    generator that shuffles the training data. A run with a callback would then
    differ from the same run without it.

    Args:
        network: The model.
        samples: Array, or another object that is indexed by slices and by
            row numbers.
        batch_size: Number of samples in a batch.
        verbose: `1` shows the progress. Defaults to `0`.
        rows: Rows to embed. Defaults to `None`, which embeds all rows.

    Returns:
        Array `(rows, ...)` of outputs.
    """
    count = len(samples) if rows is None else len(rows)
    starts = range(0, count, batch_size)
    progress = keras.utils.Progbar(len(starts), verbose=verbose)
    outputs = None
    for start in starts:
        part = slice(start, start + batch_size)
        batch = samples[part if rows is None else rows[part]]
        features = outputs_of(network, batch)
        if outputs is None:  # Allocated once: a list would need a copy.
            outputs = np.empty((count, *features.shape[1:]), features.dtype)
        outputs[part] = features
        progress.add(1)
    assert outputs is not None
    return outputs
