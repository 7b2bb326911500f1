"""Shows how a training goes, and how long it will still take."""

import time
from typing import Any

import keras

from keras_ltssl.command.run_folder import RunFolder

# Seconds between two lines: first so few, and in long runs so many.
_SHORT_PAUSE, _LONG_PAUSE = 10.0, 60.0


class TrainingProgress(keras.callbacks.Callback):
    """Prints a line with the time left, every ten seconds to every minute.

    It also keeps the seconds of training in `run.json`, so that those before a
    kill are known.

    Args:
        folder: The folder of the run.
        settings: What its `run.json` holds.
        num_batches: Batches of an epoch.
    """

    reads_step_logs = False

    def __init__(
        self, folder: RunFolder, settings: dict[str, Any], num_batches: int
    ) -> None:
        super().__init__()
        self._folder = folder
        self._settings = settings
        self._seconds = float(settings.get("seconds") or 0.0)
        self._num_batches = num_batches
        self._began = self._printed = time.monotonic()
        self._first: float | None = None
        self._epoch = 0

    @property
    def _epochs(self) -> int:
        return int(self.params["epochs"])

    @property
    def seconds(self) -> float:
        """Seconds of training, with those of earlier processes."""
        return self._seconds + time.monotonic() - self._began

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self._epoch = epoch

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        done = self._epoch + (batch + 1) / self._num_batches
        if self._first is None:
            # The first step compiles, which would make all of them look slow.
            self._first, self._began_steps = done, time.monotonic()
        elif self._is_due():
            self._print(done, f"epoch {self._epoch + 1}", None)

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        done = epoch + 1
        is_last = done == self._epochs
        if self._is_due() or is_last or done == 1:
            self._print(done, f"epoch {done}", (logs or {}).get("loss"))
            self._settings["seconds"] = round(self.seconds, 1)
            self._folder.write_settings(self._settings)

    def _is_due(self) -> bool:
        now = time.monotonic()
        pause = max(_SHORT_PAUSE, (now - self._began) / 50)
        return now - self._printed >= min(pause, _LONG_PAUSE)

    def _print(self, done: float, where: str, loss: Any) -> None:
        self._printed = time.monotonic()
        line = f"Training: {where} of {self._epochs}"
        if loss is not None:
            line += f", loss {float(loss):.3f}"
        if self._first is not None and self._first < done < self._epochs:
            pace = (self._printed - self._began_steps) / (done - self._first)
            left = pace * (self._epochs - done)
            line += f", {in_words(left)} left"
        print(line, flush=True)


def in_words(seconds: float) -> str:
    """Returns a time such as `"12 min"`.

    Example:

    >>> from keras_ltssl.command.training_progress import in_words
    >>> in_words(40), in_words(700), in_words(9000)
    ('40 s', '12 min', '2 h 30 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
