"""Methods by their names, for the command and for the examples."""

import pytest

from keras_ltssl.command import recipe


@pytest.mark.parametrize(("size", "stride"), [(32, 1), (128, 2)])
def test_resnet18_halves_only_large_images_at_once(size, stride):
    encoder = recipe.build_encoder("resnet18", (size, size, 3))
    first = next(layer for layer in encoder.layers if hasattr(layer, "strides"))
    assert first.strides == (stride, stride)


def test_ts_swings_around_the_temperature_in_cycles_of_at_least_three_epochs():
    for epochs, period in ((100, 20.0), (6, 3.0)):
        (callback,) = recipe.build_callbacks({"ts"}, epochs, (0.1, 0.3))
        schedule = callback.schedule
        assert (schedule.minimum, schedule.maximum) == (0.1, 0.3)
        assert schedule.period == period


def test_gh_brings_its_callback():
    (callback,) = recipe.build_callbacks({"gh"}, 100, (0.1, 0.3))
    assert callback.interval == 2
    assert recipe.build_callbacks({"bcl"}, 100, (0.1, 0.3)) == []
