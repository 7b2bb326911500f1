"""What a user reads about the images in a folder."""

import os
from collections.abc import Sequence

from keras_ltssl.datasets.image_listing import EXTENSIONS, ImageListing

# How many files a message names.
_SHOWN = 5

REMEDY = 'Repair or remove them, or pass `on_error="skip"` to leave them out.'
LEFT_OUT = "They are left out. The attribute `skipped` lists them all."
TOO_MANY = (
    "These are more than half of the images, so another cause is likely, and "
    '`on_error="skip"` does not leave them out.'
)


def counted(count: int, noun: str) -> str:
    """Returns a number with its noun, such as `"2 images"`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def first_of(names: Sequence[str]) -> str:
    """Returns the first names of a sequence, and how many follow."""
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def no_folder(folder: str) -> str:
    """Returns that a path is not a folder."""
    what = "is a file" if os.path.exists(folder) else "does not exist"
    return (
        "`directory` must be an existing folder. Received: "
        f"directory={folder!r}, but {os.path.abspath(folder)!r} {what}"
    )


def not_listed(folder: str, reason: str) -> str:
    """Returns that the names in a folder cannot be read, and why."""
    return (
        "`directory` must be a folder that can be read. Received: "
        f"directory={folder!r}: {reason}"
    )


def no_images(folder: str, listing: ImageListing) -> str:
    """Returns that a folder has no images, and what it has instead."""
    others = listing.others.total()
    held = [f"{counted(others, 'other file')} ({_kinds(listing)})"]
    if not others:
        held = ["no files"]
    if listing.links:
        held.append(
            f"{counted(listing.links, 'link')} out of it, which "
            "`follow_links=True` would follow"
        )
    return (
        f"`directory` must hold image files ({', '.join(EXTENSIONS)}). "
        f"Received: directory={folder!r}, which holds {' and '.join(held)}"
    )


def no_classes(folder: str, listing: ImageListing) -> str:
    """Returns that a folder has no subfolder with images."""
    return (
        '`labels="inferred"` takes the names of subfolders as classes, so '
        "`directory` must hold a subfolder with images. Received: "
        f"directory={folder!r}, with {counted(listing.num_files, 'image')} "
        "outside of subfolders"
    )


def too_few(folder: str, listing: ImageListing) -> str:
    """Returns that a folder has fewer than two good images."""
    skipped = f" and {len(listing.faults)} skipped" if listing.faults else ""
    return (
        "`directory` must hold at least two images, since they are compared "
        f"with each other. Received: directory={folder!r}, with "
        f"{first_of(listing.names) or 'none'}{skipped}"
    )


def bad_files(folder: str, listing: ImageListing) -> str:
    """Returns which files cannot be read, and why."""
    faults = listing.faults
    lines = [
        f"{len(faults)} of {counted(listing.num_files, 'image')} in "
        f"{folder!r} cannot be read:"
    ]
    lines += [f"  {name!r}: {faults[name]}" for name in list(faults)[:_SHOWN]]
    if len(faults) > _SHOWN:
        lines.append(f"  and {len(faults) - _SHOWN} more")
    return "\n".join(lines)


def found(
    folder: str, listing: ImageListing, outside: int, batch_size: int
) -> str:
    """Returns how many images were found, and what was left out."""
    left_out = []
    if others := listing.others.total():
        left_out.append(f"{counted(others, 'other file')} ({_kinds(listing)})")
    if listing.links:
        left_out.append(f"{counted(listing.links, 'link')} out of the folder")
    if outside:
        left_out.append(
            f"{counted(outside, 'image')} outside of the class folders"
        )
    lines = [f"Found {counted(listing.num_files, 'image')} in {folder!r}."]
    if left_out:
        lines.append(f"Left out: {', '.join(left_out)}.")
    if listing.num_files < batch_size:
        lines.append(
            f"An epoch is one batch of {listing.num_files}, since `batch_size` "
            f"is {batch_size}."
        )
    return "\n".join(lines)


def _kinds(listing: ImageListing) -> str:
    """Returns the extensions of other files, the most frequent first."""
    kinds = sorted(listing.others.items(), key=lambda kind: (-kind[1], kind[0]))
    shown = ", ".join(f"{kind} {count}" for kind, count in kinds[:_SHOWN])
    return f"{shown}, ..." if len(kinds) > _SHOWN else shown
