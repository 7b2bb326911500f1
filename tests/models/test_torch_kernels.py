"""Layers of Keras in PyTorch's own operations: Keras' numbers, fewer kernels.

A layer that was not asked for, of the same weights, is the oracle.
"""

import copy
import os
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_ltssl as lt

if keras.backend.backend() == "torch":
    import torch
    from counting import Kernels, count_kernels
    from torch import nn
else:
    torch, nn = None, None

needs_torch = pytest.mark.skipif(torch is None, reason="It is for PyTorch.")


@pytest.mark.every_backend
@pytest.mark.skipif(torch is not None, reason="There it changes layers.")
def test_other_backends_keep_their_layers():
    encoder = lt.models.small_convnet((8, 8, 3), width=4)
    assert lt.models.use_torch_kernels(encoder) == 0
    model = lt.models.ContrastiveModel(encoder)
    model.compile("sgd", loss=lt.losses.NTXentLoss())
    model.build((None, 2, 8, 8, 3))
    assert not replaced(model)


def replaced(model):
    return [
        layer.name for layer in model._flatten_layers() if "call" in vars(layer)
    ]


def values(shape, seed=0, dtype="float32"):
    x = np.random.default_rng(seed).normal(0.5, 2, shape)
    return ops.convert_to_tensor(x.astype("float32"), dtype)


def device():
    return ops.convert_to_tensor(0.0).device


def clone(layer):
    """Returns a layer of Keras' own operations with the same weights."""
    other = type(layer).from_config(layer.get_config())
    if layer.built:
        other.build(layer._build_shapes_dict["input_shape"])
        other.set_weights(layer.get_weights())
    other.trainable = layer.trainable
    return other


def two_of(layer, shape):
    """Returns the layer as asked for, and Keras' own, with odd weights."""
    layer.build(shape)
    random = np.random.default_rng(5)
    layer.set_weights(
        [random.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()]
    )
    own = clone(layer)
    assert lt.models.use_torch_kernels(layer) == 1
    return layer, own


def run(layer, x, **arguments):
    """Returns the output, and the gradients of a sum of its squares."""
    x = x.detach().clone().requires_grad_()
    y = layer(x, **arguments)
    weights = [w.value for w in layer.trainable_weights]
    weighting = torch.cos(torch.arange(y.numel(), device=y.device)).view_as(y)
    loss = (y.double() * weighting).sum()
    gradients = torch.autograd.grad(
        loss + (y.double() ** 2).sum(), [x, *weights]
    )
    return y.detach(), gradients


def assert_equal(one, other, x, rtol=1e-5, atol=1e-5, **arguments):
    y, gradients = run(one, x, **arguments)
    expected, expected_gradients = run(other, x, **arguments)
    assert y.dtype == expected.dtype
    assert y.shape == expected.shape
    torch.testing.assert_close(y, expected, rtol=rtol, atol=atol)
    for got, want in zip(gradients, expected_gradients, strict=True):
        assert got.dtype == want.dtype
        scale = max(1.0, want.abs().max().item())
        torch.testing.assert_close(got, want, rtol=rtol, atol=atol * scale)
    for w, v in zip(one.weights, other.weights, strict=True):
        torch.testing.assert_close(
            w.value, v.value, rtol=rtol, atol=1e-6, msg=w.path
        )


BATCHES = {
    "images": ((6, 5, 4, 3), -1),
    "images, axis 3": ((6, 5, 4, 3), 3),
    "channels first": ((6, 3, 5, 4), 1),
    "channels first, axis -3": ((6, 3, 5, 4), -3),
    "vectors": ((6, 3), -1),
    "sequences": ((6, 5, 3), -1),
    "sequences, channels first": ((6, 3, 5), 1),
    "volumes": ((3, 4, 5, 2, 3), -1),
    "one image": ((1, 2, 2, 3), -1),
}


@needs_torch
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization_is_that_of_keras(batch, training):
    shape, axis = BATCHES[batch]
    fast, own = two_of(
        layers.BatchNormalization(axis, momentum=0.9, epsilon=1e-4), shape
    )
    for seed in range(3):
        assert_equal(fast, own, values(shape, seed), training=training)
    assert "batch_norm" in str(kernels_of(fast, values(shape), training))


