import os
import shutil
import sys
import threading
import unicodedata
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image, features

import keras_ltssl as lt
from keras_ltssl.datasets import (
    MixedBatches,
    image_batches_from_directory,
    image_files,
    read_images,
)

SIZE = (6, 8)


def save(path, color=(90, 60, 30), size=(8, 6), **options):
    """Saves an image of one color; `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)
    return path


def read(folder, **options):
    """Reads a folder quietly and in the order of its names."""
    options = {
        "image_size": SIZE,
        "shuffle": False,
        "verbose": False,
        **options,
    }
    return image_batches_from_directory(folder, **options)


def names(batches, folder):
    return [Path(path).relative_to(folder).as_posix() for path in batches.paths]


def all_images(batches):
    return np.concatenate([images for images, _ in batches])


@pytest.fixture
def photos(tmp_path):
    """A folder of six photos in two folders, each of its own color."""
    folder = tmp_path / "photos"
    for row in range(6):
        name = f"{'fox' if row < 4 else 'owl'}/{row}.png"
        save(folder / name, (40 * row, 10, 20))
    return folder


# What real folders hold


def test_photos_of_every_kind_become_images_of_one_size(tmp_path):
    def gray(mode, value, name, size=(8, 6)):
        Image.new(mode, size, value).save(tmp_path / name)

    red, blue = (Image.new("RGB", (16, 12), color) for color in ("red", "blue"))
    expected = {
        "16 bits.png": (100, 100, 100),
        "16 bits.tif": (100, 100, 100),
        "CMYK.JPG": (220, 40, 90),
        "alpha.png": (200, 60, 10),
        "animated.gif": (255, 0, 0),
        "animated.png": (255, 0, 0),
        "black and white.png": (255, 255, 255),
        "gray.jpg": (70, 70, 70),
        "huge.jpg": (200, 60, 10),
        "palette.png": (200, 60, 10),
        "tall.bmp": (200, 60, 10),
        "tiny.png": (200, 60, 10),
        "wide.tif": (200, 60, 10),
    }
    for name in ("16 bits.png", "16 bits.tif"):
        gray("I;16", 100 * 257, name)
    cmyk = Image.new("RGB", (32, 32), (220, 40, 90)).convert("CMYK")
    cmyk.save(tmp_path / "CMYK.JPG")
    Image.new("RGBA", (9, 9), (200, 60, 10, 128)).save(tmp_path / "alpha.png")
    for name in ("animated.gif", "animated.png"):
        red.save(tmp_path / name, save_all=True, append_images=[blue])
    gray("1", 1, "black and white.png")
    gray("L", 70, "gray.jpg", (20, 30))
    save(tmp_path / "huge.jpg", (200, 60, 10), (3000, 2000))
    palette = Image.new("P", (5, 5), 1)
    palette.putpalette([9, 9, 9, 200, 60, 10])
    palette.save(tmp_path / "palette.png")
    save(tmp_path / "tall.bmp", (200, 60, 10), (3, 300))
    save(tmp_path / "tiny.png", (200, 60, 10), (1, 1))
    save(tmp_path / "wide.tif", (200, 60, 10), (300, 3))
    if features.check("webp"):
        save(tmp_path / "zoo.webp", (200, 60, 10), lossless=True)
        expected["zoo.webp"] = (200, 60, 10)

    batches = read(tmp_path)
    assert names(batches, tmp_path) == list(expected)
    images = all_images(batches)
    assert images.dtype == np.uint8
    assert images.shape == (len(expected), *SIZE, 3)
    colors = np.array(list(expected.values()))[:, None, None]
    np.testing.assert_allclose(
        images, np.broadcast_to(colors, images.shape), atol=4
    )


def test_a_photo_on_its_side_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((8, 6, 3), np.uint8)
    pixels[:4] = 250  # The right half, once it is turned.
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    save(tmp_path / "b.png")
    image = all_images(read(tmp_path))[0]
    assert (image[:, 4:] == 250).all()
    assert (image[:, :4] == 0).all()


def test_names_of_any_script_are_sorted_by_their_path(tmp_path):
    expected = [
        "A/2.jpg",
        "a b/c d.jpeg",
        "a-b/1.png",
        "a/10.png",
        "a/9.PNG",
        "a/deep/er/1.bmp",
        "a\\b.png",
        'line\nbreak,"quoted".png',
        "Äste/grün.jpg",
        unicodedata.normalize("NFD", "Österreich.jpg"),
        "кот/1.jpg",
        "猫/写真 1.jpg",
        "🦊/😀.jpg",
    ]
    for name in expected:
        save(tmp_path / name)
    found = names(read(tmp_path), tmp_path)
    assert found == sorted(expected)
    assert found != expected  # A decomposed "Ö" begins with "O".


def test_a_name_that_is_no_text_is_read_and_listed(tmp_path):
    save(tmp_path / "a.png")
    try:
        os.rename(
            os.fsencode(tmp_path / "a.png"),
            os.path.join(os.fsencode(tmp_path), b"gr\xfcn.png"),
        )
    except OSError:
        pytest.skip("this file system has only names that are text")
    save(tmp_path / "b.png")
    (tmp_path / "z.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="1 of 3"):
        batches = read(tmp_path, on_error="skip")
    assert all_images(batches).shape == (2, *SIZE, 3)
    batches.write_list(tmp_path / "list.csv")
    assert batches.changes_since(tmp_path / "list.csv") == ""


def test_order_does_not_depend_on_the_file_system(photos, monkeypatch):
    expected = names(read(photos), photos)
    real = os.scandir

    class Backward:
        def __init__(self, path):
            self.path = path

        def __enter__(self):
            with real(self.path) as entries:
                return iter(sorted(entries, key=lambda e: e.name)[::-1])

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Backward)
    assert names(read(photos), photos) == expected


def test_hidden_files_and_files_of_other_kinds_are_left_out(photos, capsys):
    expected = names(read(photos), photos)
    save(photos / ".hidden.png")
    save(photos / "fox" / "._0.png")
    save(photos / ".cache" / "a.png")
    (photos / "Thumbs.db").write_bytes(b"")
    (photos / "notes.txt").write_text("no image")
    (photos / "fox" / "more.TXT").write_text("no image")
    (photos / "README").write_text("no image")
    if hasattr(os, "mkfifo"):
        os.mkfifo(photos / "pipe.png")  # Reading it would never end.
    batches = read(photos, verbose=True)
    assert names(batches, photos) == expected
    printed = capsys.readouterr().out
    assert ".txt 2" in printed
    assert ".db 1" in printed


def test_a_folder_with_the_name_of_an_image_is_a_folder(photos):
    save(photos / "a.png" / "b.png")
    assert names(read(photos), photos)[0] == "a.png/b.png"


def test_ids_are_rows_of_the_sorted_list(photos):
    batches = read(photos, shuffle=True, batch_size=4, seed=1)
    ids = []
    for images, rows in batches:
        assert (images[:, 0, 0, 0] == 40 * rows).all()
        ids.extend(rows.tolist())
    assert ids != sorted(ids)
    assert sorted(ids) == list(range(6))
    again = read(photos, shuffle=True, batch_size=4, seed=1)
    assert [rows.tolist() for _, rows in again] == [ids[:4], ids[4:]]


# Links


@pytest.fixture
def linked(photos):
    """Photos beside another folder, to which links may lead."""
    if not hasattr(os, "symlink"):
        pytest.skip("this system has no links")
    save(photos.parent / "others" / "x.png")
    save(photos.parent / "others" / "y.png")
    return photos


def test_links_that_leave_the_folder_are_left_out_unless_followed(
    linked, capsys
):
    expected = names(read(linked), linked)
    os.symlink(linked.parent / "others", linked / "out")
    os.symlink(linked.parent / "others" / "x.png", linked / "fox" / "out.png")
    os.symlink("../photos/../others/y.png", linked / "relative.png")
    assert names(read(linked, verbose=True), linked) == expected
    assert "3 links" in capsys.readouterr().out
    followed = names(read(linked, follow_links=True), linked)
    # Each file once, under the first name that leads to it.
    assert followed == sorted([*expected, "fox/out.png", "out/y.png"])


def test_a_folder_beside_whose_name_begins_alike_is_outside(linked):
    save(linked.parent / "photos2" / "x.png")
    os.symlink(linked.parent / "photos2" / "x.png", linked / "x.png")
    assert "x.png" not in names(read(linked), linked)


def test_links_that_stay_inside_give_each_file_once(linked):
    expected = names(read(linked), linked)
    save(linked / ".store" / "1234.png")
    os.symlink(".store/1234.png", linked / "stored.png")  # as git-annex does
    os.symlink("owl/5.png", linked / "again.png")
    os.symlink("owl", linked / "a folder again")
    found = names(read(linked), linked)
    assert found == sorted([*expected, "stored.png"])


def test_links_in_a_circle_end(linked):
    expected = names(read(linked), linked)
    os.symlink(linked, linked / "fox" / "up")
    os.symlink("me", linked / "me")
    for follow_links in (False, True):
        found = names(read(linked, follow_links=follow_links), linked)
        assert found == expected


def test_a_directory_that_is_a_link_itself_is_read(linked):
    os.symlink(linked, linked.parent / "shortcut")
    batches = read(linked.parent / "shortcut")
    assert names(batches, linked.parent / "shortcut") == names(
        read(linked), linked
    )


def test_a_link_to_a_missing_image_is_a_bad_file(linked):
    os.symlink("gone.png", linked / "link.png")
    with pytest.raises(ValueError, match=r"(?s)1 of 7 .*'link\.png'.*missing"):
        read(linked)


# Bad files


def damage(folder, also=()):
    """Adds files that cannot be read, and returns their names."""
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no image at all")
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (64, 64, 3), np.uint8)
    for name in ("cut.jpg", "cut.png", *also):
        Image.fromarray(pixels).save(folder / name)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) * 9 // 10])
    return sorted(["cut.jpg", "cut.png", "empty.jpg", "text.jpg", *also])


def test_bad_files_are_named_and_counted_before_training(photos):
    damage(photos, also=["cut 1.png", "cut 2.png"])
    with pytest.raises(ValueError, match="6 of 12 images") as caught:
        read(photos)
    message = str(caught.value)
    assert "'cut.jpg': image file is truncated" in message
    assert "'empty.jpg': it is empty" in message
    assert "and 1 more" in message
    assert 'on_error="skip"' in message
    assert str(photos) in message


def test_bad_files_are_left_out_counted_and_listed_on_request(photos):
    good = names(read(photos), photos)
    bad = damage(photos)
    with pytest.warns(UserWarning, match=r"(?s)4 of 10 .*'cut\.jpg'") as caught:
        batches = read(photos, on_error="skip")
    assert len(caught) == 1
    assert names(batches, photos) == good
    assert [Path(path).name for path, _ in batches.skipped] == bad
    reasons = dict(batches.skipped)
    assert reasons[str(photos / "empty.jpg")] == "it is empty"
    assert "truncated" in reasons[str(photos / "cut.jpg")]
    assert "no image" in reasons[str(photos / "text.jpg")]
    assert all_images(batches)[:, 0, 0, 0].tolist() == [
        40 * row for row in range(6)
    ]


def test_nothing_is_skipped_where_nothing_is_bad(photos):
    assert read(photos, on_error="skip").skipped == []
    assert read(photos).skipped == []


def test_more_than_half_bad_files_are_never_left_out(photos):
    for row in range(2):
        (photos / "fox" / f"{row}.png").write_bytes(b"no image")
    (photos / "owl" / "5.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="3 of 6"):
        assert len(read(photos, on_error="skip").paths) == 3
    (photos / "owl" / "4.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"(?s)4 of 6 .*more than half"):
        read(photos, on_error="skip")


def test_photos_that_this_pillow_cannot_read_are_not_ignored(photos):
    (photos / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    with pytest.raises(ValueError, match=r"1 of 7 (?s:.*)'phone\.HEIC'"):
        read(photos)


def test_a_folder_that_cannot_be_listed_is_a_bad_file(photos, monkeypatch):
    real = os.scandir

    def scandir(path):
        if Path(path).name == "owl":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ValueError, match="'owl/': Permission denied"):
        read(photos)
    with pytest.warns(UserWarning, match="'owl/': Permission denied"):
        batches = read(photos, on_error="skip")
    assert len(batches.paths) == 4
    with pytest.warns(UserWarning, match="'owl/': Permission denied"):
        batches = read(photos, on_error="skip", labels="inferred")
    assert batches.class_names == ["fox"]
    monkeypatch.setattr(
        os, "scandir", lambda path: real(Path(path, "no such folder"))
    )
    with pytest.raises(ValueError, match=r"`directory` must be .* that can be"):
        read(photos)


def test_without_the_check_a_damaged_file_is_named_when_it_is_read(photos):
    damage(photos)
    (photos / "empty.jpg").unlink()  # This is seen without opening it.
    shutil.move(photos / "cut.jpg", photos / "zoo.jpg")
    for name in ("cut.png", "text.jpg"):
        (photos / name).unlink()
    batches = read(photos, check=False, batch_size=6)
    assert batches[0][0].shape == (6, *SIZE, 3)
    with pytest.raises(ValueError, match=r"Cannot read the image .*zoo\.jpg"):
        batches[1]


def test_without_the_check_the_first_file_and_empty_files_are_seen(photos):
    (photos / "fox" / "0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"Cannot read .*0\.png"):
        read(photos, check=False)
    (photos / "owl" / "5.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"(?s)1 of 6.*5\.png.*empty"):
        read(photos, check=False)


def test_bad_files_cannot_be_skipped_without_the_check(photos):
    with pytest.raises(ValueError, match=r"`check` .*on_error='skip'"):
        read(photos, check=False, on_error="skip")


def test_check_is_shown_on_one_line_and_only_if_asked(photos, capsys):
    read(photos, verbose=False)
    assert capsys.readouterr().out == ""
    read(photos, verbose=True)
    printed = capsys.readouterr().out
    assert f"Found 6 images in {str(photos)!r}" in printed
    assert "6/6" in printed
    assert printed.count("\n") < 6


def test_an_interrupted_check_ends_at_once(tmp_path, monkeypatch):
    for row in range(400):
        save(tmp_path / f"{row}.png")
    read_paths = []
    real = image_files.read_image

    def counted(path, *rest):
        read_paths.append(path)
        return real(path, *rest)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_ltssl.datasets.image_check.read_image", counted)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(keras.utils.Progbar, "add", interrupted)
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        read(tmp_path, workers=1)
    assert len(read_paths) < 400
    assert set(threading.enumerate()) <= before


# Labels


def test_there_are_no_labels_unless_asked(photos):
    batches = read(photos)
    assert batches.labels is None
    assert batches.class_names is None


def test_folders_are_classes_if_asked(photos):
    save(photos / "fox" / "deep" / "7.png")
    batches = read(photos, labels="inferred")
    assert batches.class_names == ["fox", "owl"]
    assert batches.labels.tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert batches.labels.dtype == np.int64
    assert batches[0][1].tolist() == list(range(7))  # ids as before


def test_labels_are_those_that_keras_infers(photos):
    save(photos / "bee" / "1.png")
    pytest.importorskip("tensorflow")
    theirs = keras.utils.image_dataset_from_directory(
        photos, image_size=SIZE, shuffle=False, verbose=False
    )
    ours = read(photos, labels="inferred")
    assert ours.class_names == theirs.class_names
    assert ours.paths == theirs.file_paths
    labels = np.concatenate([labels for _, labels in theirs])
    assert ours.labels.tolist() == labels.tolist()


def test_class_names_choose_classes_and_their_order(photos):
    save(photos / "bee" / "1.png")
    names_ = ["owl", "bee"]
    batches = read(photos, labels="inferred", class_names=names_)
    assert batches.class_names == names_
    assert names(batches, photos) == ["bee/1.png", "owl/4.png", "owl/5.png"]
    assert batches.labels.tolist() == [1, 0, 0]


def test_images_outside_of_the_classes_are_left_out_and_counted(photos, capsys):
    save(photos / "cover.png")
    batches = read(photos, labels="inferred", verbose=True)
    assert len(batches.paths) == len(batches.labels) == 6
    assert "1 image outside" in capsys.readouterr().out


def test_folders_without_images_are_no_classes(photos):
    for name, content in {"bad": b"no image", "empty": b""}.items():
        (photos / name).mkdir()
        (photos / name / "1.png").write_bytes(content)
    (photos / "nothing").mkdir()
    with pytest.warns(UserWarning, match="2 of 8"):
        batches = read(photos, labels="inferred", on_error="skip")
    assert batches.class_names == ["fox", "owl"]
    assert batches.labels.tolist() == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    "class_names", [["fox", "cat"], ["fox", "fox"], [], "fox", ["fox/deep"]]
)
def test_class_names_must_be_folders_with_images(photos, class_names):
    save(photos / "fox" / "deep" / "7.png")
    with pytest.raises(ValueError, match="`class_names` must"):
        read(photos, labels="inferred", class_names=class_names)


def test_class_names_need_labels(photos):
    with pytest.raises(ValueError, match=r'`class_names`.*labels="inferred"'):
        read(photos, class_names=["fox", "owl"])


# Colors and shapes


def test_grayscale_images_have_one_channel(photos):
    batches = read(photos, color_mode="grayscale")
    images = all_images(batches)
    assert batches.sample_shape == images.shape[1:] == (*SIZE, 1)
    luminance = 0.299 * 40 * np.arange(6) + 0.587 * 10 + 0.114 * 20
    np.testing.assert_allclose(images[:, 0, 0, 0], luminance, atol=1)
    np.testing.assert_array_equal(
        images, read_images(batches.paths, SIZE, color_mode="grayscale")
    )


def test_gray_values_stay_as_they_are_in_grayscale(tmp_path):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(values.astype(np.uint16) * 257).save(tmp_path / "b.png")
    images = all_images(
        read(tmp_path, image_size=(16, 16), color_mode="grayscale")
    )
    np.testing.assert_array_equal(images[..., 0], [values, values])


def test_whole_image_is_seen_if_it_is_not_cropped(tmp_path):
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, :10] = 200
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    cropped = all_images(read(tmp_path, image_size=(10, 10)))
    assert (cropped == 0).all()
    whole = all_images(
        read(tmp_path, image_size=(10, 10), crop_to_aspect_ratio=False)
    )
    assert (whole[:, :, :3] == 200).all()
    assert (whole[:, :, 4:] == 0).all()


def test_whole_image_on_its_side_is_upright_as_well(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((30, 10, 3), np.uint8)
    pixels[:10] = 200  # The right third, once it is turned.
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(tmp_path / name, exif=exif)
    whole = all_images(
        read(tmp_path, image_size=(10, 15), crop_to_aspect_ratio=False)
    )
    assert whole.shape == (2, 10, 15, 3)
    assert (whole[:, :, :9] == 0).all()
    assert (whole[:, :, 11:] == 200).all()


def test_mixed_batches_read_a_folder_as_it_was_asked_for(photos):
    options = {"color_mode": "grayscale", "crop_to_aspect_ratio": False}
    batches = read(photos, **options)
    mixed = MixedBatches(
        batches, read(photos / "fox", **options), budget=2, batch_size=4
    )
    np.testing.assert_array_equal(mixed.id_rows[:], all_images(batches))
    assert mixed.pool_rows.shape == (*SIZE, 1)


@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_workers_read_the_same_images(photos, use_multiprocessing):
    options = {"color_mode": "grayscale", "batch_size": 4, "shuffle": True}
    expected = read(photos, workers=1, **options)
    batches = read(
        photos, workers=2, use_multiprocessing=use_multiprocessing, **options
    )
    for index in range(2):
        for one, other in zip(batches[index], expected[index], strict=True):
            np.testing.assert_array_equal(one, other)


# Too little


def test_a_folder_that_is_missing_or_a_file_is_named(photos, monkeypatch):
    monkeypatch.chdir(photos)
    with pytest.raises(ValueError, match="`directory` must be") as caught:
        read("phtos")
    assert str(photos / "phtos") in str(caught.value)  # where it was looked for
    with pytest.raises(ValueError, match=r"`directory` must be .* a file"):
        read(photos / "fox" / "1.png")


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    with pytest.raises(ValueError, match=r"`directory` must hold .*no files"):
        read(tmp_path)
    for row in range(3):
        (tmp_path / f"{row}.dcm").write_bytes(b"scan")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"\.dcm 3, \.txt 1"):
        read(tmp_path)


def test_a_folder_of_links_says_how_to_follow_them(tmp_path, photos):
    (tmp_path / "links").mkdir()
    os.symlink(photos / "fox", tmp_path / "links" / "fox")
    with pytest.raises(ValueError, match=r"1 link .*follow_links=True"):
        read(tmp_path / "links")


def test_images_without_class_folders_have_no_inferred_labels(photos):
    with pytest.raises(ValueError, match=r'labels="inferred".*subfolder'):
        read(photos / "fox", labels="inferred")


def test_one_image_is_too_few(tmp_path):
    save(tmp_path / "only.png")
    with pytest.raises(ValueError, match=r"at least two.*only\.png"):
        read(tmp_path)
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"at least two.*only\.png.*1 skipped"):
        read(tmp_path, on_error="skip")


def test_all_skipped_is_an_error(tmp_path):
    for row in range(3):
        (tmp_path / f"{row}.jpg").write_text("no image")
    with pytest.raises(ValueError, match="3 of 3"):
        read(tmp_path, on_error="skip")


def test_fewer_images_than_a_batch_are_one_batch_and_said_so(photos, capsys):
    batches = read(photos, batch_size=16, verbose=True)
    assert batches.batch_sizes == [6]
    assert "one batch of 6" in capsys.readouterr().out
    read(photos, batch_size=6, verbose=True)
    assert "one batch" not in capsys.readouterr().out


@pytest.mark.parametrize("image_size", [(0, 8), (8, 0), 8, (8, 8.5)])
def test_a_size_of_zero_is_refused(photos, image_size):
    with pytest.raises(ValueError, match="`image_size` must be"):
        read(photos, image_size=image_size)


def test_missing_pillow_is_named_before_the_files_are_checked(
    photos, monkeypatch
):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="extra `images`"):
        read(photos)


# The list of a run


def test_list_holds_ids_sizes_and_reasons(photos):
    (photos / "bad.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="1 of 7"):
        batches = read(photos, on_error="skip")
    batches.write_list(photos.parent / "list.csv")
    lines = (photos.parent / "list.csv").read_text("utf-8").splitlines()
    size = os.path.getsize(photos / "fox" / "0.png")
    assert lines[0] == "id,path,bytes,skipped"
    assert lines[1] == f"0,fox/0.png,{size},"
    assert lines[6].startswith("5,owl/5.png,")
    assert lines[7:] == [",bad.png,,it is empty"]


def test_a_folder_that_did_not_change_has_no_changes(photos):
    save(photos / 'line\nbreak, "quoted".png')
    read(photos).write_list(photos.parent / "list.csv")
    assert read(photos).changes_since(photos.parent / "list.csv") == ""


def test_changes_name_what_came_went_and_has_another_size(photos):
    path = photos.parent / "list.csv"
    read(photos).write_list(path)
    save(photos / "new.png")
    (photos / "owl" / "4.png").unlink()
    save(photos / "fox" / "1.png", size=(500, 300))
    changes = read(photos).changes_since(path)
    assert changes == (
        "1 image was added ('new.png'), 1 was removed ('owl/4.png'), "
        "1 has another size ('fox/1.png')"
    )


def test_of_many_changes_the_first_are_named(photos):
    path = photos.parent / "list.csv"
    read(photos).write_list(path)
    for row in range(20):
        save(photos / f"{row:02d}.png")
    changes = read(photos).changes_since(path)
    assert changes.startswith("20 images were added ('00.png', '01.png', ")
    assert "and 15 more" in changes


def test_an_image_that_is_now_skipped_is_a_change(photos):
    path = photos.parent / "list.csv"
    read(photos).write_list(path)
    name = photos / "owl" / "4.png"
    name.write_bytes(bytes(os.path.getsize(name)))
    with pytest.warns(UserWarning, match="1 of 6"):
        changes = read(photos, on_error="skip").changes_since(path)
    assert changes == "1 image was removed ('owl/4.png')"


@pytest.mark.parametrize(
    "content", [None, b"", b"a,b\n1,2\n", b"id,path,bytes,skipped\n0,a,x,\n"]
)
def test_a_damaged_list_is_named(photos, content):
    path = photos.parent / "list.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Cannot read a list .*list\.csv"):
        read(photos).changes_since(path)


# Given names


def test_given_names_are_the_images_in_their_order(photos, tmp_path):
    outside = save(tmp_path / "elsewhere" / "9.png", (250, 10, 20))
    (photos / "linked").symlink_to(outside.parent)
    given = ["owl/5.png", "linked/9.png", "fox/0.png"]
    batches = read(photos, names=given)
    assert batches.names == given
    red = all_images(batches)[:, 0, 0, 0]
    np.testing.assert_allclose(red, [200, 250, 0], atol=1)


def test_a_given_file_that_is_missing_counts_as_bad(photos):
    given = ["fox/0.png", "fox/77.png", "owl/4.png"]
    with pytest.raises(ValueError, match=r"1 of 3 .*\n.*77\.png': No such"):
        read(photos, names=given)
    with pytest.warns(UserWarning, match="1 of 3 images"):
        batches = read(photos, names=given, on_error="skip")
    assert batches.names == ["fox/0.png", "owl/4.png"]


def test_another_order_of_given_names_is_a_change(photos):
    path = photos.parent / "list.csv"
    given = ["owl/5.png", "fox/0.png"]
    read(photos, names=given).write_list(path)
    assert read(photos, names=given).changes_since(path) == ""
    changes = read(photos, names=given[::-1]).changes_since(path)
    assert changes == "the images have another order"


# Training


@pytest.mark.every_backend
def test_a_model_trains_on_a_folder(photos):
    batches = image_batches_from_directory(
        photos,
        image_size=(8, 8),
        batch_size=3,
        color_mode="grayscale",
        verbose=False,
    )
    encoder = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(4),
        ]
    )
    model = lt.models.ContrastiveModel(encoder)
    model.compile("sgd", loss=lt.losses.SogCLRLoss(6, temperature=0.5))
    history = model.fit(batches, epochs=2, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
