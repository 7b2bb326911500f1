import keras
import numpy as np
import pytest
from keras import ops

from keras_ltssl.layers.projection_head import ProjectionHead

features = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")


def test_head_is_linear_relu_linear():
    head = ProjectionHead(output_dim=3, hidden_dim=4)
    out = ops.convert_to_numpy(head(features))
    w1, b1, w2, b2 = head.get_weights()
    expected = np.maximum(features @ w1 + b1, 0) @ w2 + b2
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_hidden_width_is_that_of_the_input_unless_given():
    head = ProjectionHead()
    head.build((None, 5))
    assert [w.shape for w in head.weights] == [(5, 5), (5,), (5, 128), (128,)]


def test_batch_norm_normalizes_the_hidden_units():
    head = ProjectionHead(output_dim=3, batch_norm=True)
    out = ops.convert_to_numpy(head(features, training=True))
    w1, gamma, beta, _, _, w2, b2 = head.get_weights()
    hidden = features @ w1
    hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
    expected = np.maximum(hidden * gamma + beta, 0) @ w2 + b2
    np.testing.assert_allclose(out, expected, atol=1e-4)
    assert np.abs(ops.convert_to_numpy(head(features)) - out).max() > 1e-3


@pytest.mark.every_backend
@pytest.mark.parametrize("batch_norm", [False, True])
def test_saved_head_gives_the_same(tmp_path, batch_norm):
    inputs = keras.Input((5,))
    head = ProjectionHead(output_dim=3, hidden_dim=4, batch_norm=batch_norm)
    model = keras.Model(inputs, head(inputs))
    assert model.output_shape == (None, 3)
    model.save(tmp_path / "head.keras")
    again = keras.saving.load_model(tmp_path / "head.keras")
    assert again.layers[-1].get_config() == head.get_config()
    np.testing.assert_allclose(
        again.predict(features, verbose=0),
        model.predict(features, verbose=0),
        atol=1e-6,
    )


def test_dtype_policy_reaches_the_layers_inside():
    head = ProjectionHead(output_dim=3, dtype="mixed_float16")
    out = head(features)
    assert keras.backend.standardize_dtype(out.dtype) == "float16"
    assert {w.dtype for w in head.weights} == {"float32"}


@pytest.mark.parametrize(
    "arguments",
    [
        {"output_dim": 0},
        {"output_dim": 1.5},
        {"hidden_dim": 0},
        {"hidden_dim": "wide"},
    ],
)
def test_bad_argument_is_named(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"`{name}` must.*Received"):
        ProjectionHead(**arguments)


def test_feature_map_is_refused_with_advice_to_pool():
    with pytest.raises(ValueError, match="Pool a feature map"):
        ProjectionHead()(np.zeros((2, 4, 4, 8)))