@needs_torch
@pytest.mark.parametrize("rows", [2, 3])
def test_few_rows_are_normalized_more_exactly_than_by_keras(rows):
    shape = (rows, 3)
    fast, own = two_of(layers.BatchNormalization(epsilon=1e-4), shape)
    gamma, beta = [w.value.double() for w in own.trainable_weights]

    def exactly(x, training):
        scale = (x.var(0, correction=0) + own.epsilon).sqrt()
        return (x - x.mean(0)) / scale * gamma + beta

    exactly.trainable_weights = []
    y, (dx,) = run(exactly, values(shape).double(), training=True)

    def error(layer):
        z, (dz, *_) = run(layer, values(shape), training=True)
        return max((z - y).abs().max().item(), (dz - dx).abs().max().item())

    # A GPU adds the few rows in another order than the exact sums.
    rounding = 1e-6 if torch.cuda.is_available() else 0
    assert error(fast) <= error(own) + rounding


def kernels_of(layer, x, training):
    with Kernels() as kernels:
        layer(x, training=training)
    return kernels.by_name


@needs_torch
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "arguments",
    [
        {"scale": False},
        {"center": False},
        {"scale": False, "center": False},
        {"momentum": 0.0},
        {"momentum": 1.0},
        {"dtype": "float64"},
        {"gamma_regularizer": "l2", "beta_constraint": "non_neg"},
    ],
    ids=str,
)
def test_every_option_of_batch_normalization_is_that_of_keras(
    arguments, training
):
    fast, own = two_of(layers.BatchNormalization(**arguments), (6, 5, 4, 3))
    dtype = arguments.get("dtype", "float32")
    for seed in range(2):
        x = values((6, 5, 4, 3), seed, dtype)
        assert_equal(fast, own, x, training=training)


@needs_torch
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_statistics_are_float32_in_mixed_precision(dtype, training):
    fast, own = two_of(
        layers.BatchNormalization(dtype=f"mixed_{dtype}"), (6, 5, 4, 3)
    )
    # Far from 0: a mean in half precision would be off by 1.
    x = values((6, 5, 4, 3), dtype=dtype) + (300 if dtype == "float16" else 50)
    rough = 1e-2 if dtype == "bfloat16" else 1e-3
    if torch.cuda.is_available():
        rough = 1e-2  # There the variance of Keras, E[x²] - E[x]², is rougher.
    y, _ = run(fast, x, training=training)
    expected, _ = run(own, x, training=training)
    assert y.dtype == expected.dtype == getattr(torch, dtype)
    torch.testing.assert_close(y, expected, rtol=rough, atol=10 * rough)
    torch.testing.assert_close(
        fast.moving_mean.value, own.moving_mean.value, rtol=1e-5, atol=1e-5
    )
    assert fast.moving_mean.value.dtype == torch.float32
    assert "batch_norm" in str(kernels_of(fast, x, training))


@needs_torch
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_gradients_in_mixed_precision_are_those_of_keras(dtype):
    fast, own = two_of(
        layers.BatchNormalization(dtype=f"mixed_{dtype}"), (6, 5, 4, 3)
    )
    x = values((6, 5, 4, 3), dtype=dtype)
    rough = 1e-2 if dtype == "bfloat16" else 2e-3
    for got, want in zip(
        run(fast, x, training=True)[1],
        run(own, x, training=True)[1],
        strict=True,
    ):
        assert got.dtype == want.dtype
        scale = want.abs().max().item()
        torch.testing.assert_close(got, want, rtol=rough, atol=rough * scale)


@needs_torch
def test_a_layer_frozen_later_uses_its_moving_statistics():
    fast, own = two_of(layers.BatchNormalization(), (6, 3))
    fast.trainable = own.trainable = False
    before = fast.get_weights()
    assert_equal(fast, own, values((6, 3)), training=True)
    for now, then in zip(fast.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    fast.trainable = own.trainable = True
    assert_equal(fast, own, values((6, 3)), training=True)


@needs_torch
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"renorm": True}, (6, 5, 3)),
        ({"axis": 2}, (4, 5, 3, 2)),
        ({}, (1, 3)),
        ({}, (0, 3)),
        ({"dtype": "bfloat16"}, (6, 3)),
    ],
    ids=["renorm", "axis 2", "one row", "no row", "bfloat16 alone"],
)
def test_what_pytorch_has_no_kernel_for_stays_that_of_keras(
    arguments, shape, training
):
    fast, own = two_of(layers.BatchNormalization(**arguments), shape)
    x = values(shape, dtype=arguments.get("dtype", "float32"))
    y, expected = fast(x, training=training), own(x, training=training)
    torch.testing.assert_close(
        y, expected, rtol=1e-5, atol=1e-5, equal_nan=True
    )
    for w, v in zip(fast.weights, own.weights, strict=True):
        torch.testing.assert_close(
            w.value, v.value, rtol=1e-6, atol=0, equal_nan=True
        )


