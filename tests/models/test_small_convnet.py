import keras
import numpy as np
import pytest

from keras_ltssl.models.small_convnet import small_convnet

rng = np.random.default_rng(0)


def test_output_is_one_vector_an_image():
    assert small_convnet().output_shape == (None, 128)
    assert small_convnet((12, 12, 3), width=4).output_shape == (None, 16)


def test_number_of_weights_is_as_derived():
    # 3 x 3 kernels without bias; scale and shift per channel.
    kernels = 9 * (3 * 32 + 32 * 64 + 64 * 128)
    scales = 2 * (32 + 64 + 128)
    trainable = small_convnet().trainable_weights
    assert sum(int(np.prod(w.shape)) for w in trainable) == kernels + scales


def test_raw_images_are_brought_to_one_scale_inside():
    pixels = rng.integers(0, 256, (5, 12, 12, 3)).astype("float32")
    raw = small_convnet((12, 12, 3), width=4)
    centered = small_convnet((12, 12, 3), width=4, value_range=(-1, 1))
    centered.set_weights(raw.get_weights())
    np.testing.assert_allclose(
        raw.predict(pixels, verbose=0),
        centered.predict(pixels / 127.5 - 1, verbose=0),
        atol=1e-5,
    )


@pytest.mark.every_backend
def test_saved_encoder_takes_raw_uint8_images(tmp_path):
    encoder = small_convnet((12, 12, 3), width=4)
    images = rng.integers(0, 256, (5, 12, 12, 3)).astype("uint8")
    encoder.save(tmp_path / "encoder.keras")
    again = keras.saving.load_model(tmp_path / "encoder.keras")
    np.testing.assert_allclose(
        again.predict(images, verbose=0),
        encoder.predict(images, verbose=0),
        atol=1e-6,
    )


def test_a_few_steps_of_training_lower_the_loss():
    encoder = small_convnet((12, 12, 3), width=4)
    model = keras.Sequential([encoder, keras.layers.Dense(2)])
    labels = np.arange(32) % 2
    images = (
        rng.integers(0, 100, (32, 12, 12, 3))
        + 100 * labels[:, None, None, None]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    history = model.fit(images, labels, epochs=10, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]


@pytest.mark.parametrize(
    "arguments",
    [
        {"input_shape": (32, 32)},
        {"input_shape": (None, None, 3)},
        {"input_shape": (0, 32, 3)},
        {"width": 0},
        {"width": 1.5},
        {"value_range": (1, 0)},
        {"value_range": (0, float("nan"))},
    ],
)
def test_bad_argument_is_named(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"`{name}` must.*Received"):
        small_convnet(**arguments)


def test_channels_first_is_refused():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="channels last"):
            small_convnet()
    finally:
        keras.config.set_image_data_format(before)
