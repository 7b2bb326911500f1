"""Reading a few items ahead of the one that is asked for."""

import threading
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LookAhead(Generic[Key, Value]):
    """Reads items in threads, some of them before they are asked for.

    Why not Keras's own workers: when `fit` builds a model, it starts them,
    takes one batch and stops them, and keeps what they had read for the first
    epoch, which so begins with batches of another pass and leaves out as many
    of its own (Keras 3.15, PyTorch and JAX). Here an item belongs to its key,
    so one that nobody takes is dropped instead of delivered late.

    Args:
        read: Function from a key to its item. Called from several threads.
        num_threads: Integer, number of threads.
    """

    def __init__(self, read: Callable[[Key], Value], num_threads: int):
        self._read = read
        self._threads = ThreadPoolExecutor(
            num_threads, thread_name_prefix="look_ahead"
        )
        self._pending: dict[Key, Future[Value]] = {}
        self._lock = threading.Lock()

    def get(self, key: Key, following: Iterable[Key]) -> Value:
        """Returns the item of `key`, and starts reading those that follow.

        Args:
            key: Key of the item that is wanted now.
            following: Keys of the items to read ahead, soonest first. Items
                read ahead earlier that are not among them are dropped, so no
                more than these are ever held.

        Returns:
            The item. An error in reading it is raised here.
        """
        wanted = [key, *following]
        with self._lock:
            for stale in self._pending.keys() - set(wanted):
                self._pending.pop(stale).cancel()
            for each in wanted:
                if each not in self._pending:
                    self._pending[each] = self._threads.submit(self._read, each)
            item = self._pending.pop(key)
        return item.result()
