"""Losses as one graph for PyTorch's compiler: `compile(jit_compile=True)`."""

import functools

import keras
import numpy as np
import pytest

import keras_ltssl as lt

if keras.backend.backend() != "torch":
    pytest.skip("torch.compile is PyTorch's", allow_module_level=True)

import torch

pytestmark = [
    # PyTorch's compiler instantiates what it warns of instantiating.
    pytest.mark.filterwarnings(
        "ignore:.*should not be instantiated:DeprecationWarning"
    ),
    # Where there is a GPU, `torch._dynamo.reset` imports what uses this.
    pytest.mark.filterwarnings(
        "ignore:.*jit.script_method.* is (deprecated|not supported)"
        ":DeprecationWarning"
    ),
]

SAMPLES = 16
LOSSES = {
    "nt_xent": lambda: lt.losses.NTXentLoss(),
    "scheduled": lambda: lt.losses.NTXentLoss(
        lt.schedules.CosineTemperature(0.1, 1.0, period=2)
    ),
    "focal": lambda: lt.losses.FocalNTXentLoss(),
    "tase": lambda: lt.losses.TASELoss(num_prototypes=4, warmup_steps=1),
    "colt": lambda: lt.losses.COLTLoss(num_samples=SAMPLES, top_k=3),
    "macl": lambda: lt.losses.MACLLoss(),
    "dystress": lambda: lt.losses.DySTreSSLoss(),
    "boosted": lambda: lt.losses.BoostedLoss(
        lt.losses.NTXentLoss(), num_samples=SAMPLES
    ),
    "sogclr": lambda: lt.losses.SogCLRLoss(SAMPLES),
    "isogclr": lambda: lt.losses.ISogCLRLoss(SAMPLES),
}
SPLIT = {
    # Keras draws random numbers outside of what is compiled.
    "con_mix": lambda: lt.losses.ConMixLoss(lt.losses.NTXentLoss(), 4),
    "chunks": lambda: lt.losses.NTXentLoss(chunk_size=8),
    # From the second epoch, of two steps, on.
    "geometric_harmonization": lambda: lt.losses.GeometricHarmonizationLoss(
        lt.losses.NTXentLoss(),
        num_targets=4,
        warmup_epochs=1,
        ramp_epochs=0,
        sinkhorn={"iterations": 5},
    ),
}

as_array = keras.ops.convert_to_numpy


