"""Makes batches of the images in a folder."""

import functools
import os
import warnings
from collections.abc import Sequence

from keras_ltssl.datasets import directory_messages as messages
from keras_ltssl.datasets.directory_batches import DirectoryBatches
from keras_ltssl.datasets.directory_classes import (
    check_classes,
    checked_class_names,
    classes_of,
    keep_classes,
)
from keras_ltssl.datasets.epoch_batches import checked_part
from keras_ltssl.datasets.image_batches import checked_crop_scale
from keras_ltssl.datasets.image_check import find_faults
from keras_ltssl.datasets.image_files import (
    CHANNELS,
    check_pillow,
    read_images,
)
from keras_ltssl.datasets.image_listing import (
    ImageListing,
    joined,
    list_images,
)
from keras_ltssl.datasets.image_reader import ImageReader
from keras_ltssl.datasets.named_images import check_names, list_named_images
from keras_ltssl.datasets.packed_texts import PackedTexts
from keras_ltssl.datasets.rows import FileRows
from keras_ltssl.validation import (
    check_boolean,
    check_choice,
    check_integer,
    check_path,
    check_sizes,
)


def image_batches_from_directory(
    directory: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    labels: str | None = None,
    class_names: Sequence[str] | None = None,
    color_mode: str = "rgb",
    batch_size: int = 256,
    image_size: tuple[int, int] = (256, 256),
    shuffle: bool = True,
    seed: int = 0,
    follow_links: bool = False,
    crop_to_aspect_ratio: bool = True,
    on_error: str = "raise",
    check: bool = True,
    workers: int = 4,
    use_multiprocessing: bool = False,
    max_queue_size: int = 10,
    part: tuple[int, int] | None = None,
    verbose: bool = True,
    crop_scale: tuple[float, float] | None = None,
) -> DirectoryBatches:
    """Returns `(images, ids)` batches of all images in a folder.

    Images in subfolders are found, too. Hidden files and folders, whose names
    begin with a dot, are left out. Images are numbered in the order of their
    paths relative to `directory`, which is the same on every machine. They may
    be of any size, aspect ratio and color mode, see `read_images`.

    Before it returns, **each file is decoded once**, so that a bad file stops a
    long run before it begins. This takes about as long as reading an epoch. By
    default a bad file is an error.

    Arguments are those of `keras.utils.image_dataset_from_directory`, where
    they mean the same. What differs:

    - Batches hold ids, not labels. `labels` is `None` by default, since
      training needs none; those of the folders are an attribute.
    - `batch_size` is 256 by default, as in `ImageBatches`: the other images of
      a batch are what contrastive losses compare an image with.
    - The order is reproducible: `seed` is `0` by default, and each epoch has
      an order of its own, see `ImageBatches`.
    - `crop_to_aspect_ratio` is `True` by default, as in `read_images`, and
      images are antialiased.
    - Also read are TIFF, WebP, JPEG 2000, AVIF and PNM, and, if a plug-in for
      Pillow is registered, HEIC.
    - Links are followed only to places in the folder. No image comes twice.
    - There is no `validation_split`: a folder of its own keeps images that are
      held out from changing when others are added.

    Args:
        directory: Path of the folder.
        names: Sequence of the paths of images relative to `directory`, with
            `/` between their parts: only these, in this order, wherever links
            lead. A file that is missing counts as a bad one. Defaults to
            `None`, all images in the folder.
        labels: `"inferred"` to take the name of the subfolder of `directory`
            as the class of an image. Images outside of a subfolder are then
            left out. Defaults to `None`, no labels.
        class_names: Sequence of the names of subfolders, for `"inferred"`: the
            classes in this order, and no others. Defaults to `None`, all
            subfolders that hold images, sorted.
        color_mode: `"rgb"`, or `"grayscale"` for one channel. Defaults to
            `"rgb"`.
        batch_size: Integer, number of images in a batch. The last batch may be
            smaller. Defaults to `256`.
        image_size: Tuple of integers `(height, width)`, in pixels. Defaults to
            `(256, 256)`.
        shuffle: Boolean, whether each epoch has an order of its own. If
            `False`, images come in the order of their paths. Defaults to
            `True`.
        seed: Integer, at least 0, for the order. Defaults to `0`.
        follow_links: Boolean, whether links that leave the folder are
            followed. Defaults to `False`.
        crop_to_aspect_ratio: Boolean. If `True`, an image is cropped at its
            center; if `False`, all of it is kept, but distorted. Defaults to
            `True`.
        on_error: `"raise"`, or `"skip"` to leave bad files out with a warning.
            If more than half of the files are bad, this raises as well.
            Defaults to `"raise"`.
        check: Boolean, whether each file is decoded once before training. If
            `False`, a damaged file raises an error that names it when its
            batch is read. Defaults to `True`.
        workers: Integer, number of threads that read batches ahead. The check
            uses as many threads as there are processors, at least `workers`.
            Defaults to `4`.
        use_multiprocessing: Boolean, whether images are decoded by processes
            instead of threads, see `ImageBatches`. Defaults to `False`.
        max_queue_size: Integer, number of batches that `workers` read ahead.
            Defaults to `10`.
        part: Pair of integers `(index, count)`, for processes that train
            together, see `ImageBatches`. Defaults to `None`.
        verbose: Boolean, whether to print what is found and the progress of
            the check. Defaults to `True`.
        crop_scale: Pair of floats in `(0, 1]`, for batches of two random crops
            of each image, see `ImageBatches`. Defaults to `None`.

    Returns:
        A `DirectoryBatches`: an `ImageBatches` with the attributes `paths`,
        `labels`, `class_names` and `skipped`, and with the methods
        `write_list` and `changes_since`.

    Raises:
        ImportError: If `pillow` is not installed.
        ValueError: If an argument is out of range, the folder is missing or
            holds fewer than two images, or a file cannot be read. The message
            names the first bad files, their number and the reasons.

    Example:

    >>> import os, tempfile
    >>> import numpy as np
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("fox/1.png", "fox/2.png", "owl/1.png"):
    ...         path = os.path.join(folder, name)
    ...         os.makedirs(os.path.dirname(path), exist_ok=True)
    ...         Image.new("RGB", (40, 30)).save(path)
    ...     photos = image_batches_from_directory(
    ...         folder, image_size=(16, 16), labels="inferred", verbose=False
    ...     )
    ...     images, ids = photos[0]
    >>> images.shape, sorted(ids.tolist())
    ((3, 16, 16, 3), [0, 1, 2])
    >>> photos.class_names, photos.labels.tolist()
    (['fox', 'owl'], [0, 0, 1])
    """
    check_path("directory", directory)
    check_choice("labels", labels, (None, "inferred"))
    wanted = checked_class_names(class_names, labels)
    if names is not None:
        check_names(names)
    check_choice("color_mode", color_mode, tuple(CHANNELS))
    check_integer("batch_size", batch_size, minimum=1)
    height, width = check_sizes("image_size", image_size, ("height", "width"))
    check_boolean("shuffle", shuffle)
    check_integer("seed", seed, minimum=0)
    check_boolean("follow_links", follow_links)
    check_boolean("crop_to_aspect_ratio", crop_to_aspect_ratio)
    check_choice("on_error", on_error, ("raise", "skip"))
    check_boolean("check", check)
    check_integer("workers", workers, minimum=0)
    check_integer("max_queue_size", max_queue_size, minimum=1)
    if part is not None:
        checked_part(part)
    check_boolean("verbose", verbose)
    checked_crop_scale(crop_scale)
    if on_error == "skip" and not check:
        raise ValueError(
            "`check` must be True to skip bad files, since they are not "
            f"noticed without it. Received: {check=}, {on_error=}"
        )
    reader = ImageReader(workers, use_multiprocessing)
    check_pillow()

    folder = os.fspath(directory)
    if not os.path.isdir(folder):
        raise ValueError(messages.no_folder(folder))
    listing = (
        list_images(folder, follow_links)
        if names is None
        else list_named_images(folder, names)
    )
    if "./" in listing.faults:
        raise ValueError(messages.not_listed(folder, listing.faults["./"]))
    if not listing.num_files:
        raise ValueError(messages.no_images(folder, listing))
    outside = keep_classes(folder, listing, wanted) if labels else 0
    if verbose:
        print(messages.found(folder, listing, outside, batch_size))
    if check:
        _find_faults(folder, listing, (height, width), workers, verbose)
    bad_files = messages.bad_files(folder, listing)
    if 2 * len(listing.faults) > listing.num_files and on_error == "skip":
        raise ValueError(f"{bad_files}\n{messages.TOO_MANY}")
    if listing.faults and on_error == "raise":
        raise ValueError(f"{bad_files}\n{messages.REMEDY}")
    if len(listing.names) < 2:
        raise ValueError(messages.too_few(folder, listing))
    if listing.faults:
        warnings.warn(f"{bad_files}\n{messages.LEFT_OUT}", stacklevel=2)

    paths = _paths(folder, listing)
    form = (color_mode, crop_to_aspect_ratio)
    if not check:
        read_images(paths[:1], (height, width), *form)
    classes = None
    if labels:
        found = classes_of(listing)
        classes = wanted or found
        # Some may have lost all of their images.
        check_classes(folder, found, classes)
    return DirectoryBatches(
        folder,
        FileRows(paths, (height, width), reader, *form),
        names=listing.names,
        sizes=listing.sizes,
        skipped=listing.faults,
        class_names=classes,
        batch_size=batch_size,
        seed=seed,
        shuffle=shuffle,
        workers=workers,
        use_multiprocessing=use_multiprocessing,
        max_queue_size=max_queue_size,
        part=part,
        crop_scale=crop_scale,
    )


def _paths(folder: str, listing: ImageListing) -> PackedTexts:
    return listing.names.changed(functools.partial(joined, folder))


def _find_faults(
    folder: str,
    listing: ImageListing,
    image_size: tuple[int, int],
    workers: int,
    verbose: bool,
) -> None:
    """Decodes each file, and moves those that are bad to the faults."""
    paths = _paths(folder, listing)
    faults = {
        listing.names[row]: reason
        for row, reason in find_faults(
            paths, image_size, workers, verbose
        ).items()
    }
    if faults:
        listing.keep(lambda name: name not in faults)
    listing.faults = dict(sorted({**listing.faults, **faults}.items()))
