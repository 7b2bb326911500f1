"""Where the random numbers of a model have come to."""

from typing import Any

import keras


def random_states(model: keras.Model) -> list[Any]:
    """Returns the variables of a model's seed generators: all but weights."""
    known = {id(variable) for variable in model.weights}
    known.update(id(variable) for variable in model.metrics_variables)
    return [v for v in model.variables if id(v) not in known]
