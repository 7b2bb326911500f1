"""An encoder around a PyTorch module: as in plain PyTorch, in every framework.

`python tests/models/test_torch_encoder.py FOLDER` trains a run and kills it.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_ltssl as lt
from keras_ltssl.backend import processes

SHAPE = (8, 8, 3)
if keras.backend.backend() == "torch":
    import torch
    from counting import Kernels
    from torch import nn

    DEVICE = keras.ops.convert_to_tensor(0.0).device
else:
    # Only the first test runs there.
    torch, nn = None, None

as_array = keras.ops.convert_to_numpy

needs_torch = pytest.mark.skipif(torch is None, reason="It runs on PyTorch.")


@pytest.mark.every_backend
@pytest.mark.skipif(torch is not None, reason="There it runs.")
def test_other_backends_refuse_in_a_sentence_without_importing_pytorch():
    code = (
        "import sys, keras_ltssl as lt\n"
        "before = 'torch' in sys.modules\n"
        "try: lt.models.torch_encoder(None, (8, 8, 3))\n"
        "except ValueError as error: print(error)\n"
        "print(before or 'torch' not in sys.modules)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout

    assert "`torch_encoder` needs Keras on PyTorch" in said
    assert f"backend()={keras.backend.backend()!r}" in said
    assert said.endswith("True\n")


def convnet(dropout=0.0):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv2d(4, 6, 3, 2, 1),
        nn.BatchNorm2d(6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


if torch is not None:

    class TinyViT(nn.Module):
        """Patches, a class token, positions, and two blocks of attention."""

        def __init__(self, dropout=0.0):
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 4, 4)
            self.token = nn.Parameter(torch.zeros(1, 1, 8))
            self.positions = nn.Parameter(0.02 * torch.randn(1, 5, 8))
            self.blocks = nn.TransformerEncoder(
                nn.TransformerEncoderLayer(
                    8, 2, 16, dropout, batch_first=True, norm_first=True
                ),
                2,
                enable_nested_tensor=False,
            )
            self.norm = nn.LayerNorm(8)

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
            return self.norm(self.blocks(x + self.positions)[:, 0])

    class Witness(nn.Module):
        """Notes what it is called with."""

        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(3, 2)
            self.seen = []

        def forward(self, x):
            outputs = self.dense(x.mean((2, 3)))
            self.seen.append((x, self.training, outputs.dtype))
            return outputs

    class Rebinds(nn.Module):
        """Assigns a new tensor to its buffer."""

        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(3, 2)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            if self.training:
                self.calls = self.calls + 1
            return self.dense(x.mean((2, 3)))


MODULES = pytest.mark.parametrize(
    "make", [convnet, lambda: TinyViT()], ids=["convnet", "vit"]
)


def images(count=48, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, *SHAPE)).astype("uint8")


def views(count=16, seed=0):
    return np.stack([images(count, seed), images(count, seed + 1)], axis=1)


def encoder_of(module, **arguments):
    return lt.models.torch_encoder(module, SHAPE, **arguments)


def state_of(module):
    state = module.state_dict()
    return {name: t.detach().cpu().clone() for name, t in state.items()}


def assert_same_state(one, other, rtol=0.0, atol=0.0):
    assert list(one) == list(other)
    for name in one:
        torch.testing.assert_close(
            one[name].cpu(),
            other[name].cpu(),
            rtol=rtol,
            atol=atol,
            msg=name,
        )


def as_the_module_gets_them(batch):
    x = keras.ops.convert_to_tensor(batch).float() / 127.5 - 1
    return x.permute(0, 3, 1, 2)


@pytest.fixture
def policy():
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy("float32")


@needs_torch
@MODULES
def test_a_training_step_is_that_of_a_plain_loop(make):
    torch.manual_seed(1)
    module = make()
    plain = make().to(DEVICE)
    plain.load_state_dict(module.state_dict())
    batch = views()

    model = lt.models.ContrastiveModel(
        encoder_of(module), keras.layers.Identity()
    )
    model.compile(keras.optimizers.SGD(1.0), loss=lt.losses.NTXentLoss(0.5))
    history = model.fit(batch, batch_size=16, shuffle=False, verbose=0)

    plain.train()
    z = plain(as_the_module_gets_them(batch.reshape(-1, *SHAPE)))
    z = nn.functional.normalize(z)
    similarity = (z @ z.T / 0.5).fill_diagonal_(-np.inf)
    other = torch.arange(32, device=DEVICE) ^ 1
    loss = nn.functional.cross_entropy(similarity, other)
    loss.backward()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter -= parameter.grad

    np.testing.assert_allclose(history.history["loss"], [loss.item()], 1e-5)
    assert_same_state(module.state_dict(), plain.state_dict(), 1e-5, 1e-6)


@needs_torch
@MODULES
def test_the_module_taken_out_gives_the_features_in_plain_pytorch(make):
    module = make()
    names = list(module.state_dict())
    encoder = encoder_of(module)
    model = lt.models.ContrastiveModel(encoder)
    model.compile("sgd", loss=lt.losses.NTXentLoss())
    model.fit(views(), batch_size=8, verbose=0)

    assert encoder.module is module
    assert list(module.state_dict()) == names
    plain = make().to(DEVICE).eval()
    plain.load_state_dict(module.state_dict())
    with torch.no_grad():
        expected = plain(as_the_module_gets_them(images()))
    features = encoder.predict(images(), verbose=0)
    np.testing.assert_allclose(features, as_array(expected), 1e-5, 1e-6)


@needs_torch
@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64"])
def test_the_module_gets_scaled_images_with_the_channels_first(dtype):
    module = Witness()
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    encoder = encoder_of(module, value_range=(0, 255), mean=mean, std=std)
    x = images(4).astype(dtype)
    encoder(keras.ops.convert_to_tensor(x))

    got = module.seen[-1][0]
    expected = (x / 255 - np.array(mean)) / np.array(std)
    assert got.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(
        as_array(got.permute(0, 2, 3, 1)), expected, rtol=1e-5, atol=1e-5
    )


@needs_torch
def test_without_mean_and_std_pixels_are_scaled_to_one_as_by_our_encoders():
    module = Witness()
    encoder = encoder_of(module, value_range=(-2, 6))
    encoder(keras.ops.convert_to_tensor(np.full((2, *SHAPE), -2.0)))
    assert bool((module.seen[-1][0] == -1).all())
    encoder(keras.ops.convert_to_tensor(np.full((2, *SHAPE), 6.0)))
    assert bool((module.seen[-1][0] == 1).all())


@needs_torch
def test_the_module_trains_only_while_the_model_trains():
    module = Witness()
    encoder = encoder_of(module)
    x = keras.ops.convert_to_tensor(images(4))
    for training in (None, False, True):
        encoder(x, training=training)
    model = lt.models.ContrastiveModel(encoder)
    model.compile("sgd", loss=lt.losses.NTXentLoss())
    model.fit(views(), batch_size=16, verbose=0)
    encoder.predict(images(4), verbose=0)

    modes = [training for _, training, _ in module.seen[1:]]
    assert modes == [False, False, True, True, False]


@needs_torch
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_under_a_mixed_policy_the_module_runs_under_autocast(dtype, policy):
    policy(f"mixed_{dtype}")
    module = Witness()
    encoder = encoder_of(module)
    features = encoder(keras.ops.convert_to_tensor(images(4)))

    x, _, low = module.seen[-1]
    assert x.dtype == torch.float32
    assert low == getattr(torch, dtype)
    assert features.dtype == getattr(torch, dtype)
    assert {weight.dtype for weight in encoder.weights} == {"float32"}
    module = convnet()
    model = lt.models.ContrastiveModel(encoder_of(module))
    model.compile("sgd", loss=lt.losses.NTXentLoss())
    before = state_of(module)
    # In float16, Keras skips steps until the scale of the loss is small enough.
    model.fit(views(), batch_size=16, epochs=12, verbose=0)
    assert not torch.equal(state_of(module)["0.weight"], before["0.weight"])
    assert {t.dtype for t in module.parameters()} == {torch.float32}


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_step_starts_no_more_kernels_than_plain_pytorch(dtype, policy):
    policy(dtype)
    module = convnet()
    encoder = encoder_of(module)
    x = keras.ops.convert_to_tensor(images(4))
    is_mixed = dtype != "float32"
    module.train()
    with (
        Kernels() as plain,
        torch.autocast(DEVICE.type, torch.bfloat16, enabled=is_mixed),
    ):
        module(x.permute(0, 3, 1, 2).float() / 127.5 - 1).sum().backward()
    module.zero_grad()
    with Kernels() as ours:
        encoder(x, training=True).sum().backward()

    assert plain.count > 20
    assert ours.count <= plain.count


@needs_torch
def test_a_module_in_another_dtype_gets_images_in_it():
    module = convnet().double()
    features = encoder_of(module)(keras.ops.convert_to_tensor(images(4)))
    assert features.dtype == torch.float32


@needs_torch
def test_making_an_encoder_leaves_the_module_as_it_was():
    module = convnet(0.5)
    module[1].eval()
    before = state_of(module)
    modes = [part.training for part in module.modules()]
    encoder = encoder_of(module)

    assert encoder.output_shape == (None, 6)
    assert_same_state(module.state_dict(), before)
    assert [part.training for part in module.modules()] == modes


@needs_torch
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: nn.Conv2d(3, 4, 3),
            "has to be pooled.*shape \\(2, 4, 6, 6\\)",
        ),
        (lambda: nn.Flatten(2), "mean or one of them.*shape \\(2, 3, 64\\)"),
        (lambda: nn.Flatten(0), "shape \\(384,\\)"),
        (lambda: nn.Linear(3, 4), "take images.*RuntimeError"),
        (lambda: nn.LazyLinear(4), "call it once"),
        (lambda: nn.LSTM(8, 4), "take images.*got 4D"),
    ],
    ids=["map", "tokens", "vector", "channels", "lazy", "rank"],
)
def test_a_module_without_features_is_refused(make, says):
    with pytest.raises(ValueError, match=rf"(?s)`module` must.*{says}"):
        encoder_of(make())


@needs_torch
def test_a_module_that_returns_no_tensor_is_refused():
    class Two(nn.Module):
        def forward(self, x):
            return {"features": x}

    with pytest.raises(
        ValueError, match=r"Wrap it to return one tensor.*a dict"
    ):
        encoder_of(Two())


# The same network in Keras' layers and as a module.
def in_keras():
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Rescaling(1 / 127.5, -1),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
            keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
            keras.layers.ReLU(),
            keras.layers.Dense(6),
        ]
    )


def in_torch(weights):
    class ChannelsLast(nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1).flatten(1)

    module = nn.Sequential(
        ChannelsLast(),
        nn.Linear(192, 10),
        nn.BatchNorm1d(10),
        nn.ReLU(),
        nn.Linear(10, 6),
    )
    kernel, bias, gamma, beta, *_, last, last_bias = weights
    with torch.no_grad():
        for parameter, value in (
            (module[1].weight, kernel.T),
            (module[1].bias, bias),
            (module[2].weight, gamma),
            (module[2].bias, beta),
            (module[4].weight, last.T),
            (module[4].bias, last_bias),
        ):
            parameter.copy_(torch.tensor(value))
    return module


def heads_of(model):
    return [model.projector, *filter(None, [getattr(model, "predictor", None)])]


def trained(framework, encoder, heads=None):
    """Returns a model, its losses, and its heads' weights at the start."""
    # Of few hidden units, all may be 0: a projection without a direction.
    projector = lt.layers.ProjectionHead(4, 32)
    model = getattr(lt.models, framework)(encoder, projector)
    is_byol = framework == "BYOL"
    model.compile(
        keras.optimizers.SGD(0.3),
        loss=lt.losses.BYOLLoss() if is_byol else lt.losses.NTXentLoss(0.3),
    )
    model.build((None, 2, *SHAPE))
    for head, weights in zip(heads_of(model), heads or [], strict=False):
        head.set_weights(weights)
    start = [head.get_weights() for head in heads_of(model)]
    history = model.fit(
        views(48), batch_size=16, epochs=3, shuffle=False, verbose=0
    )
    return model, history.history["loss"], start


