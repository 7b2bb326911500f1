"""Two random crops of each image file, cut from the decoded full image."""

import os

import keras
import numpy as np
import pytest
from PIL import Image

import keras_ltssl as lt
from keras_ltssl.datasets.random_crops import draw_crops, windows

SIZE = (16, 16)
SCALE = (0.08, 1.0)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Images whose red and green tell the column and the row of a pixel."""
    folder = tmp_path_factory.mktemp("images")
    columns, rows = np.meshgrid(np.arange(240), np.arange(120))
    pixels = np.stack([columns, rows, 0 * rows], axis=-1).astype("uint8")
    paths = [str(folder / f"{row}.png") for row in range(12)]
    for row, path in enumerate(paths):
        pixels[:, :, 2] = 20 * row
        Image.fromarray(pixels).save(path)
    return paths


def batches_of(paths, **kwargs):
    options = {"image_size": SIZE, "batch_size": 5, "crop_scale": SCALE}
    return lt.datasets.ImageBatches(paths, **{**options, **kwargs})


def views_by_id(batches):
    views = {}
    for images, ids in batches:
        views.update(zip(ids.tolist(), images, strict=True))
    return views


def test_windows_have_the_areas_ratios_and_places_of_simclr():
    # An image that is large and square, in which nearly every ratio fits.
    height, width = 400, 400
    crops = draw_crops(SCALE, seed=3, epoch=5, rows=np.arange(4000))
    boxes = np.concatenate(
        [windows(crops[row], height, width) for row in range(4000)]
    )
    left, top, right, bottom = boxes.T
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (right <= width + 1e-9).all()
    assert (bottom <= height + 1e-9).all()
    area = (right - left) * (bottom - top) / (height * width)
    ratio = np.log((right - left) / (bottom - top))
    # Uniform: its mean and deviation, within five standard errors of 8,000.
    error = 5 / np.sqrt(len(area))
    assert abs(area.mean() - 0.54) < 0.92 / np.sqrt(12) * error
    assert abs(area.std() - 0.92 / np.sqrt(12)) < 0.92 / np.sqrt(12) * error
    assert area.min() >= 0.08
    assert area.max() <= 1 + 1e-9
    # Log-uniform where each ratio fits.
    fits = area < 9 / 16
    most = np.log(4 / 3)
    assert (np.abs(ratio) <= most + 1e-9).all()
    deviation = most / np.sqrt(3)
    assert abs(ratio[fits].mean()) < deviation * error * 2
    assert abs(ratio[fits].std() - deviation) < deviation * error * 2
    # Places are uniform in what is left.
    place = left[fits] / (width - (right - left))[fits]
    assert abs(place.mean() - 0.5) < error
    # The two windows of an image are independent.
    pairs = area.reshape(-1, 2)
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 5 / np.sqrt(len(pairs))


@pytest.mark.parametrize("shape", [(50, 300), (300, 50), (7, 7)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (1.0, 1.0)])
def test_windows_that_do_not_fit_take_the_nearest_ratio(shape, scale):
    crops = draw_crops(scale, seed=0, epoch=0, rows=np.arange(200))
    for row in range(200):
        left, top, right, bottom = windows(crops[row], *shape).T
        area = (right - left) * (bottom - top) / (shape[0] * shape[1])
        assert (area >= scale[0] - 1e-9).all()
        assert (left > -1e-9).all()
        assert (right < shape[1] + 1e-9).all()
        assert (bottom < shape[0] + 1e-9).all()


@pytest.mark.every_backend
def test_windows_are_those_of_the_layer_for_the_same_numbers(monkeypatch):
    crops = draw_crops((0.1, 0.9), seed=1, epoch=0, rows=np.arange(6))
    ours = [windows(crops[row], 90, 130) for row in range(6)]
    draws = np.concatenate(
        [crops.draws.reshape(12, 4), np.ones((12, 1))], axis=1
    ).astype("float32")
    monkeypatch.setattr(
        keras.random,
        "uniform",
        lambda *_, **__: keras.ops.convert_to_tensor(draws),
    )
    layer = lt.layers.RandomResizedCrop(8, 8, scale=(0.1, 0.9))
    theirs = keras.ops.convert_to_numpy(layer.draw_windows(12, 90, 130))
    np.testing.assert_allclose(
        np.concatenate(ours)[:, [1, 0, 3, 2]], theirs, atol=1e-3
    )


def test_a_batch_holds_two_crops_of_each_image_from_its_full_size(paths):
    batches = batches_of(paths)
    assert batches.sample_shape == (2, *SIZE, 3)
    views = views_by_id(batches)
    assert sorted(views) == list(range(12))
    crops = draw_crops(SCALE, seed=0, epoch=0, rows=np.arange(12))
    for row, image in views.items():
        assert image.dtype == np.uint8
        assert (image[..., 2] == 20 * row).all()
        for view, box in zip(image, windows(crops[row], 120, 240), strict=True):
            left, top, right, bottom = box
            # The color of a pixel is its place in the file.
            columns = left + (np.arange(16) + 0.5) * (right - left) / 16 - 0.5
            rows = top + (np.arange(16) + 0.5) * (bottom - top) / 16 - 0.5
            red, green = view[..., 0].astype(float), view[..., 1].astype(float)
            inner = slice(1, -1)  # At an edge of the file a mean has one side.
            assert np.abs(red - columns)[:, inner].max() < 1
            assert np.abs(green - rows[:, None])[inner].max() < 1


def test_crops_depend_on_seed_epoch_and_row_alone(paths):
    first = views_by_id(batches_of(paths))
    for options in (
        {"workers": 3},
        {"batch_size": 12},
        {"shuffle": False},
        {"workers": 2, "part": (0, 1)},
    ):
        again = views_by_id(batches_of(paths, **options))
        for row, views in first.items():
            np.testing.assert_array_equal(views, again[row])
    other_seed = views_by_id(batches_of(paths, seed=1))
    batches = batches_of(paths)
    batches.epoch = 1
    other_epoch = views_by_id(batches)
    for row, views in first.items():
        assert (views[0] != views[1]).any()
        assert (views != other_seed[row]).any()
        assert (views != other_epoch[row]).any()


def test_a_run_that_goes_on_reads_the_crops_of_an_undisturbed_one(paths):
    undisturbed = batches_of(paths, workers=2)
    epochs = []
    for _ in range(3):
        epochs.append([undisturbed[i] for i in range(len(undisturbed))])
        undisturbed.on_epoch_end()
    resumed = batches_of(paths)
    resumed.epoch = 2
    for i, (images, ids) in enumerate(epochs[2]):
        again, its_ids = resumed[i]
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(ids, its_ids)


def test_processes_read_the_crops_that_threads_read(paths):
    processes = batches_of(
        paths[:4], batch_size=4, workers=2, use_multiprocessing=True
    )
    images, ids = processes[0]
    expected, _ = batches_of(paths[:4], batch_size=4)[0]
    np.testing.assert_array_equal(images, expected)
    assert len(ids) == 4


def test_a_file_is_decoded_once_for_both_crops(paths, monkeypatch):
    opened = []
    real = Image.open

    def count(file):
        opened.append(file.name)
        return real(file)

    monkeypatch.setattr(Image, "open", count)
    batches = batches_of(paths, batch_size=12)
    opened.clear()
    assert len(batches[0][0]) == 12
    assert sorted(opened) == sorted(paths)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_crops_of_a_rotated_jpeg_are_upright(tmp_path, orientation):
    turns = {
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_90,
        8: Image.Transpose.ROTATE_270,
    }
    columns, rows = np.meshgrid(np.arange(240), np.arange(120))
    pixels = np.stack([columns, rows, 0 * rows], axis=-1).astype("uint8")
    stored = Image.fromarray(pixels)
    if orientation != 1:
        stored = stored.transpose(turns[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    paths = []
    for name in ("a.jpg", "b.jpg"):
        stored.save(tmp_path / name, quality=100, subsampling=0, exif=exif)
        paths.append(os.path.join(tmp_path, name))
    images, ids = batches_of(paths, crop_scale=(0.2, 0.4))[0]
    crops = draw_crops((0.2, 0.4), 0, 0, ids)
    for place in range(2):
        for view, box in zip(
            images[place], windows(crops[place], 120, 240), strict=True
        ):
            left, top, right, bottom = box
            middle = view[7:9, 7:9].astype(float).mean(axis=(0, 1))
            assert abs(middle[0] - ((left + right) / 2 - 0.5)) < 3
            assert abs(middle[1] - ((top + bottom) / 2 - 0.5)) < 3


def test_a_large_jpeg_is_decoded_to_the_size_that_its_crops_need(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), "uint8")
    image = Image.fromarray(noise).resize((1203, 805), Image.Resampling.BICUBIC)
    paths = [str(tmp_path / "a.jpg"), str(tmp_path / "a.png")]
    image.save(paths[0], quality=100, subsampling=0)
    image.save(paths[1])
    images, ids = batches_of(paths, crop_scale=(0.3, 0.5), shuffle=False)[0]
    assert ids.tolist() == [0, 1]
    # The crops differ by their row, so read the PNG as the first row, too.
    png, _ = batches_of(paths[::-1], crop_scale=(0.3, 0.5), shuffle=False)[0]
    difference = np.abs(images[0].astype(float) - png[0])
    assert difference.mean() < 2.5
    assert np.abs(images[0].astype(float) - png[1]).mean() > 10


def test_grayscale_folders_have_crops_of_one_channel(paths):
    batches = lt.datasets.image_batches_from_directory(
        os.path.dirname(paths[0]),
        image_size=SIZE,
        color_mode="grayscale",
        batch_size=12,
        crop_scale=SCALE,
        verbose=False,
    )
    images, _ = batches[0]
    assert images.shape == (12, 2, *SIZE, 1)
    # Rows stay whole images, for example to embed them.
    assert batches.rows[0:2].shape == (2, *SIZE, 1)


def test_wrong_uses_are_named(paths):
    for scale in [(0, 1), (0.5, 1.2), (0.9, 0.1), 0.3]:
        with pytest.raises(ValueError, match="`crop_scale` must"):
            batches_of(paths, crop_scale=scale)
    with pytest.raises(ValueError, match="`crop_scale` is for image files"):
        lt.datasets.ImageBatches(np.zeros((4, 8, 8, 3)), crop_scale=(0.1, 1))
    with pytest.raises(ValueError, match=r"`images` must be .* without random"):
        lt.datasets.MixedBatches(batches_of(paths), paths, 2, image_size=SIZE)
