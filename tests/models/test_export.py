"""The encoder can be exported as docs/getting_started.md says."""

import importlib.util

import keras
import numpy as np
import pytest

import keras_ltssl as lt

pytestmark = pytest.mark.every_backend


# What TensorFlow and PyTorch say of their own doings while they export.
@pytest.mark.filterwarnings("ignore")
def test_an_exported_encoder_gives_the_same_features(tmp_path):
    encoder = lt.models.small_convnet((8, 8, 3), width=2)
    model = lt.models.ContrastiveModel(encoder)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3))
    images = images.astype("float32")
    expected = model.encoder.predict(images, verbose=0)
    if keras.backend.backend() == "torch":
        import torch

        path = str(tmp_path / "encoder.pt2")
        model.encoder.export(path, format="torch", verbose=False)
        exported = torch.export.load(path).module()
        # Keras fixes the batch at 1.
        inputs = keras.ops.convert_to_tensor(images)
        features = torch.cat([exported(x[None]) for x in inputs])
        features = keras.ops.convert_to_numpy(features)
    else:
        tensorflow = pytest.importorskip("tensorflow")
        path = str(tmp_path / "encoder")
        model.encoder.export(path, verbose=False)
        # Named, for without the object its variables are gone.
        exported = tensorflow.saved_model.load(path)
        features = exported.serve(images)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


# The package that writes ONNX on each backend.
WRITER = {"tensorflow": "tf2onnx", "torch": "onnx", "jax": "jax2onnx"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["small_convnet", "VGG16"])
def test_onnx_gives_the_same_features_for_any_number_of_images(kind, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    writer = WRITER[keras.backend.backend()]
    if importlib.util.find_spec(writer) is None:
        pytest.skip(f"Keras needs {writer} for it.")
    if kind == "VGG16" and writer == "jax2onnx":
        pytest.skip("jax2onnx writes a max pooling that does not run.")
    if kind == "VGG16":  # Turns channels around and scales each of its own.
        encoder = lt.models.backbone_encoder(kind, (32, 32, 3))
    else:
        encoder = lt.models.small_convnet((32, 32, 3), width=4)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3))
    images = images.astype("float32")
    expected = encoder.predict(images, verbose=0)
    path = str(tmp_path / "encoder.onnx")

    encoder(images[:1])  # On JAX, `predict` is no call to Keras.
    encoder.export(path, format="onnx", verbose=False)

    session = onnxruntime.InferenceSession(path)
    (features,) = session.run(None, {session.get_inputs()[0].name: images})
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)