@needs_torch
@pytest.mark.parametrize("training", [True, False])
def test_masked_samples_do_not_count(training):
    fast, own = two_of(layers.BatchNormalization(), (6, 5, 3))
    mask = ops.convert_to_tensor(np.arange(30).reshape(6, 5) % 3 > 0)
    x = values((6, 5, 3))
    assert_equal(fast, own, x, training=training, mask=mask)
    # A mask that comes with the samples.
    for layer in (fast, own):
        inputs = keras.Input((5, 3))
        outputs = layer(layers.Masking(0.0)(inputs))
        model = keras.Model(inputs, outputs)
        model(torch.where(mask[..., None], x, 0.0), training=training)
    for w, v in zip(fast.weights, own.weights, strict=True):
        torch.testing.assert_close(w.value, v.value)
    with pytest.raises(ValueError, match="mask"):
        fast(x, mask=ops.ones((6, 5, 3), bool))


@needs_torch
@pytest.mark.parametrize("rows", [2, 7])
def test_moving_statistics_do_not_drift(rows):
    fast, own = two_of(layers.BatchNormalization(momentum=0.99), (rows, 3))
    x = values((rows, 3))
    for _ in range(3000):
        fast(x, training=True)
        own(x, training=True)
    exact = {
        "moving_variance": x.double().var(0, correction=0),
        "moving_mean": x.double().mean(0),
    }

    def error(layer, name):
        moving = getattr(layer, name).value.double()
        return (moving / exact[name] - 1).abs().max().item()

    for name in exact:
        assert error(fast, name) < max(1e-5, error(own, name))


@needs_torch
@pytest.mark.parametrize("second", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_calls_before_the_backward_pass_do_not_disturb_it(first, second):
    fast, own = two_of(layers.BatchNormalization(), (6, 3))
    gradients = []
    for layer in (fast, own):
        x = values((6, 3)).requires_grad_()
        y = layer(x, training=first)
        layer(values((6, 3), 1), training=second)
        layer(values((1, 3), 1), training=second)
        layer.moving_mean.assign(layer.moving_mean + 1)
        layer.moving_variance.assign(layer.moving_variance + 1)
        (y**3).sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


@needs_torch
def test_a_stateless_call_returns_the_statistics_and_changes_nothing():
    fast, own = two_of(layers.BatchNormalization(), (6, 3))
    x, results = values((6, 3)), []
    before = fast.get_weights()
    for layer in (fast, own):
        fixed = [w.value.detach().clone() for w in layer.non_trainable_weights]
        given = [w.clone() for w in fixed]
        results.append(
            layer.stateless_call(
                [w.value for w in layer.trainable_weights],
                fixed,
                x,
                training=True,
            )
        )
        torch.testing.assert_close(fixed, given, rtol=0, atol=0)
    torch.testing.assert_close(results[0], results[1])
    for now, then in zip(fast.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


IMAGE = (4, 9, 8, 6)


@needs_torch
@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Conv2D(4, 3),
        lambda: layers.Conv2D(4, 3, padding="same", activation="relu"),
        lambda: layers.Conv2D(4, 3, 2, padding="same", use_bias=False),
        lambda: layers.Conv2D(4, (2, 5), (2, 1), padding="same"),
        lambda: layers.Conv2D(4, 3, dilation_rate=2, padding="same"),
        lambda: layers.Conv2D(4, 1, 2),
        lambda: layers.Conv2D(4, 3, groups=2),
        lambda: layers.Conv2D(4, 3, dtype="float64"),
        lambda: layers.Conv2D(4, 3, data_format="channels_first"),
        lambda: layers.DepthwiseConv2D(3),
        lambda: layers.DepthwiseConv2D(
            3, 2, padding="same", depth_multiplier=2, activation="relu"
        ),
        lambda: layers.DepthwiseConv2D(
            (4, 3), padding="same", dilation_rate=(2, 1)
        ),
        lambda: layers.MaxPooling2D(),
        lambda: layers.MaxPooling2D(3, 2),
        lambda: layers.MaxPooling2D(3, 2, padding="same"),
        lambda: layers.MaxPooling2D(2, data_format="channels_first"),
        lambda: layers.AveragePooling2D((2, 3)),
        lambda: layers.AveragePooling2D(3, 1, padding="same"),
    ],
)
def test_convolution_and_pooling_are_those_of_keras(make):
    fast, own = two_of(make(), IMAGE)
    x = values(IMAGE, dtype=fast.compute_dtype)
    assert_equal(fast, own, x)
    # From memory with the channels first, as after pooling in Keras.
    other = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert_equal(fast, own, other)


