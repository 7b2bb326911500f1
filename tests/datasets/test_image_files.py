import builtins
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps, features

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


def test_image_is_cut_about_its_center_and_not_distorted(tmp_path):
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


# Modes


def test_gray_values_palette_colors_and_bits_keep_their_brightness(tmp_path):
    gray = Image.new("L", (4, 4), 70)
    gray.save(tmp_path / "gray.png")
    Image.new("1", (4, 4), 0).save(tmp_path / "black.png")
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([9, 9, 9, 200, 60, 10])
    palette.save(tmp_path / "palette.png")
    names = ("gray.png", "black.png", "palette.png")
    images = read_images([tmp_path / name for name in names], (4, 4))
    assert images[:, 0, 0].tolist() == [[70] * 3, [0] * 3, [200, 60, 10]]
    assert (images == images[:, :1, :1]).all()


def test_cmyk_photo_keeps_its_colors(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (32, 32), (220, 40, 90)).convert("CMYK").save(path)
    (image,) = read_images([path], (8, 8))
    np.testing.assert_allclose(image, [[[220, 40, 90]] * 8] * 8, atol=4)


SIXTEEN_BITS = ("a.png", "a.tif", "big_endian.tif", "a.pgm", "a.jp2")


def save_16_bits(path, values):
    dtype = ">u2" if path.name == "big_endian.tif" else np.uint16
    image = Image.fromarray(np.asarray(values).astype(dtype))
    if path.suffix == ".pgm":
        image = image.convert("I")
    image.save(path)


@pytest.fixture(params=SIXTEEN_BITS)
def path_16_bits(request, tmp_path):
    if request.param == "a.jp2" and not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    return tmp_path / request.param


def test_16_bits_are_scaled_and_not_cut(path_16_bits):
    eight = np.arange(256).reshape(16, 16)
    save_16_bits(path_16_bits, eight * 257)
    (image,) = read_images([path_16_bits], (16, 16))
    np.testing.assert_array_equal(image, np.stack([eight] * 3, axis=-1))


def test_16_bits_are_rounded_to_the_nearest(path_16_bits):
    values = np.array([[20000, 128, 129, 65535], [65406, 65407, 0, 385]])
    save_16_bits(path_16_bits, values)
    (image,) = read_images([path_16_bits], (2, 4))
    assert image[..., 0].tolist() == [[78, 0, 1, 255], [254, 255, 0, 1]]


def test_16_bits_of_a_color_image_are_scaled(tmp_path):
    # Pillow does not write these, so by hand: one pixel, no compression.
    path = tmp_path / "a.tif"
    pixel = struct.pack("<4H", 20000, 0, 65535, 0)
    path.write_bytes(tiff(1, 1, (16, 16, 16), pixel))
    (image,) = read_images([path], (1, 1))
    assert image.tolist() == [[[78, 0, 255]]]


def test_12_bits_are_scaled_by_their_own_range(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(2, 1, (12,), bytes([0xFF, 0xF8, 0x00])))
    (image,) = read_images([path], (1, 2))
    assert image[0, :, 0].tolist() == [255, 128]


def tiff(width, height, bits, pixels):
    """A little-endian TIFF of one strip, gray or RGB."""
    fields = {
        256: [width],
        257: [height],
        258: bits,
        259: [1],
        262: [1 if len(bits) == 1 else 2],
        277: [len(bits)],
        278: [height],
        279: [len(pixels)],
    }
    # The header; the offset of the strip; the bits of each channel; the strip.
    first = 8 + 2 + 12 * (len(fields) + 1) + 4
    start = first + 2 * len(bits)
    fields[273] = [start]
    table = b""
    for tag, values in sorted(fields.items()):
        value = struct.pack("<2H", values[0], 0)
        if len(values) > 1:
            value = struct.pack("<I", first)
        table += struct.pack("<HHI", tag, 3, len(values)) + value
    return (
        struct.pack("<2sHIH", b"II", 42, 8, len(fields))
        + table
        + struct.pack("<I", 0)
        + struct.pack(f"<{len(bits)}H", *bits)
        + pixels
    )


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_of_unknown_range_are_refused_with_file_and_mode(tmp_path, mode):
    path = tmp_path / "scan.tif"
    Image.new(mode, (4, 4), 1).save(path)
    with pytest.raises(ValueError, match=rf"scan\.tif.*mode '{mode}'.*range"):
        read_images([path], (4, 4))


@pytest.mark.parametrize(
    ("mode", "color", "options"),
    [
        ("RGBA", (200, 60, 10, 0), {}),
        ("LA", (60, 0), {}),
        ("RGB", (200, 60, 10), {"transparency": (200, 60, 10)}),
        ("L", 60, {"transparency": 60}),
        ("P", 0, {"transparency": 0}),
        ("P", 0, {"transparency": bytes([0, 128])}),
    ],
)
def test_transparent_pixels_have_the_color_that_is_stored(
    tmp_path, mode, color, options
):
    image = Image.new(mode, (4, 4), color)
    if mode == "P":
        image.putpalette([200, 60, 10, 1, 1, 1])
    image.save(tmp_path / "a.png", **options)
    (image,) = read_images([tmp_path / "a.png"], (4, 4))
    stored = [60] * 3 if mode in ("L", "LA") else [200, 60, 10]
    assert (image == stored).all()


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.tif", "a.webp"])
def test_of_several_frames_the_first_is_read(tmp_path, name):
    if name == "a.webp" and not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    red, blue = (Image.new("RGB", (8, 8), color) for color in ("red", "blue"))
    options = {"lossless": True} if name == "a.webp" else {}
    red.save(tmp_path / name, save_all=True, append_images=[blue], **options)
    (image,) = read_images([tmp_path / name], (8, 8))
    assert (image == [255, 0, 0]).all()


