"""Training steps on PyTorch that do not wait for a GPU.

On a processor they run as on a GPU, if they are told so.
"""

import contextlib
import threading

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
from keras_ltssl.backend import steps
from keras_ltssl.backend.seeds import SeedGenerator, seed_generator
from keras_ltssl.backend.transfer import HostTransfer, transfer_to_device

if keras.backend.backend() != "torch":
    pytest.skip("for PyTorch", allow_module_level=True)

import torch
from counting import RoundTrips

from keras_ltssl.backend.torch_steps import Unwaiting
from keras_ltssl.backend.torch_transfer import PinnedTransfer

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def as_on_gpu(monkeypatch):
    """Steps run as they do on a GPU, but for the copies."""
    served = steps._Cuda(Unwaiting(), HostTransfer())
    monkeypatch.setattr(steps, "_cuda", lambda: served)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 8, 3)
        self.norm = torch.nn.BatchNorm2d(8)

    def forward(self, x):
        return self.norm(self.convolution(x)).relu().mean((2, 3))


def images(count):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, 16, 16, 3), "uint8")


def model_of(
    loss,
    make=lt.models.ContrastiveModel,
    optimizer=None,
    encoder_of=lambda shape: lt.models.torch_encoder(Net(), shape),
    **kwargs,
):
    keras.utils.set_random_seed(4)
    torch.manual_seed(4)
    encoder = encoder_of((16, 16, 3))
    model = make(
        encoder, augmenter=lt.layers.simclr_views(16, seed=2), **kwargs
    )
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), loss)
    return model


class CountOneStep(keras.callbacks.Callback):
    """Counts from the end of a step to the end of the next one."""

    reads_step_logs = False

    def __init__(self, step):
        super().__init__()
        self.step = step
        self.trips = RoundTrips()

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.step:
            self.trips.__enter__()
        elif batch == self.step + 1:
            self.trips.__exit__(None, None, None)


