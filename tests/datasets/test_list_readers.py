import os
import struct

import numpy as np
import pytest

from keras_ltssl.datasets import read_image_list, read_index_list


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "uint64"])
def test_index_list_keeps_its_order(tmp_path, dtype):
    np.save(tmp_path / "rows.npy", np.array([9, 0, 4, 4], dtype=dtype))
    rows = read_index_list(tmp_path / "rows.npy")
    assert rows.dtype == np.int64
    assert rows.tolist() == [9, 0, 4, 4]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([0.0, 1.0]), "one-dimensional array of integers"),
        (np.array([[0, 1]]), "one-dimensional array of integers"),
        (np.array([], dtype=int), "one-dimensional array of integers"),
        (np.array([True]), "one-dimensional array of integers"),
        (np.array([3, -1]), "rows must be >= 0; it holds -1"),
    ],
)
def test_index_list_of_anything_else_is_named(tmp_path, value, message):
    np.save(tmp_path / "bad.npy", value)
    with pytest.raises(ValueError, match=rf"bad\.npy.*{message}"):
        read_index_list(tmp_path / "bad.npy")


@pytest.mark.parametrize("kept", [0, 1, 40, 127, 130, 399])
def test_truncated_index_list_is_named(tmp_path, kept):
    path = tmp_path / "cut.npy"
    np.save(path, np.arange(40))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"Cannot read.*cut\.npy"):
        read_index_list(path)


def test_index_list_with_a_damaged_header_raises_no_other_error(tmp_path):
    path = tmp_path / "bad.npy"
    np.save(path, np.arange(40))
    whole = path.read_bytes()
    for place in range(128):
        for byte in b"\x00('":
            damaged = bytearray(whole)
            damaged[place] = byte
            path.write_bytes(damaged)
            try:
                read_index_list(path)  # right, if it was only the padding
            except ValueError as error:
                assert "bad.npy" in str(error)  # noqa: PT017


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("shape", [(10**15,), (10**6, 10**9), (41,)])
def test_index_list_that_claims_more_than_it_holds_is_named(
    tmp_path, version, shape
):
    path = tmp_path / "huge.npy"
    path.write_bytes(npy_header(shape, version) + np.arange(40).tobytes())
    message = rf"huge\.npy.*claims shape=\({shape[0]}, .*the file holds 320"
    with pytest.raises(ValueError, match=message.replace(", ", ",")):
        read_index_list(path)


def npy_header(shape, version):
    """The header of a `.npy` file of 64-bit integers."""
    text = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}}}\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text.encode()


def test_index_list_is_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    np.save(tmp_path / "bomb.npy", np.array([Bomb()], dtype=object))
    with pytest.raises(ValueError, match=r"bomb\.npy.*allow_pickle=False"):
        read_index_list(tmp_path / "bomb.npy")


def test_archive_text_and_missing_file_are_no_index_list(tmp_path):
    np.savez(tmp_path / "many.npz", a=np.arange(3))
    with pytest.raises(ValueError, match=r"many\.npz.*not a single array"):
        read_index_list(tmp_path / "many.npz")
    (tmp_path / "text.npy").write_text("1 2 3")
    with pytest.raises(ValueError, match=r"text\.npy"):
        read_index_list(tmp_path / "text.npy")
    with pytest.raises(ValueError, match=r"none\.npy.*No such file"):
        read_index_list(tmp_path / "none.npy")


def test_image_list_gives_paths_and_labels_in_order(tmp_path):
    path = tmp_path / "ImageNet_LT_train.txt"
    path.write_bytes(
        b"train/n1/a.JPEG 0\r\n\ntrain/n2/two words.JPEG  17\n"
        + "train/日本.JPEG 999".encode()
    )
    paths, labels = read_image_list(path)
    assert paths == [
        "train/n1/a.JPEG",
        "train/n2/two words.JPEG",
        "train/日本.JPEG",
    ]
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 17, 999]


def test_image_list_is_relative_to_root(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a/b.jpg 1\n")
    paths, _ = read_image_list(path, root=tmp_path)
    assert paths == [os.path.join(tmp_path, "a/b.jpg")]


@pytest.mark.parametrize(
    "name",
    ["../b.jpg", "a/../../b.jpg", "./../b.jpg", "..", "/etc/b.jpg", "//b.jpg"],
)
def test_path_that_leaves_the_root_is_named_with_its_line(tmp_path, name):
    path = tmp_path / "list.txt"
    path.write_text(f"a/b.jpg 1\n\n{name} 2\n")
    message = rf"list\.txt.*line 3 must be a path inside `root`.*'{name}'"
    with pytest.raises(ValueError, match=message):
        read_image_list(path, root=tmp_path)
    paths, _ = read_image_list(path)
    assert paths == ["a/b.jpg", name]


def test_dots_and_links_that_stay_inside_the_root_are_allowed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    root = tmp_path / "root"
    elsewhere.mkdir()
    root.mkdir()
    (root / "link").symlink_to(elsewhere)
    names = ["link/b.jpg", "a/../b.jpg", "./b.jpg", "..a/b.jpg", "a/...jpg"]
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{name} 0\n" for name in names))
    paths, _ = read_image_list(path, root=root)
    assert paths == [os.path.join(root, name) for name in names]


@pytest.mark.parametrize(
    "line", ["a/b.jpg", "a/b.jpg -1", "a/b.jpg 1.0", "a/b.jpg cat", "3", "a ²"]
)
def test_line_of_another_form_is_named_with_its_number(tmp_path, line):
    path = tmp_path / "list.txt"
    path.write_text(f"ok.jpg 1\n\n{line}\nok.jpg 2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"list\.txt.*line 3 must be"):
        read_image_list(path)


def test_empty_binary_and_missing_image_lists_are_named(tmp_path):
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(ValueError, match=r"empty\.txt.*holds no image"):
        read_image_list(tmp_path / "empty.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xd8\xff\xe0" * 10)
    with pytest.raises(ValueError, match=r"binary\.txt.*utf-8"):
        read_image_list(tmp_path / "binary.txt")
    with pytest.raises(ValueError, match=r"none\.txt.*No such file"):
        read_image_list(tmp_path / "none.txt")