@needs_torch
@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Conv2D(4, 3, padding="same", use_bias=False),
        lambda: layers.Conv2D(4, 3, 2, activation="relu"),
        lambda: layers.DepthwiseConv2D(3, padding="same", use_bias=False),
        lambda: layers.MaxPooling2D(2),
        lambda: layers.AveragePooling2D(2),
        lambda: layers.BatchNormalization(),
    ],
)
def test_layers_copy_no_images(make):
    fast, own = two_of(make(), IMAGE)

    def copies(layer):
        kernels = kernels_of(layer, values(IMAGE), False)
        return sum(kernels[name] for name in ("clone.default", "copy_.default"))

    with torch.no_grad():
        assert copies(fast) == 0
        assert copies(own) > 0 or isinstance(own, layers.BatchNormalization)


@needs_torch
def test_adapters_of_low_rank_stay():
    fast, own = two_of(layers.Conv2D(4, 3), IMAGE)
    for layer in (fast, own):
        layer.enable_lora(2, a_initializer="ones", b_initializer="ones")
    assert_equal(fast, own, values(IMAGE))


# A ResNet-18 as one writes it in PyTorch.
if torch is not None:

    class Block(nn.Module):
        def __init__(self, before, channels, stride):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(before, channels, 3, stride, 1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
                nn.BatchNorm2d(channels),
            )
            self.shortcut = nn.Identity()
            if stride > 1:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(before, channels, 1, stride, bias=False),
                    nn.BatchNorm2d(channels),
                )

        def forward(self, x):
            return torch.relu(self.body(x) + self.shortcut(x))

    class HandWritten(nn.Module):
        def __init__(self):
            super().__init__()
            parts = [
                nn.Conv2d(3, 64, 3, 1, 1, bias=False),
                nn.BatchNorm2d(64),
                nn.ReLU(),
            ]
            before = 64
            for stage, channels in enumerate((64, 128, 256, 512)):
                for block in range(2):
                    stride = 2 if stage > 0 and block == 0 else 1
                    parts.append(Block(before, channels, stride))
                    before = channels
            self.parts = nn.Sequential(*parts)

        def forward(self, images):
            x = images.permute(0, 3, 1, 2) / 127.5 - 1
            return self.parts(x).mean((2, 3))


@pytest.fixture
def policy():
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy("float32")


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_resnet18_starts_about_as_many_kernels_as_one_written_by_hand(
    dtype, policy
):
    policy(dtype)
    encoder, net = lt.models.resnet18(), HandWritten().to(device())
    images = values((4, 32, 32, 3))

    def step(model, **arguments):
        model.zero_grad()
        with torch.autocast(device().type, torch.bfloat16, enabled=is_mixed):
            y = model(images, **arguments)
        y.sum().backward()

    is_mixed = False
    before = count_kernels(lambda: step(encoder, training=True))
    assert lt.models.use_torch_kernels(encoder) == 40
    now = count_kernels(lambda: step(encoder, training=True))
    is_mixed = dtype != "float32"
    by_hand = count_kernels(lambda: step(net))

    print(f"{dtype}: by hand {by_hand}, Keras {before}, now {now}")
    assert by_hand > 150
    assert before > 4 * by_hand
    assert now <= 1.25 * by_hand


def images(count=32, size=8):
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, size, size, 3), "uint8")


def views(count=16, size=8):
    return images(2 * count, size).reshape(count, 2, size, size, 3)