FRAMEWORKS = pytest.mark.parametrize(
    "framework",
    ["ContrastiveModel", "MomentumContrast", "BYOL", "SelfDamagingContrast"],
)


@needs_torch
@FRAMEWORKS
def test_frameworks_train_it_as_the_same_encoder_of_keras(framework):
    encoder = in_keras()
    module = in_torch(encoder.get_weights())
    one, losses, heads = trained(framework, encoder)
    other, own, _ = trained(framework, encoder_of(module), heads)

    np.testing.assert_allclose(own, losses, rtol=1e-4)
    kernel, *_ = encoder.get_weights()
    np.testing.assert_allclose(as_array(module[1].weight), kernel.T, 1e-3, 1e-4)
    if framework in ("MomentumContrast", "BYOL"):
        followers = one.momentum_network.copies[0].get_weights()
        copy = other.momentum_network.copies[0].module
        np.testing.assert_allclose(
            as_array(copy[1].weight), followers[0].T, 1e-3, 1e-4
        )
        np.testing.assert_allclose(
            as_array(copy[2].running_mean), followers[4], 1e-3, 1e-4
        )
        assert copy is not module
        assert not any(p.requires_grad for p in copy.parameters())
    if framework == "SelfDamagingContrast":
        assert other.sparsity() == one.sparsity()
        for mask, same in zip(
            one.pruned_encoder.masks, other.pruned_encoder.masks, strict=True
        ):
            np.testing.assert_array_equal(as_array(mask).T, as_array(same))


