"""Temperature schedules: pure, serializable functions of the epoch."""

from keras_ltssl.schedules.constant_temperature import ConstantTemperature
from keras_ltssl.schedules.cosine_temperature import CosineTemperature
from keras_ltssl.schedules.linear_temperature import LinearTemperature
from keras_ltssl.schedules.random_temperature import RandomTemperature
from keras_ltssl.schedules.step_temperature import StepTemperature
from keras_ltssl.schedules.temperature_schedule import TemperatureSchedule
from keras_ltssl.schedules.triangular_temperature import TriangularTemperature

__all__ = [
    "ConstantTemperature",
    "CosineTemperature",
    "LinearTemperature",
    "RandomTemperature",
    "StepTemperature",
    "TemperatureSchedule",
    "TriangularTemperature",
]
