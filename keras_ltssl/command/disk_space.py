"""Whether a disk is large enough for what a run will write."""

from pathlib import Path

import keras
import numpy as np

from keras_ltssl.command.run_folder import RunFolder, check_space
from keras_ltssl.models import ContrastiveModel

# Bytes of a report, with its pictures.
_REPORT = 20_000_000


def check_disk(
    model: ContrastiveModel, folder: RunFolder, num_images: int
) -> None:
    """Raises if a disk is too small for what the run will write."""
    weights = sum(_bytes_of(weight) for weight in model.variables)
    # Two moments of AdamW; the momentum of SGD.
    moments = 2 if isinstance(model.optimizer, keras.optimizers.AdamW) else 1
    checkpoint = weights + moments * sum(
        _bytes_of(weight) for weight in model.trainable_variables
    )
    # Two are kept, and one is being written.
    missing = 3 * checkpoint - _size_on_disk(folder.checkpoints)
    features = 4 * num_images * int(model.encoder.output_shape[-1])
    check_space(
        folder.path,
        max(0, missing) + weights + features + _REPORT,
        f"3 checkpoints of {checkpoint / 1e6:,.1f} MB, the encoder, the "
        "features and the report",
    )


def _bytes_of(weight: keras.Variable) -> int:
    return 4 * int(np.prod(weight.shape))


def _size_on_disk(folder: Path) -> int:
    return sum(
        file.stat().st_size for file in folder.rglob("*") if file.is_file()
    )
