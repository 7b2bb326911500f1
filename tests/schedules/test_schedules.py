"""Schedules against closed forms, on numbers and inside a graph."""

import math

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt

ALL = [
    lt.schedules.ConstantTemperature(0.3),
    lt.schedules.CosineTemperature(0.05, 0.7, period=13),
    lt.schedules.LinearTemperature(0.7, 0.1, period=9),
    lt.schedules.RandomTemperature(0.1, 0.9, seed=4),
    lt.schedules.StepTemperature(0.1, 0.8, period=6),
    lt.schedules.TriangularTemperature(0.2, 0.6, period=5),
]
EPOCHS = [0, 0.25, 1, 2.5, 3, 7.75, 12, 100.5, 1999]


def test_cosine_follows_the_published_formula():
    schedule = lt.schedules.CosineTemperature(0.1, 1.0, period=400)
    for epoch in EPOCHS:
        expected = 0.1 + 0.9 * (1 + math.cos(2 * math.pi * epoch / 400)) / 2
        assert schedule(epoch) == pytest.approx(expected, abs=1e-12)


def test_cosine_period_is_twice_the_half_cycle_of_the_released_code():
    half_cycle = 200
    schedule = lt.schedules.CosineTemperature(0.1, 1.0, period=2 * half_cycle)
    for epoch in range(0, 800, 37):
        released = 0.1 + 0.45 * (1 + math.cos(math.pi * epoch / half_cycle))
        assert schedule(epoch) == pytest.approx(released, abs=1e-12)


def test_linear_stays_at_its_end():
    schedule = lt.schedules.LinearTemperature(1.0, 0.2, period=8)
    assert [schedule(e) for e in (0, 4, 8, 80)] == pytest.approx(
        [1.0, 0.6, 0.2, 0.2]
    )


def test_step_is_a_square_wave():
    schedule = lt.schedules.StepTemperature(0.1, 1.0, period=4)
    assert [schedule(e) for e in (0, 1.9, 2, 3.9, 4)] == [1, 1, 0.1, 0.1, 1]


def test_triangle_is_straight_on_both_sides():
    schedule = lt.schedules.TriangularTemperature(0.2, 1.0, period=8)
    values = [schedule(epoch) for epoch in range(9)]
    assert values == pytest.approx(
        [1.0, 0.8, 0.6, 0.4, 0.2, 0.4, 0.6, 0.8, 1.0]
    )


def test_random_is_uniform_seeded_and_constant_inside_an_epoch():
    schedule = lt.schedules.RandomTemperature(0.1, 0.9, seed=1)
    values = np.array([schedule(epoch) for epoch in range(2000)])
    assert 0.1 <= values.min() < 0.11
    assert 0.89 < values.max() <= 0.9
    assert abs(values.mean() - 0.5) < 0.02
    again = lt.schedules.RandomTemperature(0.1, 0.9, seed=1)
    other = lt.schedules.RandomTemperature(0.1, 0.9, seed=2)
    assert again(17.9) == schedule(17) != other(17)


@pytest.mark.every_backend
@pytest.mark.parametrize("schedule", ALL, ids=lambda s: type(s).__name__)
def test_tensor_and_number_give_the_same(schedule):
    for epoch in EPOCHS:
        inside = schedule(ops.convert_to_tensor(epoch, dtype="float32"))
        assert keras.backend.standardize_dtype(inside.dtype) == "float32"
        assert inside.shape == ()
        assert float(inside) == pytest.approx(schedule(epoch), abs=1e-5)


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: type(s).__name__)
def test_serialization_keeps_the_schedule(schedule):
    config = keras.saving.serialize_keras_object(schedule)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(schedule)
    assert [again(e) for e in EPOCHS] == [schedule(e) for e in EPOCHS]
    assert repr(again) == repr(schedule)


@pytest.mark.parametrize("period", [0, -1, float("nan"), True, "long"])
def test_impossible_period_is_refused(period):
    for cls in (
        lt.schedules.CosineTemperature,
        lt.schedules.LinearTemperature,
        lt.schedules.StepTemperature,
        lt.schedules.TriangularTemperature,
    ):
        with pytest.raises(ValueError, match="`period` must be a finite"):
            cls(period=period)


@pytest.mark.parametrize("value", [0, -0.5, float("nan"), "hot"])
def test_impossible_temperature_is_refused(value):
    with pytest.raises(ValueError, match="`minimum` must be a finite number"):
        lt.schedules.CosineTemperature(minimum=value)
    with pytest.raises(ValueError, match="`temperature` must be a finite"):
        lt.schedules.ConstantTemperature(value)
    with pytest.raises(ValueError, match="`end` must be a finite number"):
        lt.schedules.LinearTemperature(end=value)


def test_reversed_range_is_refused():
    with pytest.raises(ValueError, match="`minimum` must not exceed"):
        lt.schedules.StepTemperature(minimum=1.0, maximum=0.1)


@pytest.mark.parametrize("epoch", [-1, float("nan")])
def test_impossible_epoch_is_refused(epoch):
    with pytest.raises(ValueError, match="`epoch` must be a finite number"):
        lt.schedules.CosineTemperature()(epoch)


def test_impossible_seed_is_refused():
    with pytest.raises(ValueError, match="`seed` must be an integer"):
        lt.schedules.RandomTemperature(seed=1.5)
