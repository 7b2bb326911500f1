"""From where on the signs of learning say that nothing is learned."""

COLLAPSED_SPREAD = 0.02
"""A smaller spread is a collapse. An untrained network has more."""


def is_at_chance(accuracy: float, chance: float) -> bool:
    """Returns whether a contrastive accuracy is near chance.

    That is below twice the chance, or below a quarter of the way from chance
    to 1. BYOL may learn at chance, so do not ask of its accuracy.

    Args:
        accuracy: The contrastive accuracy of an epoch.
        chance: What guessing would reach.

    Example:

    >>> from keras_ltssl.learning_limits import is_at_chance
    >>> is_at_chance(0.012, 0.01), is_at_chance(0.6, 0.01)
    (True, False)
    """
    return bool(accuracy < min(2 * chance, chance + (1 - chance) / 4))