# Orientation


def save_lying(path, seen, orientation, **options):
    """Saves an image as a camera held like that would, which looks as `seen`.

    Row 0 and column 0 as stored are, in EXIF's words, where the name says.
    """
    stored = {
        1: seen,  # top, left
        2: seen[:, ::-1],  # top, right
        3: seen[::-1, ::-1],  # bottom, right
        4: seen[::-1],  # bottom, left
        5: seen.swapaxes(0, 1),  # left, top
        6: seen[:, ::-1].swapaxes(0, 1),  # right, top
        7: seen[::-1, ::-1].swapaxes(0, 1),  # right, bottom
        8: seen[::-1].swapaxes(0, 1),  # left, bottom
    }[orientation]
    if path.suffix == ".tif":
        options["tiffinfo"] = {0x0112: orientation}
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    Image.fromarray(np.ascontiguousarray(stored)).save(path, **options)
    with Image.open(path) as file:
        shown = np.asarray(ImageOps.exif_transpose(file))
    return shown


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.tif", {}),
        ("a.tif", {"compression": "tiff_lzw"}),
        ("a.webp", {"lossless": True}),
    ],
)
@pytest.mark.parametrize("channels", [3, None])
def test_image_on_its_side_is_turned_upright(
    tmp_path, name, options, orientation, channels
):
    if name == "a.webp" and not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    shape = (5, 8) if channels is None else (5, 8, channels)
    seen = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    path = tmp_path / name
    save_lying(path, seen, orientation, **options)
    (image,) = read_images([path], (5, 8))
    if channels is None:
        seen = np.stack([seen] * 3, axis=-1)
    np.testing.assert_array_equal(image, seen)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photo_is_seen_as_a_viewer_shows_it(tmp_path, orientation):
    # Four quarters of one color each, larger than what is asked for.
    seen = np.zeros((480, 640, 3), np.uint8)
    seen[:240, :320], seen[:240, 320:] = (220, 0, 0), (0, 220, 0)
    seen[240:, :320], seen[240:, 320:] = (0, 0, 220), (220, 220, 220)
    path = tmp_path / "a.jpg"
    shown = save_lying(path, seen, orientation, quality=95, subsampling=0)
    np.testing.assert_allclose(shown[::80, ::80], seen[::80, ::80], atol=12)
    (image,) = read_images([path], (30, 40))
    expected = seen[8::16, 8::16]
    np.testing.assert_allclose(image[:13], expected[:13], atol=60)
    np.testing.assert_allclose(image[2:13, 2:18], expected[2:13, 2:18], atol=12)
    np.testing.assert_allclose(
        image[17:28, 22:38], expected[17:28, 22:38], atol=12
    )


@pytest.mark.parametrize("image_size", [(50, 400), (400, 50), (100, 100)])
def test_photo_on_its_side_is_decoded_in_full_detail(tmp_path, image_size):
    # Stripes that vanish if it is decoded smaller than it is wanted.
    seen = np.zeros((1600, 400, 3), np.uint8)
    seen[:, ::4] = seen[:, 1::4] = 255
    save_lying(tmp_path / "upright.jpg", seen, 1, quality=95)
    save_lying(tmp_path / "lying.jpg", seen, 6, quality=95)
    upright, lying = read_images(
        [tmp_path / "upright.jpg", tmp_path / "lying.jpg"], image_size
    )
    np.testing.assert_allclose(lying, upright.astype(int), atol=12)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("orientation", [0, 9, 600])
def test_orientation_that_means_nothing_is_ignored(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / name, np.full((4, 6, 3), 90), exif=exif)
    (image,) = read_images([path], (4, 6))
    assert (image == 90).all()


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("exif", [b"no tiff at all", b"II*\0", b"II*\0\1"])
def test_damaged_exif_is_ignored(tmp_path, name, exif):
    pixels = np.full((4, 6, 3), 90)
    path = save(tmp_path / name, pixels, exif=b"Exif\0\0" + exif)
    (image,) = read_images([path], (4, 6))
    assert (image == 90).all()


# Files that cannot be read


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


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, KeyError])
def test_whatever_pillow_raises_the_file_is_named(tmp_path, monkeypatch, error):
    # A damaged AVIF raises a RuntimeError, a JPEG 2000 a MemoryError.
    path = save(tmp_path / "a.png", np.zeros((4, 4, 3)))

    def load(self):
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(ValueError, match=rf"a\.png.*{error.__name__}"):
        read_images([path], (4, 4))


def test_reasons_are_words(tmp_path):
    (tmp_path / "text.jpg").write_text("no image at all")
    with pytest.raises(ValueError, match=r"text\.jpg': it is no image"):
        read_images([tmp_path / "text.jpg"], (4, 4))
    with pytest.raises(ValueError, match=r"gone\.jpg': No such file"):
        read_images([tmp_path / "gone.jpg"], (4, 4))


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
