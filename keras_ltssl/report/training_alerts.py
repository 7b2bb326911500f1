"""What went wrong in a training, in sentences."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.learning_limits import COLLAPSED_SPREAD, is_at_chance
from keras_ltssl.report.charts import number
from keras_ltssl.report.words import count

# With fewer epochs it is too early to say that nothing was learned.
ENOUGH_EPOCHS = 3


def training_alerts(
    facts: dict[str, Any],
    epochs: NDArray[np.float64],
    columns: dict[str, NDArray[np.float64]],
) -> list[str]:
    """Returns sentences on what went wrong in a training.

    Args:
        facts: What `run.json` holds.
        epochs: Epochs counted from 1, `(epochs,)`.
        columns: Columns of `history.csv`, each `(epochs,)`.
    """
    alerts = []
    asked = facts.get("epochs")
    if isinstance(asked, int) and len(epochs) and epochs[-1] < asked:
        alerts.append(
            f"The training is not finished: {count(int(epochs[-1]), 'epoch')} "
            f"of {asked:,}. Start it again with the same folder to continue."
        )
    loss = columns.get("loss")
    if loss is not None and not np.isfinite(loss).all():
        first = epochs[np.flatnonzero(~np.isfinite(loss))[0]]
        alerts.append(
            f"The loss was not a finite number in epoch {first:.0f}. What was "
            "learned after it is of no use; try a smaller learning rate or "
            "float32."
        )
    accuracy = columns.get("contrastive_accuracy")
    chance = columns.get("contrastive_chance")
    if (
        accuracy is not None
        and chance is not None
        and len(epochs) >= ENOUGH_EPOCHS
        and is_at_chance(accuracy[-1], chance[-1])
        # BYOL learns long before it tells images apart.
        and facts.get("framework") != "byol"
    ):
        alerts.append(
            "The two views of an image do not find each other: contrastive "
            f"accuracy {number(accuracy[-1])}, by chance "
            f"{number(chance[-1])}. Nothing has been learned, so do not rely "
            "on what follows."
        )
    spread = columns.get("spread")
    if spread is not None and len(epochs) and spread[-1] < COLLAPSED_SPREAD:
        alerts.append(
            f"The training has collapsed: the spread is {number(spread[-1])}, "
            "where 1 is even, so all images look the same to the model. Do "
            "not rely on what follows."
        )
    return alerts
