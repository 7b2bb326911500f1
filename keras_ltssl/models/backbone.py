"""A network that an encoder is built around, with its preprocessing."""

from typing import NamedTuple

import keras


class Backbone(NamedTuple):
    """A network, and what it wants of images with values 0 to 255.

    Attributes:
        model: Images to a feature map, to tokens or to features.
        scale: Factor of each channel.
        offset: What is added to each channel after that.
        takes_bgr: Whether blue comes first. Factors are in that order, too.
        name: What it is called in messages.
    """

    model: keras.Model
    scale: list[float]
    offset: list[float]
    takes_bgr: bool
    name: str
