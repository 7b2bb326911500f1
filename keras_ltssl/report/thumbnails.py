"""Puts small photos into a page, in no more bytes than allowed."""

import base64
import io
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_ltssl.datasets.image_files import check_pillow, read_image
from keras_ltssl.report.elements import Html, escape, file_name, tag

# Longer side in pixels, and JPEG quality. The first that fits is used.
_FORMS = (
    *((192, 82), (160, 80), (128, 80), (128, 70), (112, 70)),
    *((96, 70), (80, 65), (64, 60), (48, 50), (32, 40)),
)
_MARK = re.compile(r'src="image:(\d+)"')
# A crossed box. Its lines are seen on a light and on a dark page.
_MISSING = (
    "data:image/svg+xml;base64,"
    + base64.b64encode(
        b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">'
        b'<path d="M2 2h60v60H2zL62 62M62 2L2 62" fill="none" '
        b'stroke="#808080" stroke-width="2"/></svg>'
    ).decode()
)


def gallery(
    paths: Sequence[str],
    rows: Sequence[int],
    captions: Sequence[str],
    about: str,
) -> Html:
    """Returns images with captions, and a list of their files to open.

    The images are only named here. `Thumbnails.fill` puts them in, when it is
    known how many there are.

    Args:
        paths: Path of each image of the run.
        rows: The images to show, as rows of `paths`.
        captions: A few characters under each of them.
        about: What the images are, for those who cannot see them.
    """
    figures = [
        tag(
            "li",
            tag(
                "figure",
                _image(row, f"{paths[row]}: {caption}"),
                tag("figcaption", caption),
            ),
        )
        for row, caption in zip(rows, captions, strict=True)
    ]
    names = [
        tag("li", f"{caption}: ", file_name(paths[row]))
        for row, caption in zip(rows, captions, strict=True)
    ]
    return Html(
        tag("ul", *figures, class_="gallery", aria_label=about)
        + tag(
            "details",
            tag("summary", f"Files of these {len(rows)} images"),
            tag("ol", *names),
        )
    )


def _image(row: int, alt: str) -> Html:
    # No file name can forge the mark, since quotes in it are escaped.
    return Html(f'<img src="image:{int(row)}" alt="{escape(alt)}">')


class Thumbnails:
    """Reads the photos that a page shows and puts them into it.

    Args:
        directory: Folder of the photos.
        paths: Path of each image, relative to it.
        image_size: Height and width that the encoder saw. A photo is cropped
            to the same shape.
        color_mode: `"rgb"` or `"grayscale"`.
        max_bytes: Characters that all images together may take in the page.
        verbose: Whether to show the progress.
    """

    def __init__(
        self,
        directory: Path,
        paths: Sequence[str],
        image_size: tuple[int, int],
        color_mode: str,
        max_bytes: int,
        verbose: bool,
    ):
        self._directory = directory
        self._paths = paths
        self._image_size = image_size
        self._color_mode = color_mode
        self._max_bytes = max_bytes
        self._verbose = verbose

    def fill(self, page: str) -> tuple[str, list[str]]:
        """Returns the page with its images, and sentences on missing ones.

        Args:
            page: HTML with the marks that `gallery` leaves.
        """
        uses = Counter(int(row) for row in _MARK.findall(page))
        if not uses:
            return page, []
        photos, problems = self._read(list(uses))
        sources = {}
        for side, quality in _FORMS:
            sources = {
                row: _jpeg(photo, side, quality)
                for row, photo in photos.items()
            }
            size = sum(len(text) * uses[row] for row, text in sources.items())
            if size <= self._max_bytes:
                break
        left = self._max_bytes
        dropped = 0
        width, height = self._shape()

        def source(mark: re.Match[str]) -> str:
            nonlocal left, dropped
            text = sources.get(int(mark[1]), _MISSING)
            if len(text) > left:
                dropped += 1
                text = _MISSING
            elif text is not _MISSING:
                left -= len(text)
            return f'src="{text}" width="{width}" height="{height}"'

        filled = _MARK.sub(source, page)
        if dropped:
            problems.append(
                f"{dropped} images would not fit in the {self._max_bytes:,} "
                "bytes that were allowed, so a crossed box stands for each. "
                "Allow more with `max_image_bytes`."
            )
        return filled, problems

    def _shape(self) -> tuple[int, int]:
        """Returns width and height of the largest form."""
        height, width = self._image_size
        scale = _FORMS[0][0] / max(height, width)
        return max(1, round(width * scale)), max(1, round(height * scale))

    def _read(self, rows: Sequence[int]) -> tuple[dict[int, Any], list[str]]:
        """Returns Pillow images by row, and sentences on missing ones."""
        try:
            check_pillow()
        except ImportError as error:
            return {}, [f"No image is shown. {error}"]
        if not self._directory.is_dir():
            return {}, [
                f"No image is shown, since there is no folder "
                f"{os.fspath(self._directory)!r} any more. If the photos have "
                "moved, write the report again with `directory`, their new "
                "folder."
            ]
        from PIL import Image

        width, height = self._shape()
        photos = {}
        failed = []
        progress = keras.utils.Progbar(
            len(rows), verbose=int(self._verbose), unit_name="image"
        )
        for row in rows:
            path = self._directory / self._paths[row]
            try:
                photos[row] = Image.fromarray(
                    read_image(
                        path, (height, width), self._color_mode, True
                    ).squeeze()
                )
            except ValueError as error:
                failed.append((self._paths[row], str(error)))
            progress.add(1)
        if not failed:
            return photos, []
        name, reason = failed[0]
        return photos, [
            f"{len(failed)} of the {len(rows)} images to show could not be "
            "read, so a crossed box stands for each. The first is "
            f"{name!r}: {reason}."
        ]


def _jpeg(photo: Any, side: int, quality: int) -> str:
    small = photo.copy()
    small.thumbnail((side, side))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(
        stream.getvalue()
    ).decode("ascii")