@needs_torch
def test_a_pruned_twin_of_attention_masks_its_kernels():
    model = lt.models.SelfDamagingContrast(encoder_of(TinyViT()))
    model.compile("sgd", loss=lt.losses.NTXentLoss())
    model.fit(views(), batch_size=16, verbose=0)
    # The patches, and in each block two of attention and two dense ones.
    assert len(model.pruned_encoder.masks) == 1 + 2 * 4
    assert abs(model.sparsity() - 0.9) < 0.01


@needs_torch
def test_a_momentum_network_says_that_a_module_cannot_be_copied():
    module = convnet()
    module.activation = nn.Linear(2, 2)(torch.zeros(2, 2))  # Of a graph.
    with pytest.raises(
        ValueError, match=r"cannot be copied by `copy.deepcopy`"
    ):
        lt.models.MomentumContrast(encoder_of(module))


@needs_torch
def test_cloning_by_keras_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="Make an encoder of a copy"):
        keras.models.clone_model(encoder_of(convnet()))


@needs_torch
def test_an_encoder_inside_a_keras_model_is_copied_too():
    encoder = keras.Sequential([encoder_of(convnet()), keras.layers.Dense(3)])
    model = lt.models.BYOL(encoder)
    model.compile("sgd", loss=lt.losses.BYOLLoss())
    model.fit(views(), batch_size=16, verbose=0)
    copy = model.momentum_network.copies[0].layers[0].module
    assert copy is not encoder.layers[0].module
    assert int(copy[1].num_batches_tracked) == 2


