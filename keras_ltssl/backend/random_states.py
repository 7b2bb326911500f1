"""The state of the seed generators of a model."""

from typing import Any

import keras


def random_states(model: keras.Model) -> list[Any]:
    """Returns the state variables of a model's seed generators.

    These are all variables that are neither weights nor metrics.

    Args:
        model: A built model.
    """
    known = {id(variable) for variable in model.weights}
    known.update(id(variable) for variable in model.metrics_variables)
    return [v for v in model.variables if id(v) not in known]
