"""Lists the image files of a folder in an order that is the same everywhere."""

import dataclasses
import os
import stat
from collections import Counter

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
        sizes: Bytes of each file by its path, with `/` between its parts,
            sorted by that text.
        faults: Reason why a file or a folder cannot be read, by its path.
            That of a folder ends with `/`. These are not in `sizes`.
        others: Number of files that are no images, by their extensions.
        links: Number of links that leave the folder and are not followed.
    """

    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    faults: dict[str, str] = dataclasses.field(default_factory=dict)
    others: Counter[str] = dataclasses.field(default_factory=Counter)
    links: int = 0

    @property
    def num_files(self) -> int:
        """Number of image files, good or bad."""
        return len(self.sizes) + len(self.faults)


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
        # Real paths, so that each file counts once and circles end.
        self._folders: set[str] = set()
        self._files: set[str] = set()
        self._links: list[tuple[str, str]] = []
        self._walk("", self._root)
        # Links come last, so that a file has its own name if it has one in the
        # folder. They are sorted, as systems list them in different orders.
        while self._links:
            links, self._links = sorted(self._links), []
            for name, path in links:
                self._visit_link(name, path)
        self.listing.sizes = dict(sorted(self.listing.sizes.items()))
        self.listing.faults = dict(sorted(self.listing.faults.items()))

    def _walk(self, name: str, path: str) -> None:
        """Visits a folder by its relative name and its real path."""
        pending = [(name, path)]
        while pending:
            name, path = pending.pop()
            if path in self._folders:
                continue
            self._folders.add(path)
            try:
                with os.scandir(path) as entries:
                    for entry in entries:
                        if entry.name.startswith("."):
                            continue
                        inner = f"{name}/{entry.name}" if name else entry.name
                        if entry.is_symlink():
                            self._links.append((inner, entry.path))
                        elif entry.is_dir():
                            pending.append((inner, entry.path))
                        else:
                            self._visit_file(inner, entry.path)
            except OSError as error:
                reason = error.strerror or str(error)
                self.listing.faults[f"{name or '.'}/"] = reason

    def _visit_link(self, name: str, path: str) -> None:
        target = os.path.realpath(path)
        if not self._follow_links and not self._is_inside(target):
            self.listing.links += 1
        elif os.path.isdir(target):
            self._walk(name, target)
        elif os.path.exists(target) or not _is_image(name):
            self._visit_file(name, target)
        else:
            self.listing.faults[name] = "it is a link to a missing file"

    def _is_inside(self, path: str) -> bool:
        return path.startswith(self._root.rstrip(os.sep) + os.sep)

    def _visit_file(self, name: str, path: str) -> None:
        """Adds a file by its relative name and its real path."""
        if path in self._files:
            return
        self._files.add(path)
        if not _is_image(name):
            extension = os.path.splitext(name)[1].lower()
            self.listing.others[extension or "without extension"] += 1
            return
        try:
            status = os.stat(path)
        except OSError as error:
            self.listing.faults[name] = error.strerror or str(error)
            return
        if not stat.S_ISREG(status.st_mode):
            # A pipe, for example: reading it may never end.
            self.listing.others["no regular file"] += 1
        elif status.st_size:
            self.listing.sizes[name] = status.st_size
        else:
            self.listing.faults[name] = "it is empty"


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def joined(directory: str, name: str) -> str:
    """Returns the path of a file by its path relative to a folder."""
    return os.path.join(directory, *name.split("/"))


def class_of(name: str) -> str:
    """Returns the first folder of a relative path, or an empty text."""
    return name.partition("/")[0] if "/" in name else ""
