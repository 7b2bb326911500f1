"""Lists the image files of a folder in an order that is the same everywhere."""

import dataclasses
import os
import stat
from array import array
from collections import Counter
from collections.abc import Callable

from keras_ltssl.datasets.packed_texts import PackedTexts

# Files are chosen by their names, not by what the installed Pillow reads. So
# the rows of images do not depend on it, and photos that it cannot read, such
# as HEIC without a plug-in, are reported and not ignored.
EXTENSIONS = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe"),
    *(".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif"),
    *(".tiff", ".webp"),
)


@dataclasses.dataclass
class ImageListing:
    """The image files of a folder, by their paths relative to it.

    Attributes:
        names: Path of each file, with `/` between its parts, sorted by that
            text.
        sizes: Bytes of each file, in the order of `names`.
        faults: Reason why a file or a folder cannot be read, by its path.
            That of a folder ends with `/`. These are not in `names`.
        others: Number of files that are no images, by their extensions.
        links: Number of links that leave the folder and are not followed.
    """

    names: PackedTexts = dataclasses.field(default_factory=PackedTexts)
    sizes: "array[int]" = dataclasses.field(default_factory=lambda: array("q"))
    faults: dict[str, str] = dataclasses.field(default_factory=dict)
    others: Counter[str] = dataclasses.field(default_factory=Counter)
    links: int = 0

    @property
    def num_files(self) -> int:
        """Number of image files, good or bad."""
        return len(self.names) + len(self.faults)

    def add(self, name: str, size: int) -> None:
        """Adds a file at the end."""
        self.names.append(name)
        self.sizes.append(size)

    def keep(self, wanted: Callable[[str], bool]) -> None:
        """Removes files, and reasons of files, that are not wanted.

        Args:
            wanted: Function from the path of a file to whether it stays.
        """
        before = zip(self.names, self.sizes, strict=True)
        if not all(map(wanted, self.names)):
            self.names, self.sizes = PackedTexts(), array("q")
            for name, size in before:
                if wanted(name):
                    self.add(name, size)
        self.faults = {
            name: reason for name, reason in self.faults.items() if wanted(name)
        }


def list_images(
    directory: str | os.PathLike[str], follow_links: bool
) -> ImageListing:
    """Returns the image files of a folder and of the folders in it.

    Names that begin with a dot are left out. Each file is listed once: a link
    to a file that is listed anyway gives no second image.

    Args:
        directory: The folder.
        follow_links: Whether links that leave the folder are followed.

    Returns:
        An `ImageListing`.
    """
    return _Walk(directory, follow_links).listing


class _Walk:
    """One walk through a folder."""

    def __init__(
        self, directory: str | os.PathLike[str], follow_links: bool
    ) -> None:
        self.listing = ImageListing()
        self._root = os.path.realpath(directory)
        self._follow_links = follow_links
        # Real paths, so that each file counts once and circles end: folders,
        # those of them that were listed, and files that a link has led to. All
        # other files are in a folder that was listed, and are not kept here.
        self._folders: set[str] = set()
        self._listed: set[str] = set()
        self._linked: set[str] = set()
        self._links: list[tuple[str, str]] = []
        self._walk("", self._root)
        # Links come last, so that a file has its own name if it has one in the
        # folder. They are sorted, as systems list them in different orders.
        num_in_order = len(self.listing.names)
        while self._links:
            links, self._links = sorted(self._links), []
            for name, path in links:
                self._visit_link(name, path)
        if len(self.listing.names) > num_in_order:
            self._sort()
        self.listing.faults = dict(sorted(self.listing.faults.items()))

    def _sort(self) -> None:
        files = zip(self.listing.names, self.listing.sizes, strict=True)
        self.listing.names, self.listing.sizes = PackedTexts(), array("q")
        for name, size in sorted(files):
            self.listing.add(name, size)

    def _walk(self, name: str, path: str) -> None:
        """Visits a folder by its relative name and its real path.

        Files come in the order of their names.
        """
        pending: list[tuple[str, str, int | None]] = [(name, path, None)]
        while pending:
            name, path, size = pending.pop()
            if size is not None:
                self.listing.add(name, size)
            elif path not in self._folders:
                self._folders.add(path)
                pending += self._entries(name, path)

    def _entries(
        self, name: str, path: str
    ) -> list[tuple[str, str, int | None]]:
        """Returns the folders and the images in a folder, the last one first.

        They are names and real paths, and the sizes of the images.
        """
        found: list[tuple[str, str, int | None]] = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    inner = f"{name}/{entry.name}" if name else entry.name
                    if entry.is_symlink():
                        self._links.append((inner, entry.path))
                    elif entry.is_dir():
                        found.append((inner, entry.path, None))
                    elif entry.path not in self._linked:
                        size = self._size_of(inner, entry.path)
                        if size is not None:
                            found.append((inner, "", size))
            self._listed.add(path)
        except OSError as error:
            reason = error.strerror or str(error)
            self.listing.faults[f"{name or '.'}/"] = reason
        # As the paths of the files in a folder are sorted.
        found.sort(
            key=lambda each: each[0] + "/" if each[2] is None else each[0],
            reverse=True,
        )
        return found

    def _visit_link(self, name: str, path: str) -> None:
        target = os.path.realpath(path)
        if not self._follow_links and not self._is_inside(target):
            self.listing.links += 1
        elif os.path.isdir(target):
            self._walk(name, target)
        elif not os.path.exists(target) and _is_image(name):
            self.listing.faults[name] = "it is a link to a missing file"
        elif not self._is_known(target):
            self._linked.add(target)
            size = self._size_of(name, target)
            if size is not None:
                self.listing.add(name, size)

    def _is_inside(self, path: str) -> bool:
        return path.startswith(self._root.rstrip(os.sep) + os.sep)

    def _is_known(self, path: str) -> bool:
        """Returns whether a file was visited, by its real path."""
        folder, name = os.path.split(path)
        return path in self._linked or (
            folder in self._listed and not name.startswith(".")
        )

    def _size_of(self, name: str, path: str) -> int | None:
        """Returns the bytes of a file, or notes why it is not an image."""
        if not _is_image(name):
            extension = os.path.splitext(name)[1].lower()
            self.listing.others[extension or "without extension"] += 1
            return None
        try:
            status = os.stat(path)
        except OSError as error:
            self.listing.faults[name] = error.strerror or str(error)
            return None
        if not stat.S_ISREG(status.st_mode):
            # A pipe, for example: reading it may never end.
            self.listing.others["no regular file"] += 1
            return None
        if not status.st_size:
            self.listing.faults[name] = "it is empty"
            return None
        return status.st_size


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def joined(directory: str, name: str) -> str:
    """Returns the path of a file by its path relative to a folder."""
    return os.path.join(directory, *name.split("/"))


def class_of(name: str) -> str:
    """Returns the first folder of a relative path, or an empty text."""
    return name.partition("/")[0] if "/" in name else ""
