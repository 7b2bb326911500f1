"""Millions of texts in one buffer."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

# How many texts `repr` shows.
_SHOWN = 5


class PackedTexts(Sequence[str]):
    """A sequence of texts, such as paths, in one buffer of bytes.

    A list of 1.3 million paths takes 160 MB, mostly for the objects. Here each
    text takes its bytes and 8 more, and becomes a `str` when it is read. It
    equals any sequence of the same texts.

    Args:
        texts: Iterable of texts. Defaults to none.

    Example:

    >>> from keras_ltssl.datasets.packed_texts import PackedTexts
    >>> texts = PackedTexts(["a.jpg", "b.jpg", "c.jpg"])
    >>> texts[1], texts[1:], texts == ["a.jpg", "b.jpg", "c.jpg"]
    ('b.jpg', ['b.jpg', 'c.jpg'], True)
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._buffer = bytearray()
        self._ends = array("q")
        self._change: Callable[[str], str] | None = None
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Adds a text at the end.

        Args:
            text: Any text. It may hold the surrogates by which Python writes
                the bytes of a file's name that are no text.
        """
        self._buffer += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._buffer))

    def changed(self, change: Callable[[str], str]) -> "PackedTexts":
        """Returns the same texts, changed when they are read.

        The buffer is shared.

        Args:
            change: Function from a text to the one that is read.
        """
        texts = PackedTexts()
        texts._buffer, texts._ends = self._buffer, self._ends
        texts._change = change
        return texts

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._read(row) for row in range(*index.indices(len(self)))]
        # As of a list: a row of NumPy is a row, and -1 is the last.
        return self._read(range(len(self))[index])

    def _read(self, row: int) -> str:
        start = self._ends[row - 1] if row else 0
        text = self._buffer[start : self._ends[row]].decode(
            "utf-8", "surrogatepass"
        )
        return text if self._change is None else self._change(text)

    def __iter__(self) -> Iterator[str]:
        return map(self._read, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str) or not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(
            mine == its for mine, its in zip(self, other, strict=True)
        )

    # Like a list, which can be compared and not hashed.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(repr(text) for text in self[:_SHOWN])
        if len(self) > _SHOWN:
            shown += f", ... ({len(self)} in all)"
        return f"[{shown}]"
