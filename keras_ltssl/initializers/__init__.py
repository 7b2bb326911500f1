"""Initializers: fixed targets that are as far apart as can be."""

from keras_ltssl.initializers.simplex_etf import SimplexETF

__all__ = ["SimplexETF"]
