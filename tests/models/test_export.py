"""The encoder can be exported as docs/getting_started.md says."""

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
        features = torch.cat([exported(torch.tensor(x[None])) for x in images])
        features = features.detach()
    else:
        tensorflow = pytest.importorskip("tensorflow")
        path = str(tmp_path / "encoder")
        model.encoder.export(path, verbose=False)
        # Named, for without the object its variables are gone.
        exported = tensorflow.saved_model.load(path)
        features = exported.serve(images)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
