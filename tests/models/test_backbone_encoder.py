"""Networks of keras.applications as encoders, each with its preprocessing."""

import sys
import zipfile

import keras
import numpy as np
import pytest

import keras_ltssl as lt
from keras_ltssl.models.applications import applications, channels_of

SHAPE = (32, 32, 3)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (4, *SHAPE), "uint8")


def preprocess_input_of(name):
    return sys.modules[applications()[name].__module__].preprocess_input


def features_of(model, images):
    return model.predict(np.asarray(images, "float32"), verbose=0)


def assert_same(found, expected):
    """Compares relative to the largest, for random networks say little."""
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)


def test_scaling_is_preprocess_input_of_every_network(images):
    assert len(applications()) > 30
    for name in applications():
        preprocess_input = preprocess_input_of(name)
        scale, offset, takes_bgr = channels_of(preprocess_input)
        pixels = images.astype("float32")
        found = (pixels[..., ::-1] if takes_bgr else pixels) * scale + offset
        np.testing.assert_allclose(
            found, preprocess_input(pixels.copy()), atol=2e-5, err_msg=name
        )


# BGR less the mean, [-1, 1], and mean and deviation.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("VGG16", marks=pytest.mark.every_backend),
        "MobileNet",
        "DenseNet121",
    ],
)
def test_a_network_gets_what_preprocess_input_makes(name, images, tmp_path):
    encoder = lt.models.backbone_encoder(name, SHAPE)
    last = [each for each in encoder.layers if "rescaling" in each.name][-1]
    keras.Model(encoder.input, last.output).save(tmp_path / "a.keras")
    prepare = keras.models.load_model(tmp_path / "a.keras")

    found = features_of(prepare, images)

    expected = preprocess_input_of(name)(images.astype("float32"))
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_array_equal(found, prepare.predict(images, verbose=0))


# The last one preprocesses by itself.
@pytest.mark.parametrize("name", ["VGG16", "MobileNet", "MobileNetV3Small"])
def test_a_saved_encoder_is_the_network_after_preprocess_input(
    name, images, tmp_path
):
    encoder = lt.models.backbone_encoder(name, SHAPE)
    prepared = preprocess_input_of(name)(images.astype("float32"))
    expected = features_of(encoder.layers[-1], prepared)

    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.models.load_model(tmp_path / "encoder.keras")

    assert_same(features_of(encoder, images), expected)
    assert_same(features_of(loaded, images), expected)
    with zipfile.ZipFile(tmp_path / "encoder.keras") as file:
        assert b"keras_ltssl" not in file.read("config.json")


def test_other_value_ranges_and_gray_images_give_the_same_features(images):
    def encoder(shape, value_range):
        keras.utils.set_random_seed(0)
        return lt.models.backbone_encoder(
            "VGG16", shape, value_range=value_range
        )

    gray = images[..., :1]
    expected = features_of(
        encoder(SHAPE, (0, 255)), np.repeat(gray, 3, axis=-1)
    )

    found = features_of(encoder((32, 32, 1), (-1, 1)), gray / 127.5 - 1)

    assert_same(found, expected)


def test_a_function_and_a_name_in_any_spelling_are_the_same_network():
    names = {
        lt.models.backbone_encoder(each, SHAPE).name
        for each in (
            keras.applications.MobileNetV2,
            "MobileNetV2",
            "mobilenet_v2",
            "mobilenet-v2",
        )
    }
    assert names == {"mobilenetv2"}
    named = lt.models.backbone_encoder("MobileNet", SHAPE, name="eyes")
    assert named.name == "eyes"


def test_pooling_takes_the_mean_or_the_largest_of_the_feature_map():
    shape = (64, 64, 3)  # Of which VGG makes 2 x 2 places.
    images = np.random.default_rng(0).integers(0, 256, (4, *shape), "uint8")

    def features(pooling):
        keras.utils.set_random_seed(0)
        encoder = lt.models.backbone_encoder("VGG16", shape, pooling=pooling)
        return features_of(encoder, images)

    mean, largest = features("avg"), features("max")
    assert (largest >= mean).all()
    assert (largest > mean).any()
    with pytest.raises(ValueError, match=r"'avg' or 'max' for VGG16"):
        lt.models.backbone_encoder("VGG16", shape, pooling="token")


def test_weights_of_a_file_are_loaded(images, tmp_path):
    first = lt.models.backbone_encoder("MobileNet", SHAPE, alpha=0.25)
    path = str(tmp_path / "no_top.weights.h5")
    first.layers[-1].save_weights(path)

    second = lt.models.backbone_encoder(
        "MobileNet", SHAPE, weights=path, alpha=0.25
    )

    np.testing.assert_array_equal(
        features_of(second, images), features_of(first, images)
    )


def test_weights_that_cannot_be_downloaded_are_one_sentence(monkeypatch):
    def fail(*arguments, **others):
        raise Exception("URL fetch failure on https://a: None -- no name")

    module = sys.modules[keras.applications.MobileNet.__module__]
    monkeypatch.setattr(module.file_utils, "get_file", fail)

    with pytest.raises(OSError, match=r"'imagenet' of MobileNet cannot be .*"):
        lt.models.backbone_encoder("MobileNet", (128, 128, 3), "imagenet")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"backbone": "Xception"},
            "at least 71 x 71 pixels for Xception. Received: input_shape=",
        ),
        ({"backbone": "MobileNet", "alfa": 0.5}, "alpha.*Received: alfa"),
        (
            {"backbone": "EfficientNetV2B0", "include_preprocessing": False},
            "none. Received: include_preprocessing",
        ),
        (
            {"backbone": "mobilnet", "weights": "imagenet"},
            "one of .*MobileNetV2.* Received: weights='imagenet'",
        ),
        ({"backbone": "mobilnet", "alpha": 1.0}, "Received: .*, alpha"),
    ],
)
def test_what_a_network_does_not_take_is_one_sentence(arguments, message):
    if message is None:
        lt.models.backbone_encoder(input_shape=SHAPE, **arguments)
        return
    with pytest.raises(ValueError, match=message):
        lt.models.backbone_encoder(input_shape=SHAPE, **arguments)


def test_a_framework_that_copies_its_encoder_trains_one(images):
    encoder = lt.models.backbone_encoder("MobileNet", SHAPE, alpha=0.25)
    model = lt.models.MomentumContrast(encoder, queue_size=8)
    model.compile("sgd", loss=lt.losses.NTXentLoss())
    # Copies: on PyTorch, arrays may be the memory of the weights.
    before = [
        np.array(keras.ops.convert_to_numpy(weight))
        for weight in encoder.trainable_weights
    ]

    # Of the first batch, the queue holds no negatives yet.
    history = model.fit(images, batch_size=4, epochs=2, verbose=0).history

    assert 0 < history["loss"][-1] < np.inf
    assert all(
        (keras.ops.convert_to_numpy(now) != then).any()
        for now, then in zip(encoder.trainable_weights, before, strict=True)
    )
