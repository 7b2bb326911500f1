"""Reads a few items ahead of the one that is requested."""

import threading
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LookAhead(Generic[Key, Value]):
    """Reads items in threads, some of them before they are requested.

    Keras' own workers cannot be used. When `fit` builds a model, it starts
    them, takes one batch and stops them. The batches that they have read then
    begin the first epoch, which skips as many batches of its own (Keras 3.15,
    PyTorch and JAX). Here an item belongs to its key, so an item that is not
    requested is dropped.

    Args:
        read: Function from a key to its item. Several threads call it.
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
        """Returns the item of `key`, and starts to read the following ones.

        Args:
            key: Key of the item to return.
            following: Keys of the items to read ahead, soonest first. All
                other items that were read ahead are dropped.

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

    def close(self) -> None:
        """Drops what was read ahead. Threads end with what they are reading."""
        with self._lock:
            self._pending.clear()
            self._threads.shutdown(wait=False, cancel_futures=True)
