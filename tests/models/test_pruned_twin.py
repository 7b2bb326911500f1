"""A layer's twin: its masks, its statistics, and whose weights they are."""

import keras
import numpy as np
import pytest
from keras import ops

import reference
from keras_ltssl.models.pruned_twin import (
    PrunedTwin,
    kernels_of,
    magnitude_masks,
)


class Block(keras.layers.Layer):
    """A layer of layers, as users write them."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.convolution = keras.layers.SeparableConv2D(5, 3)
        self.norm = keras.layers.BatchNormalization(momentum=0.5)

    def call(self, x, training=None):
        return ops.relu(self.norm(self.convolution(x), training=training))


def network():
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(momentum=0.5),
            Block(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(6),
        ]
    )


def images():
    return np.random.default_rng(0).normal(size=(5, 8, 8, 2)).astype("float32")


def numpy(weights):
    return [ops.convert_to_numpy(weight) for weight in weights]


@pytest.mark.every_backend
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9, 0.999])
def test_masks_equal_a_full_sort_over_all_kernels(share):
    random = np.random.default_rng(1)
    kernels = [random.normal(size=size) for size in ((7, 3), (2, 2, 4), (5,))]
    kernels[2][:2] = 0.5  # Equal magnitudes.
    masks = magnitude_masks([k.astype("float32") for k in kernels], share)
    expected = reference.pruned([k.astype("float32") for k in kernels], share)
    for kernel, mask, wanted in zip(kernels, masks, expected, strict=True):
        np.testing.assert_array_equal(
            np.where(mask, kernel.astype("float32"), 0.0), wanted
        )


def test_kernels_are_those_of_convolutions_and_dense_layers_at_any_depth():
    assert [kernel.name for kernel in kernels_of(network())] == [
        "kernel",
        "depthwise_kernel",
        "pointwise_kernel",
        "kernel",
    ]


@pytest.mark.every_backend
@pytest.mark.parametrize("training", [False, True])
def test_it_gives_what_a_network_with_pruned_weights_gives(training):
    layer, twin = network(), PrunedTwin(0.7)
    twin.build_for(layer)
    twin.update_masks(layer)
    kernels = kernels_of(layer)
    other = keras.models.clone_model(layer)
    other.set_weights(numpy(layer.weights))
    values = reference.pruned(numpy(kernels), 0.7)
    for kernel, value in zip(kernels_of(other), values, strict=True):
        kernel.assign(value)
    before = numpy(layer.weights)
    np.testing.assert_allclose(
        ops.convert_to_numpy(twin.run(layer, images(), training)),
        ops.convert_to_numpy(other(images(), training=training)),
        atol=1e-5,
    )
    # The layer itself did not change, and the twin's statistics are the ones
    # that a network of its own would have.
    for old, new in zip(before, numpy(layer.weights), strict=True):
        np.testing.assert_array_equal(old, new)
    expected = numpy(w for w in other.weights if not w.trainable)
    for own, wanted in zip(numpy(twin.statistics), expected, strict=True):
        np.testing.assert_allclose(own, wanted, atol=1e-5)
    assert len(expected) == 4


def test_it_takes_over_the_statistics_that_the_layer_has():
    layer, twin = network(), PrunedTwin(0.7)
    for weight in layer.weights:
        weight.assign(np.full(weight.shape, 0.25))
    twin.build_for(layer)
    for statistic in numpy(twin.statistics):
        np.testing.assert_array_equal(statistic, 0.25)


@pytest.mark.every_backend
def test_random_numbers_go_on_and_frozen_kernels_are_pruned_but_kept():
    layer = keras.Sequential(
        [
            keras.Input((50,)),
            keras.layers.Dense(40, trainable=False),
            keras.layers.Dropout(0.5),
        ]
    )
    twin = PrunedTwin(0.9)
    twin.build_for(layer)
    twin.update_masks(layer)
    before = numpy(layer.weights)
    x = np.ones((1, 50), "float32")
    one, two = (
        ops.convert_to_numpy(twin.run(layer, x, training=True))
        for _ in range(2)
    )
    assert (one != two).any()
    for old, new in zip(before, numpy(layer.weights), strict=True):
        np.testing.assert_array_equal(old, new)
    layer.layers[
        0
    ].trainable = True  # From now on, its bias is shared like all.
    layer.layers[0].bias.assign(np.full(40, 1e3, "float32"))
    assert ops.convert_to_numpy(twin.run(layer, x, False)).min() > 500


def test_a_network_without_kernels_is_refused_by_what_it_has():
    layer = keras.Sequential(
        [keras.Input((4,)), keras.layers.BatchNormalization()]
    )
    with pytest.raises(ValueError, match=r"kernels to prune.*moving_mean"):
        PrunedTwin(0.5).build_for(layer)
