import builtins

import numpy as np
import pytest
from PIL import Image

from keras_ltssl.datasets import read_images


def save(path, pixels, **options):
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)
    return path


def test_image_of_the_right_size_keeps_its_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3))
    path = save(tmp_path / "a.png", pixels)
    images = read_images([path, str(path)], image_size=(6, 9))
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, [pixels, pixels])


def test_image_is_cut_about_its_centre_and_not_distorted(tmp_path):
    pixels = np.zeros((10, 30, 3))
    pixels[:, 10:20] = 200
    path = save(tmp_path / "a.png", pixels)
    (image,) = read_images([path], (5, 5))
    (whole,) = read_images([path], (5, 15))
    assert image.shape == (5, 5, 3)
    assert (image[:, 1:4] == 200).all()
    np.testing.assert_array_equal(image, whole[:, 5:10])


def test_large_jpeg_comes_out_right(tmp_path):
    # Left half dark and right half bright, whichever scale is decoded.
    pixels = np.zeros((512, 512, 3))
    pixels[:, 256:] = 240
    path = save(tmp_path / "a.jpg", pixels, quality=95)
    (image,) = read_images([path], (32, 32))
    assert image[:, :14].max() < 8
    assert image[:, 18:].min() > 232


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    white = Image.new("RGB", (8, 8), "white").convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    white.save(path)
    (image,) = read_images([path], (4, 4))
    assert image.shape == (4, 4, 3)
    assert (image == 255).all()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif", "a.bmp"])
@pytest.mark.parametrize("part", [0, 0.1, 0.5])
def test_truncated_image_is_named(tmp_path, name, part):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    path = save(tmp_path / name, pixels)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match=f"Cannot read the image .*{name}"):
        read_images([path], (32, 32))


def test_text_missing_file_and_folder_are_named(tmp_path):
    (tmp_path / "text.jpg").write_text("no image at all")
    for name in ("text.jpg", "missing.jpg", ""):
        with pytest.raises(ValueError, match=f"Cannot read .*{name}"):
            read_images([tmp_path / name], (8, 8))


def test_missing_pillow_names_the_extra(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", np.zeros((4, 4, 3)))
    real_import = builtins.__import__

    def without_pillow(name, *rest):
        if name == "PIL":
            raise ImportError(name)
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    with pytest.raises(ImportError, match="extra `images`"):
        read_images([path], (4, 4))
