"""Initializers: fixed targets that are as far apart as can be."""

from keras_ltssl.initializers.simplex_etf import SimplexETF, largest_cosine

__all__ = ["SimplexETF", "largest_cosine"]
