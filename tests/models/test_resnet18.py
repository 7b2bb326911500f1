import keras
import numpy as np
import pytest

from keras_ltssl.models.resnet18 import resnet18

rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def cifar():
    return resnet18()


@pytest.fixture(scope="module")
def imagenet():
    return resnet18((224, 224, 3), stem="imagenet", zero_init_residual=True)


def trainable_numbers(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def derived_numbers(stem_size):
    """Kernels without bias, and scale and shift of each normalization."""
    total = stem_size**2 * 3 * 64 + 2 * 64
    before = 64
    for channels in (64, 128, 256, 512):
        total += 9 * before * channels + 3 * 9 * channels**2
        total += 4 * 2 * channels
        if before != channels:
            total += before * channels + 2 * channels
        before = channels
    return total


def spatial_sizes(model):
    return [
        layer.output.shape[1]
        for layer in model.layers
        if isinstance(layer, keras.layers.Add)
    ]


def test_number_of_weights_with_the_cifar_stem(cifar):
    assert derived_numbers(3) == 11_168_832
    assert trainable_numbers(cifar) == 11_168_832


def test_number_of_weights_with_the_imagenet_stem(imagenet):
    # 11,689,512 with the classifier of 512 * 1000 + 1000.
    assert derived_numbers(7) == 11_689_512 - 513_000
    assert trainable_numbers(imagenet) == derived_numbers(7)


def test_stems_shrink_the_image_by_one_and_by_four(cifar, imagenet):
    assert spatial_sizes(cifar) == [32, 32, 16, 16, 8, 8, 4, 4]
    assert spatial_sizes(imagenet) == [56, 56, 28, 28, 14, 14, 7, 7]


def test_kernels_start_with_variance_two_over_fan_out(cifar):
    for layer in cifar.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = keras.ops.convert_to_numpy(layer.kernel.value)
            size, _, _, channels = kernel.shape
            expected = np.sqrt(2 / (size**2 * channels))
            assert abs(kernel.std() / expected - 1) < 0.1
            # Not truncated: some lie beyond two standard deviations.
            assert np.abs(kernel).max() > 2.3 * expected


def test_zero_scales_make_every_block_the_identity_at_first(imagenet):
    zeros = [
        (keras.ops.convert_to_numpy(layer.gamma.value) == 0).all()
        for layer in imagenet.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert sum(zeros) == 8
    assert len(zeros) == 20


def test_saved_encoder_takes_raw_uint8_images(cifar, tmp_path):
    encoder = cifar
    images = rng.integers(0, 256, (3, 32, 32, 3)).astype("uint8")
    features = encoder.predict(images, verbose=0)
    assert features.shape == (3, 512)
    assert np.isfinite(features).all()
    assert features.std() > 0
    encoder.save(tmp_path / "encoder.keras")
    again = keras.saving.load_model(tmp_path / "encoder.keras")
    np.testing.assert_allclose(
        again.predict(images, verbose=0), features, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"stem": "tiny"},
        {"input_shape": (32, 32)},
        {"value_range": (1, 0)},
    ],
)
def test_bad_argument_is_named(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"`{name}` must.*Received"):
        resnet18(**arguments)
