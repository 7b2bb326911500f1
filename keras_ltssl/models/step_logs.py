"""The logs of a training step, read only where something needs them."""

import time
from collections.abc import Iterable
from typing import Any

import keras

from keras_ltssl.backend.steps import Pace

# A progress bar shows new values as often.
_SECONDS = 0.5


class StepLogs:
    """Decides after which steps callbacks get logs.

    Keras reads the logs of each step for its callbacks, and so waits until the
    device has ended the step before it begins the next one. Few callbacks need
    them: any but those of this package that override `on_train_batch_end` or
    `on_batch_end`, and a progress bar, twice a second. After other steps,
    callbacks get no logs.

    Args:
        callbacks: All callbacks of `fit`.
        shows_progress: Whether Keras adds a progress bar.
    """

    def __init__(
        self,
        callbacks: Iterable[keras.callbacks.Callback],
        shows_progress: bool,
    ) -> None:
        bars = [
            each
            for each in callbacks
            if isinstance(each, keras.callbacks.ProgbarLogger)
        ]
        self._shows_progress = shows_progress or bool(bars)
        self._always = any(
            _reads(each) for each in callbacks if each not in bars
        )
        self._shown = -float("inf")
        self._pace = Pace()

    def of_step(self, logs: dict[str, Any]) -> dict[str, Any]:
        """Returns the logs, such that Keras does not read them if not needed.

        Args:
            logs: What a training step returned.
        """
        if self._always:
            return logs
        self._pace.step(logs)
        if self._shows_progress:
            now = time.monotonic()
            if now - self._shown >= _SECONDS:
                self._shown = now
                return logs
        return _Unread(logs)


class _Unread(dict[str, Any]):
    """Logs that have names and values, but seem empty to Keras' callbacks."""

    def items(self) -> Any:
        return {}.items()


def _reads(callback: keras.callbacks.Callback) -> bool:
    if not getattr(callback, "reads_step_logs", True):
        return False
    base = keras.callbacks.Callback
    return any(
        getattr(getattr(callback, name), "__func__", None)
        is not getattr(base, name)
        for name in ("on_train_batch_end", "on_batch_end")
    )
