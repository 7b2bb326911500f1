"""Lists of a million paths take the bytes of their texts, and little more."""

import os
import pickle
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import keras_ltssl as lt
from keras_ltssl.command.image_lists import LISTS, read_lists
from keras_ltssl.datasets.packed_texts import PackedTexts

PATHS = 40_000
# "train/n00000007/n00000007_123.JPEG" and the end of it, 8 bytes. A list of
# strings takes 140.
BYTES_OF_A_PATH = 34 + 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imagenet")
    with open(folder / "train.txt", "w") as file:
        for row in range(PATHS):
            name = f"n{row % 1000:08d}"
            file.write(f"train/{name}/{name}_{row}.JPEG {row % 1000}\n")
    (folder / "train" / "n00000000").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "train/n00000000/n00000000_0.JPEG")
    return folder


def peak_of(call):
    tracemalloc.start()
    try:
        result = call()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def test_a_list_takes_the_bytes_of_its_paths_up_to_the_first_batch(folder):
    def begin():
        paths, labels = lt.datasets.read_image_list(
            folder / "train.txt", root=folder
        )
        batches = lt.datasets.ImageBatches(paths, image_size=(8, 8))
        return paths, labels, batches

    begin()  # What is loaded at first use is no part of it.
    peak, (paths, labels, batches) = peak_of(begin)
    # Labels, ids and the order of an epoch, and copies of them as they are
    # made, take 48 bytes an image.
    assert peak < PATHS * (1.3 * BYTES_OF_A_PATH + 48) + 2**18
    assert len(paths) == len(labels) == len(batches.ids) == PATHS
    assert labels[1234] == 234
    assert paths[1234] == os.path.join(
        folder, "train/n00000234/n00000234_1234.JPEG"
    )
    assert batches.images is paths


def test_the_command_keeps_a_list_in_the_bytes_of_its_paths(folder):
    flags = {name: SimpleNamespace(value=None) for name in LISTS}
    flags["train"].value = folder / "train.txt"

    def begin():
        listed = read_lists(flags)["train"]
        # Nearly all images can be read.
        photos = SimpleNamespace(
            names=PackedTexts(
                name for row, name in enumerate(listed.names) if row % 100
            )
        )
        return listed, listed.labels_of(photos)

    begin()
    peak, (listed, labels) = peak_of(begin)
    # Two packed copies of the names, and numbers as they are compared.
    assert peak < PATHS * (2 * 1.3 * BYTES_OF_A_PATH + 64) + 2**18
    rows = np.arange(PATHS)
    np.testing.assert_array_equal(labels, rows[rows % 100 > 0] % 1000)
    assert len(listed.names) == PATHS


def test_a_folder_takes_the_bytes_of_its_paths(tmp_path):
    image = tmp_path / "a" / "first.png"
    image.parent.mkdir()
    Image.new("RGB", (8, 8)).save(image)
    count, name = 4000, "a_name_of_forty_letters_that_is_repeated_{}.png"
    for row in range(count):
        os.link(image, tmp_path / "a" / name.format(row))

    def begin():
        return lt.datasets.image_batches_from_directory(
            tmp_path,
            image_size=(8, 8),
            labels="inferred",
            check=False,
            verbose=False,
        )

    peak, batches = peak_of(begin)
    assert len(batches.paths) == len(batches.names) == count + 1
    kept = sum(
        map(len, (batches.names._buffer, batches.paths._buffer))
    )  # One buffer, counted twice.
    assert batches.names._buffer is batches.paths._buffer
    assert kept < 2 * 60 * count
    # One folder is sorted as a list of strings, before it is packed.
    assert peak < 500 * count


def test_packed_texts_are_a_sequence_like_a_list():
    names = ["b", "", "a/\udcff", "日本", "b"]
    packed = PackedTexts(names)
    assert packed == names
    assert names == packed
    assert packed != names[:4]
    assert packed != [*names[:4], "c"]
    assert packed != "b"
    assert list(packed) == names
    assert [packed[row] for row in range(-5, 5)] == names + names
    assert packed[np.int64(3)] == "日本"
    assert packed[1:4] == names[1:4]
    assert packed[::-2] == names[::-2]
    assert packed.index("日本") == 3
    assert packed.count("b") == 2
    assert pickle.loads(pickle.dumps(packed)) == names
    for row in (5, -6):
        with pytest.raises(IndexError):
            packed[row]
    assert repr(packed) == repr(names)
    assert repr(PackedTexts("abcdefg")).endswith("'e', ... (7 in all)]")


def test_changed_texts_share_the_buffer():
    packed = PackedTexts(["a", "b"])
    changed = packed.changed(str.upper)
    assert changed == ["A", "B"]
    assert packed == ["a", "b"]
    packed.append("c")
    assert changed == ["A", "B", "C"]


def test_a_label_too_large_for_an_integer_is_named(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a.jpg 99999999999999999999\n")
    with pytest.raises(ValueError, match=r"Cannot read a list.*list\.txt"):
        lt.datasets.read_image_list(path)


def test_a_link_to_a_hidden_file_is_an_image_and_comes_once(tmp_path):
    for name in (".hidden.png", "b.png", "z/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    os.symlink(tmp_path / ".hidden.png", tmp_path / "a.png")
    os.symlink(tmp_path / ".hidden.png", tmp_path / "y.png")
    os.symlink(tmp_path / "b.png", tmp_path / "z" / "again.png")
    batches = lt.datasets.image_batches_from_directory(
        tmp_path, image_size=(8, 8), verbose=False
    )
    assert batches.names == ["a.png", "b.png", "z/c.png"]