FRAMEWORKS = pytest.mark.parametrize(
    "framework",
    [
        lt.models.ContrastiveModel,
        lt.models.MomentumContrast,
        lt.models.BYOL,
        lt.models.SelfDamagingContrast,
    ],
)


def trained(framework, **options):
    keras.utils.set_random_seed(0)
    encoder = lt.models.small_convnet((8, 8, 3), width=4)
    model = framework(encoder)
    byol = framework is lt.models.BYOL
    loss = lt.losses.BYOLLoss() if byol else lt.losses.NTXentLoss()
    model.compile(keras.optimizers.SGD(0.1), loss=loss, **options)
    model.fit(views(), batch_size=8, epochs=2, shuffle=False, verbose=0)
    return model


@needs_torch
@FRAMEWORKS
def test_a_framework_trains_as_with_the_operations_of_keras(framework):
    own = trained(framework, torch_kernels=False)
    fast = trained(framework)
    assert not replaced(own)
    for w, v in zip(fast.weights, own.weights, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(ops.cast(w, "float32")),
            ops.convert_to_numpy(ops.cast(v, "float32")),
            rtol=1e-4,
            atol=1e-5,
            err_msg=w.path,
        )
    np.testing.assert_allclose(
        fast.encoder.predict(images(), verbose=0),
        own.encoder.predict(images(), verbose=0),
        rtol=1e-4,
        atol=1e-5,
    )


@needs_torch
@FRAMEWORKS
def test_every_copy_in_a_framework_is_fast(framework):
    model = trained(framework)
    normalizations = [
        layer
        for layer in model._flatten_layers()
        if type(layer) is layers.BatchNormalization
    ]
    assert len(normalizations) >= 3
    assert {layer.name for layer in normalizations} <= set(replaced(model))
    model.compile("sgd", loss=model.loss, torch_kernels=False)
    assert not replaced(model)


@needs_torch
@pytest.mark.parametrize("is_on", [True, False])
def test_a_loaded_framework_runs_what_it_was_compiled_for(is_on, tmp_path):
    model = trained(lt.models.ContrastiveModel, torch_kernels=is_on)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert bool(replaced(again)) is is_on
    np.testing.assert_allclose(
        again.encoder.predict(images(), verbose=0),
        model.encoder.predict(images(), verbose=0),
        1e-6,
    )


@needs_torch
def test_models_that_were_not_asked_for_keep_their_own_operations():
    encoder = lt.models.small_convnet((8, 8, 3), width=4)
    model = lt.models.ContrastiveModel(encoder)
    model.build((None, 2, 8, 8, 3))
    assert not replaced(model)  # Not compiled: nobody asked.
    model.compile("sgd", loss=lt.losses.NTXentLoss())
    assert len(replaced(encoder)) == 7  # Six layers, and the encoder.
    assert not replaced(lt.models.small_convnet((8, 8, 3), width=4))
    assert (
        "BatchNormalization"
        in type(layers.BatchNormalization()).call.__qualname__
    )
    assert keras.layers.BatchNormalization.call.__module__.startswith("keras.")


@needs_torch
def test_a_subclass_and_a_layer_somebody_else_changed_stay_as_they_are():
    class Doubled(layers.BatchNormalization):
        def call(self, inputs, training=None, mask=None):
            return 2 * super().call(inputs, training, mask)

    class Loud(layers.Conv2D):
        def convolution_op(self, inputs, kernel):
            return -super().convolution_op(inputs, kernel)

    changed = layers.BatchNormalization()
    changed.call = lambda inputs, training=None: inputs
    model = keras.Sequential(
        [keras.Input((4, 4, 2)), Doubled(), Loud(3, 1), changed]
    )
    assert lt.models.use_torch_kernels(model) == 0
    assert lt.models.use_torch_kernels(model, False) == 0
    assert replaced(model) == [changed.name]


@needs_torch
def test_it_can_be_turned_on_and_off():
    encoder = lt.models.small_convnet((8, 8, 3), width=4)
    x = ops.convert_to_tensor(images(), "float32")
    own = count_kernels(lambda: encoder(x))
    for _ in range(2):
        assert lt.models.use_torch_kernels(encoder) == 6
        assert count_kernels(lambda: encoder(x)) < own
    for _ in range(2):
        assert lt.models.use_torch_kernels(encoder, False) == 0
        assert count_kernels(lambda: encoder(x)) == own
    with pytest.raises(ValueError, match=r"`model` must be.*model='net'"):
        lt.models.use_torch_kernels("net")
    with pytest.raises(ValueError, match=r"`enabled` must be.*enabled=1"):
        lt.models.use_torch_kernels(encoder, 1)


