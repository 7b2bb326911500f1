"""Backbones of keras-hub as encoders, each with its preprocessing."""

import zipfile

import keras
import numpy as np
import pytest

import keras_ltssl as lt

keras_hub = pytest.importorskip("keras_hub")

pytestmark = pytest.mark.every_backend
SCALE, OFFSET = (0.01, 0.02, 0.03), (-1.0, 0.0, 1.0)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), "uint8")


def resnet(**arguments):
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        **arguments,
    )


def transformer():
    return keras_hub.models.ViTBackbone(
        image_shape=(32, 32, 3),
        patch_size=16,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=8,
    )


def converter():
    return keras_hub.layers.ResNetImageConverter(
        image_size=(9, 9), scale=SCALE, offset=OFFSET
    )


def prepared(images):
    """What the image converter makes of images, but for its resizing."""
    return (images * np.array(SCALE) + np.array(OFFSET)).astype("float32")


def features_of(model, images):
    return model.predict(np.asarray(images, "float32"), verbose=0)


def test_a_preset_brings_its_weights_and_its_preprocessing(images, tmp_path):
    backbone = resnet()
    backbone.save_to_preset(tmp_path / "preset")
    converter().save_to_preset(tmp_path / "preset")
    expected = features_of(backbone, prepared(images)).mean(axis=(1, 2))

    encoder = lt.models.backbone_encoder(
        str(tmp_path / "preset"), (32, 32, 3), weights="preset"
    )

    assert encoder.output_shape == (None, 64)
    np.testing.assert_allclose(
        features_of(encoder, images), expected, rtol=1e-4, atol=1e-5
    )
    other = lt.models.backbone_encoder(str(tmp_path / "preset"), (32, 32, 3))
    assert not np.allclose(features_of(other, images), expected, atol=1e-2)


def test_an_encoder_of_keras_layers_is_saved_without_keras_hub(
    images, tmp_path
):
    encoder = lt.models.backbone_encoder(
        resnet(), (32, 32, 1), pooling="max", image_converter=converter()
    )
    encoder.save(tmp_path / "encoder.keras")
    with zipfile.ZipFile(tmp_path / "encoder.keras") as file:
        config = file.read("config.json")
    loaded = keras.models.load_model(tmp_path / "encoder.keras")

    assert b"keras_hub" not in config
    assert b"keras_ltssl" not in config
    gray = images[..., :1]
    np.testing.assert_array_equal(
        features_of(loaded, gray), features_of(encoder, gray)
    )


def test_a_transformer_gives_its_first_token_or_the_mean(images, tmp_path):
    backbone = transformer()
    tokens = features_of(backbone, images / 127.5 - 1)
    for pooling, expected in (
        ("token", tokens[:, 0]),
        ("avg", tokens.mean(axis=1)),
    ):
        encoder = lt.models.backbone_encoder(
            backbone, (32, 32, 3), pooling=pooling
        )
        encoder.save(tmp_path / "encoder.keras")
        loaded = keras.models.load_model(tmp_path / "encoder.keras")

        for each in (encoder, loaded):
            np.testing.assert_allclose(
                features_of(each, images), expected, rtol=1e-4, atol=1e-5
            )


def text_backbone():
    return keras_hub.models.BertBackbone(
        vocabulary_size=9,
        num_layers=1,
        num_heads=1,
        hidden_dim=4,
        intermediate_dim=4,
        max_sequence_length=4,
    )


@pytest.mark.parametrize(
    ("backbone", "arguments", "message"),
    [
        (transformer, {"input_shape": (64, 64, 3)}, r"fit \(32, 32, 3\)"),
        (text_backbone, {}, "images alone.* token_ids"),
        (resnet, {"pooling": "token"}, "'avg' or 'max'"),
        (resnet, {"weights": "imagenet"}, "a file of weights"),
        (resnet, {"image_converter": 3}, "ImageConverter. Received"),
        (resnet, {"alpha": 0.5}, "network of keras.applications.*alpha"),
        (lambda: "no_such_preset", {}, "preset of keras-hub .*no_such_preset"),
        (lambda: "resnet_18_imagenet", {"weights": "imagenet"}, "'preset' for"),
    ],
)
def test_what_does_not_fit_is_one_sentence(backbone, arguments, message):
    arguments = {"input_shape": (32, 32, 3), **arguments}
    with pytest.raises(ValueError, match=message):
        lt.models.backbone_encoder(backbone(), **arguments)
