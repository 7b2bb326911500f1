"""The version of keras_ltssl."""

__version__ = "0.1.0"