@needs_torch
def test_clones_and_copies_are_those_of_keras():
    encoder = lt.models.small_convnet((8, 8, 3), width=4)
    config = encoder.get_config()
    lt.models.use_torch_kernels(encoder)
    assert encoder.get_config() == config
    x = ops.convert_to_tensor(images(), "float32")
    for other in (
        keras.models.clone_model(encoder),
        copy.deepcopy(encoder),
        pickle.loads(pickle.dumps(encoder)),
    ):
        other.set_weights(encoder.get_weights())
        assert not replaced(other)
        torch.testing.assert_close(other(x), encoder(x), rtol=1e-5, atol=1e-5)
    assert len(replaced(encoder)) == 7


@needs_torch
def test_a_saved_encoder_loads_without_this_package(tmp_path):
    model = trained(lt.models.ContrastiveModel)
    path = tmp_path / "encoder.keras"
    model.encoder.save(path)
    np.save(tmp_path / "x.npy", images())
    code = (
        "import sys, keras, numpy as np\n"
        f"model = keras.saving.load_model({str(path)!r})\n"
        f"x = np.load({str(tmp_path / 'x.npy')!r})\n"
        f"np.save({str(tmp_path / 'y.npy')!r}, model.predict(x, verbose=0))\n"
        "assert 'keras_ltssl' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "torch"},
    )
    np.testing.assert_allclose(
        np.load(tmp_path / "y.npy"),
        model.encoder.predict(images(), verbose=0),
        rtol=1e-5,
        atol=1e-5,
    )


@needs_torch
@pytest.mark.parametrize("training", [True, False])
def test_layers_can_be_compiled(training):
    pairs = [
        two_of(layers.Conv2D(4, 3, padding="same"), IMAGE),
        two_of(layers.BatchNormalization(), (4, 9, 8, 4)),
        two_of(layers.MaxPooling2D(), (4, 9, 8, 4)),
    ]

    def chain(which, x):
        convolve, normalize, pool = [pair[which] for pair in pairs]
        return pool(normalize(convolve(x), training=training))

    compiled = torch.compile(lambda x: chain(0, x), backend="aot_eager")
    for seed in range(2):
        x = values(IMAGE, seed)
        torch.testing.assert_close(
            compiled(x), chain(1, x), rtol=1e-4, atol=1e-5
        )
    fast, own = pairs[1]
    for w, v in zip(fast.weights, own.weights, strict=True):
        torch.testing.assert_close(w.value, v.value, rtol=1e-5, atol=1e-6)


@needs_torch
@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Conv2D(4, 3),
        lambda: layers.MaxPooling2D(),
        lambda: layers.BatchNormalization(),
    ],
)
def test_inputs_are_moved_to_the_device_of_keras(make, monkeypatch):
    fast, _ = two_of(make(), IMAGE)
    asked = []
    convert = ops.convert_to_tensor
    monkeypatch.setattr(
        ops,
        "convert_to_tensor",
        lambda x, *rest: asked.append(x) or convert(x, *rest),
    )
    x = values(IMAGE)
    fast(x)
    assert any(one is x for one in asked)


@needs_torch
def test_a_network_of_keras_applications_gains_as_well():
    net = keras.applications.MobileNetV2(
        (32, 32, 3), alpha=0.35, weights=None, include_top=False, pooling="avg"
    )
    x = values((8, 32, 32, 3))
    own = net(x)

    def step():
        net(x, training=True).sum().backward()

    before = count_kernels(step)
    statistics = [w.value.clone() for w in net.non_trainable_weights]
    assert lt.models.use_torch_kernels(net) == 104
    for w in net.non_trainable_weights:  # As before that step.
        w.assign(ops.zeros_like(w) if "mean" in w.name else ops.ones_like(w))
    torch.testing.assert_close(net(x), own, rtol=1e-4, atol=1e-5)
    assert count_kernels(step) < before / 4
    for w, value in zip(net.non_trainable_weights, statistics, strict=True):
        torch.testing.assert_close(w.value, value, rtol=1e-3, atol=1e-5)
