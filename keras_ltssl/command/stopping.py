"""Ends a process in words when it is asked to stop."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType


def stop_in_words(next_step: Callable[[], str]) -> None:
    """Ends the process in words from now on, on SIGTERM and on Ctrl-C.

    It ends at once, since a checkpoint is whole whenever a process ends. The
    exit code is the shell's, 128 and the number of the signal.

    Args:
        next_step: Function that returns how to go on.
    """

    def stop(number: int, _: FrameType | None) -> None:
        # Where the signal came in the middle of a line, Python refuses.
        with contextlib.suppress(RuntimeError):
            sys.stdout.flush()
        name = signal.Signals(number).name
        os.write(2, f"\nStopped by {name}. {next_step()}\n".encode())
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


@contextlib.contextmanager
def stopping_in_words(next_step: Callable[[], str]) -> Iterator[None]:
    """Does the same within a `with` block.

    Args:
        next_step: Function that returns how to go on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python allows only the main thread to do so.
        return
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        stop_in_words(next_step)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
