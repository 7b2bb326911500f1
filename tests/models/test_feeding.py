import contextlib
import threading
import time

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
from keras_ltssl.backend import steps
from keras_ltssl.datasets.epoch_batches import Epoch
from keras_ltssl.datasets.rows import ArrayRows
from keras_ltssl.models.step_logs import StepLogs

reads_ahead_itself = keras.backend.backend() == "tensorflow"


class WatchedRows(ArrayRows):
    """Rows that take time to be read, or break."""

    def __init__(self, array, seconds=0.0, broken=None):
        super().__init__(array)
        self.seconds = seconds
        self.broken = broken
        self.num_reads = 0

    def read(self, numbers):
        self.num_reads += 1
        time.sleep(self.seconds)
        if self.num_reads == self.broken:
            raise OSError("the disk is gone")
        return super().read(numbers)


class WatchedBatches(lt.datasets.ImageBatches):
    def __init__(self, *args, seconds=0.0, broken=None, **kwargs):
        self.watched = None
        super().__init__(*args, **kwargs)
        self.watched = WatchedRows(self.images, seconds, broken)
        self.epoch = 0

    def compose(self, epoch):
        made = super().compose(epoch)
        if self.watched is None:
            return made
        return Epoch(self.watched, made.ids, made.batches)


def views(count=32):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, 2, 6), "uint8")


def small_model(loss=None, **kwargs):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6,))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    encoder = keras.Model(inputs, keras.layers.Dense(4)(x))
    model = lt.models.ContrastiveModel(encoder)
    model.compile("sgd", loss or lt.losses.NTXentLoss(), **kwargs)
    return model


def weights_of(model):
    return [ops.convert_to_numpy(weight) for weight in model.weights]


class Step(keras.callbacks.Callback):
    """Calls a function after each step."""

    reads_step_logs = False

    def __init__(self, function):
        super().__init__()
        self.function = function

    def on_train_batch_end(self, batch, logs=None):
        self.function(batch)