@needs_torch
def test_replicas_are_warned_of_batch_norms_in_the_module():
    model = lt.models.ContrastiveModel(
        encoder_of(convnet()), lt.layers.ProjectionHead()
    )
    with pytest.warns(UserWarning, match="each replica's part.*torch_encoder"):
        processes._warn_of_batch_statistics(model, "")


@needs_torch
def test_frozen_parameters_and_a_frozen_encoder_stay():
    module = convnet()
    module[0].requires_grad_(False)
    encoder = encoder_of(module)
    before = state_of(module)
    model = lt.models.ContrastiveModel(encoder)
    model.compile("sgd", loss=lt.losses.NTXentLoss())
    model.fit(views(), batch_size=16, verbose=0)
    now = state_of(module)
    assert torch.equal(now["0.weight"], before["0.weight"])
    assert not torch.equal(now["4.weight"], before["4.weight"])
    assert not torch.equal(now["1.running_mean"], before["1.running_mean"])

    encoder.trainable = False
    model.compile("sgd", loss=lt.losses.NTXentLoss())
    model.fit(views(), batch_size=16, verbose=0)
    assert_same_state(module.state_dict(), now)


@needs_torch
def test_a_training_repeats_and_leaves_the_generator_of_pytorch_alone():
    def losses():
        torch.manual_seed(3)
        encoder = encoder_of(convnet(0.5))
        before = torch.get_rng_state()
        x = keras.ops.convert_to_tensor(images(8))
        outputs = [encoder(x, training=True).detach() for _ in range(2)]
        assert torch.equal(torch.get_rng_state(), before)
        return outputs

    first, second = losses()
    again, _ = losses()
    assert torch.equal(first, again)
    assert not torch.allclose(first, second)


@needs_torch
def test_tensors_that_are_replaced_go_on_being_trained():
    module = Rebinds()
    encoder = encoder_of(module)
    x = keras.ops.convert_to_tensor(images(4))
    for _ in range(3):
        encoder(x, training=True)
    (calls,) = encoder.non_trainable_weights
    assert float(calls.value) == float(module.calls) == 3

    new = {name: t + 1 for name, t in module.state_dict().items()}
    module.load_state_dict(new, assign=True)
    encoder(x)
    by_path = {weight.path: weight.value for weight in encoder.weights}
    weight = by_path["torch_encoder/dense/weight"]
    assert weight is module.dense.weight
    assert torch.equal(weight, new["dense.weight"])