def three_steps(name, compiler):
    """Returns losses, gradients and the state after three steps."""
    loss = {**LOSSES, **SPLIT}[name]()
    state = lt.layers.LossState(loss, steps_per_epoch=2)
    random = np.random.default_rng(0)
    views = random.normal(size=(3, SAMPLES, 2, 8)).astype("float32")
    ids = keras.ops.arange(SAMPLES)
    ids[::4] = -1
    step = compiler(lambda z: loss(ids, z))
    results = []
    for z in views:
        z = keras.ops.convert_to_tensor(z).requires_grad_()
        state(z, training=True)
        value = step(z)
        value.backward()
        results += [as_array(value), as_array(z.grad)]
    return results + [as_array(v) for v in state.variables]


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_one_graph_and_trains_the_same(name):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    # The graph is not lowered to C++, which takes longer than all else here;
    # `fullgraph` refuses whatever would split it.
    compiled = three_steps(
        name,
        lambda step: torch.compile(step, backend="aot_eager", fullgraph=True),
    )
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    eager = three_steps(name, lambda step: step)
    for ours, expected in zip(compiled, eager, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


# PyTorch's own, where its compiler goes on behind what it did not compile.
@pytest.mark.filterwarnings("ignore:.*The .grad attribute:UserWarning")
@pytest.mark.parametrize("name", SPLIT)
def test_what_has_loops_is_left_alone_and_trains_the_same(name):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = three_steps(
        name, lambda step: torch.compile(step, backend="aot_eager")
    )
    # What is left to compile comes before the loss and behind it, in all steps.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    eager = three_steps(name, lambda step: step)
    for ours, expected in zip(compiled, eager, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_the_compiler_can_be_reset_where_there_is_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    torch._dynamo.reset()


def module_encoder(shape):
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.LazyLinear(5)
    )
    module(torch.zeros(1, 3, *shape[:2]))
    return lt.models.torch_encoder(module, shape)


def convolutional_model(make_encoder, make_loss, **arguments):
    keras.utils.set_random_seed(0)
    model = lt.models.ContrastiveModel(make_encoder((8, 8, 3)))
    model.compile(keras.optimizers.SGD(0.1), loss=make_loss(), **arguments)
    return model


# PyTorch's own, which it hides where warnings are no errors.
@pytest.mark.filterwarnings("ignore:.*The .grad attribute:UserWarning")
@pytest.mark.parametrize(
    ("make_encoder", "name"),
    [
        (lt.models.small_convnet, "nt_xent"),
        (lt.models.small_convnet, "chunks"),
        (module_encoder, "colt"),
    ],
    ids=["NT-Xent", "chunks", "a module, COLT"],
)
def test_with_convolutions_the_loss_is_compiled_alone(
    make_encoder, name, monkeypatch
):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = []

    def compile_noting(function):
        compiled.append(function.__name__)
        return torch_compile(function, backend="eager")

    torch_compile = torch.compile
    monkeypatch.setattr(torch, "compile", compile_noting)
    make_loss = {**LOSSES, **SPLIT}[name]
    images = np.random.default_rng(0).integers(0, 256, (SAMPLES, 8, 8, 3))
    ids = np.arange(SAMPLES)

    def trained(model):
        history = model.fit(
            images.astype("uint8"),
            ids,
            batch_size=6,
            epochs=2,
            shuffle=False,
            validation_data=(images.astype("uint8"), ids),
            verbose=0,
        )
        return history.history, [as_array(v) for v in model.weights]

    expected, wanted = trained(convolutional_model(make_encoder, make_loss))
    assert not torch._dynamo.utils.counters["stats"]
    with pytest.warns(UserWarning, match="compiles the loss alone"):
        model = convolutional_model(make_encoder, make_loss, jit_compile=True)
    history, weights = trained(model)
    assert compiled == ["call"]
    for key, values in expected.items():
        np.testing.assert_allclose(history[key], values, rtol=1e-4, atol=1e-5)
    for weight, value in zip(weights, wanted, strict=True):
        np.testing.assert_allclose(weight, value, rtol=1e-4, atol=1e-5)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    # Of training and evaluation, of whole batches and of the last one, while
    # the data are watched and after.
    assert (graphs == 0) if name == "chunks" else (1 <= graphs <= 6)


def test_a_model_compiled_anew_runs_its_loss_uncompiled():
    with pytest.warns(UserWarning, match="compiles the loss alone"):
        model = convolutional_model(
            lt.models.small_convnet, LOSSES["nt_xent"], jit_compile=True
        )
    assert model.get_compile_config()["jit_compile"] is True
    assert model.loss._compiled_call is not None
    model.compile("sgd", loss=model.loss)
    assert model.loss._compiled_call is None


def test_fit_compiles_its_step(monkeypatch):
    torch._dynamo.reset()
    monkeypatch.setattr(
        torch, "compile", functools.partial(torch.compile, backend="eager")
    )
    random = np.random.default_rng(0)
    views = random.normal(size=(64, 2, 6)).astype("float32")
    histories = []
    for jit_compile in (True, False):
        keras.utils.set_random_seed(0)
        encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8)])
        model = lt.models.ContrastiveModel(encoder)
        model.compile(
            keras.optimizers.SGD(0.1),
            loss=LOSSES["nt_xent"](),
            jit_compile=jit_compile,
        )
        fit = model.fit(
            views, batch_size=16, epochs=2, shuffle=False, verbose=0
        )
        histories.append(fit.history)
    for name, values in histories[1].items():
        np.testing.assert_allclose(histories[0][name], values, rtol=1e-4)