MODELS = {
    "simclr": lambda: model_of(lt.losses.NTXentLoss()),
    "schedule": lambda: model_of(
        lt.losses.NTXentLoss(lt.schedules.CosineTemperature(0.1, 0.5, 10))
    ),
    "tase": lambda: model_of(lt.losses.TASELoss(warmup_steps=0)),
    "colt": lambda: model_of(lt.losses.COLTLoss(num_samples=64)),
    "focal": lambda: model_of(lt.losses.FocalNTXentLoss()),
    "con_mix": lambda: model_of(lt.losses.ConMixLoss(lt.losses.NTXentLoss())),
    "sogclr": lambda: model_of(lt.losses.SogCLRLoss(num_samples=64)),
    "moco": lambda: model_of(
        lt.losses.NTXentLoss(), lt.models.MomentumContrast, queue_size=32
    ),
    "byol": lambda: model_of(lt.losses.BYOLLoss(), lt.models.BYOL),
    "sdclr": lambda: model_of(
        lt.losses.NTXentLoss(), lt.models.SelfDamagingContrast
    ),
    "encoder of Keras": lambda: model_of(
        lt.losses.NTXentLoss(), encoder_of=lt.models.resnet18
    ),
    "cosine rate": lambda: model_of(
        lt.losses.NTXentLoss(),
        optimizer=keras.optimizers.SGD(
            keras.optimizers.schedules.CosineDecay(0.1, 100)
        ),
    ),
    "adam": lambda: model_of(
        lt.losses.NTXentLoss(), optimizer=keras.optimizers.AdamW(0.1)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_step_makes_no_round_trip_to_the_host(name, as_on_gpu):
    counted = CountOneStep(step=4)
    data = lt.datasets.ImageBatches(images(64), batch_size=8)
    MODELS[name]().fit(data, verbose=0, callbacks=[counted])
    # Keras makes tensors of the images and of the ids; on a GPU another thread
    # has sent them.
    expected = {} if torch.cuda.is_available() else {"lift_fresh": 2}
    assert counted.trips.by_name == expected


def test_round_trips_are_counted():
    with RoundTrips() as trips:
        float(torch.ones(())), torch.as_tensor(2.0), torch.ones(3).tolist()
        torch.ones(2).numpy(), np.asarray(torch.ones(2)), torch.ones(2).cpu()
    assert trips.by_name["_local_scalar_dense"] == 1
    assert trips.by_name["lift_fresh"] == 1
    assert trips.by_name["tolist"] == trips.by_name["cpu"] == 1
    assert trips.by_name["numpy"] + trips.by_name["__array__"] >= 2


@pytest.mark.parametrize("name", ["simclr", "tase", "moco", "cosine rate"])
def test_such_steps_train_the_same_weights(name, monkeypatch):
    def trained():
        model = MODELS[name]()
        data = lt.datasets.ImageBatches(images(32), batch_size=8)
        history = model.fit(data, epochs=2, verbose=0).history
        return history, [np.array(weight) for weight in model.weights]

    history, weights = trained()
    served = steps._Cuda(Unwaiting(), HostTransfer())
    monkeypatch.setattr(steps, "_cuda", lambda: served)
    unwaiting_history, unwaiting_weights = trained()
    for key, values in history.items():
        np.testing.assert_allclose(unwaiting_history[key], values, rtol=1e-5)
    for one, other in zip(unwaiting_weights, weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_constants_are_those_of_pytorch_and_each_a_tensor_of_its_own():
    values = [2, 2.5, True, np.arange(3), [1.0, 2.0], np.ones((40, 40))]
    dtypes = [torch.float32, torch.int64, torch.uint8]
    for value in values:
        for dtype in dtypes:
            expected = torch.as_tensor(value, dtype=dtype, device="cpu")
            for _ in range(2):
                with Unwaiting():
                    made = torch.as_tensor(value, dtype=dtype, device="cpu")
                assert made.dtype == dtype
                torch.testing.assert_close(made, expected)
                if np.size(value) < 64:
                    made += 1  # The next one is none the worse.


def test_only_the_thread_that_entered_makes_tensors_without_waiting():
    """Another one may copy constants in a CUDA stream of its own."""
    functions = torch.as_tensor, torch._foreach_add_
    outer, inner = Unwaiting(), Unwaiting()
    array = np.arange(3)
    with outer, inner:
        thread = threading.Thread(target=lambda: as_integers(array))
        thread.start()
        thread.join()
        assert not outer.constants
        assert not inner.constants
        as_integers(array)
        assert len(inner.constants) == 1
    with pytest.raises(ZeroDivisionError), outer:
        1 / 0  # noqa: B018
    assert (torch.as_tensor, torch._foreach_add_) == functions


def as_integers(array):
    return torch.as_tensor(array, dtype=torch.int64, device="cpu")


def test_attributes_of_tensors_cost_no_call_of_python():
    with Unwaiting():
        assert not torch.overrides._get_current_function_mode_stack()


def test_few_constants_are_kept():
    mode = Unwaiting()
    with mode:
        for value in range(1000):
            array = np.array([value, value])
            made = torch.as_tensor(array, dtype=torch.int64, device="cpu")
            assert made.tolist() == [value, value]
    assert len(mode.constants) <= 256


# Seeds


def drawn(seeds):
    return ops.convert_to_numpy(keras.random.uniform((4,), seed=seeds))


def test_seeds_draw_the_numbers_of_keras():
    ours, theirs = seed_generator(7), keras.random.SeedGenerator(7)
    assert isinstance(ours, SeedGenerator)
    for _ in range(3):
        numbers = [drawn(seeds) for seeds in (ours, theirs)]
        np.testing.assert_array_equal(*numbers)
    np.testing.assert_array_equal(np.array(ours.state), np.array(theirs.state))


def test_seeds_follow_a_state_that_was_restored():
    seeds = seed_generator(7)
    first = drawn(seeds)
    second = drawn(seeds)
    seeds.state.assign([7, 0])
    np.testing.assert_array_equal(drawn(seeds), first)
    np.testing.assert_array_equal(drawn(seeds), second)


def test_a_seed_is_read_from_the_device_once():
    seeds = seed_generator(7)
    keras.random.uniform((4,), seed=seeds)
    with RoundTrips() as trips:
        keras.random.uniform((4,), seed=seeds)
    assert trips.count == 0


def test_a_state_has_the_name_that_keras_gives_it():
    keras.backend.clear_session()
    theirs = keras.random.SeedGenerator(1).state.path
    keras.backend.clear_session()
    assert seed_generator(1).state.path == theirs


# Copies


class Stream:
    """Notes what a CUDA stream is told to do."""

    def __init__(self, name, told):
        self.name, self.told = name, told

    def record_event(self):
        self.told.append(f"{self.name} records")
        return self.name

    def wait_event(self, event):
        self.told.append(f"{self.name} waits for {event}")


def test_a_batch_is_pinned_and_copied_aside_and_waited_for_on_the_device(
    monkeypatch,
):
    told = []
    main = Stream("main", told)
    cuda = torch.cuda
    monkeypatch.setattr(cuda, "Stream", lambda device: Stream("side", told))
    monkeypatch.setattr(cuda, "current_stream", lambda device: main)
    for name in ("device", "stream"):
        monkeypatch.setattr(cuda, name, contextlib.nullcontext)

    def pin(tensor):
        told.append(f"pins {tensor.dtype}")
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    transfer = PinnedTransfer(torch.device("cpu"))
    batch = {"images": images(2), "ids": torch.arange(2)}
    sent = transfer.send((batch, None))
    assert sorted(told) == [
        "pins torch.int64",
        "pins torch.uint8",
        "side records",
    ]
    told.clear()
    got, nothing = transfer.receive(sent)
    assert told == ["main waits for side"]
    assert nothing is None
    assert got["images"].dtype == torch.uint8
    np.testing.assert_array_equal(got["images"].numpy(), batch["images"])


# On a GPU


@on_gpu
def test_batches_arrive_on_the_gpu_as_bytes():
    transfer = transfer_to_device()
    batches = [(images(4) + i, np.arange(4, dtype="int32")) for i in range(8)]
    sent = [transfer.send(batch) for batch in batches]
    for (x, ids), each in zip(batches, sent, strict=True):
        got_x, got_ids = transfer.receive(each)
        assert got_x.is_cuda
        assert got_x.dtype == torch.uint8
        assert got_ids.is_cuda
        assert got_ids.dtype == torch.int32
        np.testing.assert_array_equal(got_x.cpu().numpy(), x)
        np.testing.assert_array_equal(got_ids.cpu().numpy(), ids)


@on_gpu
@pytest.mark.parametrize("name", MODELS)
def test_a_step_does_not_wait_for_the_gpu(name):
    class NoWaiting(keras.callbacks.Callback):
        reads_step_logs = False

        def on_train_batch_end(self, batch, logs=None):
            if batch in (4, 6):  # Steps 5 and 6.
                on = "error" if batch == 4 else "default"
                torch.cuda.set_sync_debug_mode(on)

    data = lt.datasets.ImageBatches(images(64), batch_size=8)
    try:
        MODELS[name]().fit(data, verbose=0, callbacks=[NoWaiting()])
    finally:
        torch.cuda.set_sync_debug_mode("default")