@needs_torch
def test_a_module_that_was_changed_later_is_refused():
    module = convnet()
    encoder = encoder_of(module)
    module[4].bias = None
    with pytest.raises(ValueError, match=r"4.bias of the module was replaced"):
        encoder(keras.ops.convert_to_tensor(images(4)))


@needs_torch
@pytest.mark.filterwarnings("ignore:Skipping nested container")  # By Keras.
def test_weights_are_saved_with_the_statistics_and_by_name(tmp_path):
    one, other = encoder_of(convnet(0.5)), encoder_of(convnet(0.5))
    for _ in range(3):
        one(keras.ops.convert_to_tensor(images(8)), training=True)
    one.save_weights(tmp_path / "a.weights.h5")
    other.load_weights(tmp_path / "a.weights.h5")

    assert_same_state(other.module.state_dict(), one.module.state_dict())
    x = keras.ops.convert_to_tensor(images(8))
    assert torch.equal(other(x, training=True), one(x, training=True))
    with pytest.raises(ValueError, match="do not fit its module"):
        encoder_of(TinyViT()).load_weights(tmp_path / "a.weights.h5")


def registered():
    return convnet()


@needs_torch
@FRAMEWORKS
def test_a_keras_file_makes_the_module_anew_by_its_function(
    tmp_path, framework
):
    with keras.saving.custom_object_scope({"registered": registered}):
        encoder = lt.models.torch_encoder(
            registered, SHAPE, value_range=(0, 1), std=(0.1, 0.2, 0.3), name="e"
        )
        model, *_ = trained(framework, encoder)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
    x = images(8)

    assert loaded.encoder.module is not encoder.module
    assert loaded.encoder.name == "e"
    np.testing.assert_array_equal(
        loaded.encoder.predict(x, verbose=0), encoder.predict(x, verbose=0)
    )
    for one, other in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)
        )
    with pytest.raises(ValueError, match="must be registered before"):
        keras.models.load_model(tmp_path / "model.keras")


@needs_torch
@pytest.mark.parametrize("make", [lambda: convnet(), registered])
def test_a_keras_file_of_a_module_without_a_function_is_refused(make, tmp_path):
    for module in (make, make()):
        with pytest.raises(ValueError, match=r"Save its weights.*state_dict"):
            encoder_of(module).save(tmp_path / "encoder.keras")


def run(folder, framework, *callbacks, epochs=3):
    keras.utils.set_random_seed(5)
    encoder = encoder_of(convnet(0.3))
    model = getattr(lt.models, framework)(encoder)
    is_byol = framework == "BYOL"
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        loss=lt.losses.BYOLLoss() if is_byol else lt.losses.TASELoss(),
    )
    model.fit(
        lt.datasets.ImageBatches(images(), batch_size=16, seed=2),
        epochs=epochs,
        verbose=0,
        callbacks=[*callbacks, lt.callbacks.ResumableCheckpoint(folder)],
    )
    weights = [np.array(keras.ops.convert_to_numpy(v)) for v in model.variables]
    return weights, state_of(encoder.module)


class Stop(keras.callbacks.Callback):
    """Ends the training in the middle of its third epoch."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (2, 1):
            self.act()


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt():
    raise KeyboardInterrupt


def killed(folder):
    process = subprocess.run(
        [sys.executable, __file__, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr[-2000:]


@needs_torch
@FRAMEWORKS
def test_a_run_that_was_ended_goes_on_bit_for_bit(tmp_path, framework):
    whole, state = run(tmp_path / "whole", framework)
    if framework == "ContrastiveModel":
        killed(tmp_path / "ended")
    else:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "ended", framework, Stop(interrupt))
    resumed, resumed_state = run(tmp_path / "ended", framework)

    assert_same_state(resumed_state, state)
    for one, other in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(one, other)
    assert int(state["1.num_batches_tracked"]) == 9


if __name__ == "__main__":
    import on_gpu  # noqa: F401  As in the process that resumes the run.

    run(Path(sys.argv[1]), "ContrastiveModel", Stop(kill))