class Clock(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds = time.monotonic() - self.began


def reading_threads():
    return [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("look_ahead")
    ]


def check_that_readers_end(before):
    for thread in set(reading_threads()) - set(before):
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.every_backend
def test_a_batch_is_read_while_the_step_before_runs():
    data = WatchedBatches(views(32), batch_size=4, seconds=0.2)
    clock = Clock()
    small_model().fit(
        data,
        epochs=2,  # The first one compiles.
        verbose=0,
        callbacks=[clock, Step(lambda batch: time.sleep(0.2))],
    )
    one_after_the_other = 8 * (0.2 + 0.2)
    assert clock.seconds < 0.85 * one_after_the_other


@pytest.mark.skipif(reads_ahead_itself, reason="tf.data reads ahead")
def test_reading_ahead_can_be_turned_off():
    data = WatchedBatches(views(16), batch_size=4)
    data.reads_ahead = False
    reads = []
    small_model().fit(
        data,
        verbose=0,
        callbacks=[Step(lambda batch: reads.append(data.watched.num_reads))],
    )
    assert np.diff(reads).tolist() == [1, 1, 1]


@pytest.mark.every_backend
@pytest.mark.skipif(reads_ahead_itself, reason="tf.data reads ahead")
def test_reading_ahead_is_bounded():
    data = WatchedBatches(views(64), batch_size=4)
    reads = []

    def note(batch):
        time.sleep(0.05)  # Enough for a reader without bounds.
        reads.append(data.watched.num_reads - (batch + 1))

    small_model().fit(data, verbose=0, callbacks=[Step(note)])
    # One more is of the look at the first batch, before training.
    assert max(reads) <= 3


@pytest.mark.every_backend
@pytest.mark.parametrize("workers", [1, 3])
def test_training_does_not_depend_on_reading_ahead(workers):
    histories, weights = [], []
    for reads_ahead in (True, False):
        # The last batch is smaller.
        data = lt.datasets.ImageBatches(
            views(30), batch_size=8, workers=workers
        )
        data.reads_ahead = reads_ahead
        model = small_model()
        history = model.fit(
            data, epochs=3, verbose=0, validation_data=(views(8), np.arange(8))
        )
        histories.append(history.history)
        weights.append(weights_of(model))
    assert histories[0] == histories[1]
    for fed, plain in zip(*weights, strict=True):
        np.testing.assert_array_equal(fed, plain)


@pytest.mark.every_backend
def test_a_run_resumes_as_if_it_had_not_been_interrupted(tmp_path):
    def fit(folder, epochs):
        model = small_model(lt.losses.TASELoss(warmup_steps=0))
        model.fit(
            lt.datasets.ImageBatches(views(30), batch_size=8, seed=1),
            epochs=epochs,
            verbose=0,
            callbacks=[lt.callbacks.ResumableCheckpoint(folder)],
        )
        return weights_of(model)

    fit(tmp_path / "two", 2)
    resumed = fit(tmp_path / "two", 4)
    for one, other in zip(resumed, fit(tmp_path / "four", 4), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.every_backend
@pytest.mark.skipif(reads_ahead_itself, reason="tf.data reads ahead")
def test_an_epoch_that_was_stopped_begins_again():
    before = reading_threads()
    data = WatchedBatches(views(24), batch_size=8)
    model = small_model()

    def stop(batch):
        time.sleep(0.1)  # The last batch is read meanwhile.
        model.stop_training = True

    model.fit(data, epochs=3, verbose=0, callbacks=[Step(stop)])
    assert data.epoch == 0
    check_that_readers_end(before)
    model.fit(data, verbose=0)
    assert data.epoch == 1


@pytest.mark.every_backend
def test_an_error_of_the_reader_reaches_the_user():
    before = reading_threads()
    data = WatchedBatches(views(64), batch_size=8, broken=6)
    expected = Exception if reads_ahead_itself else OSError
    with pytest.raises(expected, match="the disk is gone"):
        small_model().fit(data, verbose=0)
    check_that_readers_end(before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_threads_end_with_a_training_that_is_interrupted(error):
    before = reading_threads()
    data = WatchedBatches(views(64), batch_size=8)

    def interrupt(batch):
        if batch == 2:
            raise error

    with contextlib.suppress(error):
        small_model().fit(data, verbose=0, callbacks=[Step(interrupt)])
    check_that_readers_end(before)


@pytest.mark.every_backend
def test_steps_per_epoch_go_on_with_the_next_batch():
    losses = []
    for reads_ahead in (True, False):
        data = lt.datasets.ImageBatches(views(32), batch_size=4)
        data.reads_ahead = reads_ahead
        history = small_model().fit(
            data, epochs=4, steps_per_epoch=4, verbose=0
        )
        losses.append(history.history["loss"])
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 4


# Logs of steps


class LogReader(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(logs)


@pytest.mark.every_backend
def test_a_callback_gets_the_logs_of_each_step():
    reader = LogReader()
    small_model().fit(views(32), batch_size=8, verbose=0, callbacks=[reader])
    assert len(reader.seen) == 4
    assert all(isinstance(logs["loss"], float) for logs in reader.seen)


@pytest.mark.every_backend
def test_logs_of_an_epoch_do_not_depend_on_who_reads_those_of_steps():
    histories = [
        small_model()
        .fit(views(32), batch_size=8, verbose=0, epochs=2, callbacks=callbacks)
        .history
        for callbacks in ([], [LogReader()])
    ]
    assert histories[0] == histories[1]
    assert "contrastive_accuracy" in histories[0]


@pytest.mark.every_backend
def test_train_on_batch_returns_logs_before_and_after_fit():
    model = small_model()
    first = model.train_on_batch(views(8), np.arange(8), return_dict=True)
    model.fit(views(8), verbose=0)
    later = model.train_on_batch(views(8), np.arange(8), return_dict=True)
    assert set(first) == set(later)
    assert "loss" in later


def test_a_progress_bar_shows_the_loss(capsys):
    small_model().fit(views(32), batch_size=8, verbose=1)
    assert "loss" in capsys.readouterr().out


def test_logs_are_read_for_a_progress_bar_twice_a_second(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    logs = StepLogs([], shows_progress=True)
    shown = []
    for now[0] in (0.0, 0.1, 0.4, 0.6, 0.7, 1.2):
        shown.append(bool(logs.of_step({"loss": 1.0}).items()))
    assert shown == [True, False, False, True, False, True]


def test_logs_that_are_not_read_keep_names_and_values():
    unread = StepLogs([], shows_progress=False).of_step({"loss": 1.0})
    assert list(unread.items()) == []
    assert unread["loss"] == 1.0
    assert set(unread.keys()) == {"loss"}
    assert dict(unread) == {"loss": 1.0}


def test_two_steps_are_begun_at_most(monkeypatch):
    waited = []
    monkeypatch.setattr(steps, "_end_of_step", lambda logs: logs["step"])
    monkeypatch.setattr(steps, "_wait_for", waited.append)
    logs = StepLogs([], shows_progress=False)
    for step in range(5):
        logs.of_step({"step": step})
        assert waited == list(range(step - 1))


@pytest.mark.parametrize(
    "callback",
    [
        LogReader(),
        keras.callbacks.LambdaCallback(on_train_batch_end=print),
        keras.callbacks.TerminateOnNaN(),
    ],
)
def test_callbacks_of_batches_are_known(callback):
    logs = StepLogs([callback], shows_progress=False).of_step({"loss": 1.0})
    assert list(logs.items()) == [("loss", 1.0)]


def test_the_callbacks_of_the_package_read_no_logs_of_steps(tmp_path):
    model = small_model()
    known = [
        *model.own_callbacks(),
        lt.callbacks.ResumableCheckpoint(tmp_path),
        keras.callbacks.History(),
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.1),
    ]
    logs = StepLogs(known, shows_progress=False).of_step({"loss": 1.0})
    assert not logs.items()
