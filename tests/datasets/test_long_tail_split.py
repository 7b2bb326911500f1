import dataclasses
import textwrap
import zipfile

import numpy as np
import pytest

import keras_ltssl
from keras_ltssl.datasets import (
    LongTailSplit,
    load_npz_split,
    long_tail_counts,
    make_long_tail_split,
)


def numbered_images(num_images):
    """Images that say which row they are, so that none can be confused."""
    rows = np.arange(num_images)
    images = np.zeros((num_images, 2, 1, 1), np.uint8)
    images[:, 0, 0, 0], images[:, 1, 0, 0] = np.divmod(rows, 256)
    return images


def rows_of(images):
    return images[:, 0, 0, 0].astype(int) * 256 + images[:, 1, 0, 0]


LABELS = np.random.default_rng(0).permutation(np.repeat([3, 5, 8, 9], 200))


@pytest.fixture
def arrays():
    images = numbered_images(6)
    labels = np.array([0, 0, 0, 1, 1, 2])
    return {
        **{f"x_{part}": images for part in ("train", "probe", "test")},
        **{f"y_{part}": labels for part in ("train", "probe", "test")},
        "class_names": ("ant", "bee", "cat"),
    }


def split_of_labels(**options):
    options = {"num_probe": 20, "num_test": 30, "seed": 1, **options}
    return make_long_tail_split(
        numbered_images(len(LABELS)), LABELS, 10, **options
    )


def test_class_counts_count_the_training_labels(arrays):
    split = LongTailSplit(**arrays)
    assert split.class_counts.tolist() == [3, 2, 1]


def test_class_counts_have_a_zero_for_a_class_without_training_images(arrays):
    arrays["class_names"] = ("ant", "bee", "cat", "dog")
    assert LongTailSplit(**arrays).class_counts.tolist() == [3, 2, 1, 0]


def test_split_cannot_be_changed(arrays):
    split = LongTailSplit(**arrays)
    with pytest.raises(dataclasses.FrozenInstanceError):
        split.x_train = split.x_test


def test_split_prints_sizes_and_not_pixels(arrays):
    assert repr(LongTailSplit(**arrays)) == (
        "LongTailSplit(train=6, probe=6, test=6, image_shape=(2, 1, 1), "
        "class_counts=[3, 2, 1])"
    )


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("x_train", lambda x: x / 255, "`x_train` must hold uint8 images"),
        ("x_probe", lambda x: x[..., 0], "`x_probe` must hold uint8 images"),
        ("x_test", lambda x: x[:0], "`x_test` must hold uint8 images"),
        ("x_test", lambda x: x.tolist(), "`x_test` must be a NumPy array"),
        ("x_test", lambda x: x[:, :1], "`x_test` must hold images of the same"),
        ("y_train", lambda y: y[:5], "`y_train` must hold one integer label"),
        ("y_train", lambda y: y / 1.0, "`y_train` must hold one integer label"),
        ("y_probe", lambda y: y[:, None], "`y_probe` must hold one integer"),
        ("y_probe", lambda y: y.tolist(), "`y_probe` must be a NumPy array"),
        ("y_test", lambda y: y - 1, r"`y_test` must lie in 0 \.\.\. 2"),
        ("y_test", lambda y: y + 1, r"`y_test` must lie in 0 \.\.\. 2"),
        ("class_names", list, "`class_names` must be a tuple of strings"),
        ("class_names", lambda _: (), "`class_names` must be a tuple"),
        ("class_names", lambda _: (1, 2, 3), "`class_names` must be a tuple"),
    ],
)
def test_bad_part_of_a_split_is_named(arrays, name, change, message):
    arrays[name] = change(arrays[name])
    with pytest.raises(ValueError, match=message):
        LongTailSplit(**arrays)


def test_probe_and_test_sets_are_balanced():
    split = split_of_labels()
    assert np.bincount(split.y_probe).tolist() == [20] * 4
    assert np.bincount(split.y_test).tolist() == [30] * 4


def test_training_set_has_the_counts_of_the_profile():
    split = split_of_labels()
    np.testing.assert_array_equal(
        np.sort(split.class_counts)[::-1], long_tail_counts(150, 4, 10)
    )
    assert sorted(split_of_labels(max_count=100).class_counts)[-1] == 100


def test_no_image_is_in_two_sets():
    split = split_of_labels()
    rows = np.concatenate(
        [rows_of(x) for x in (split.x_train, split.x_probe, split.x_test)]
    )
    assert len(np.unique(rows)) == len(rows)


def test_images_keep_their_labels():
    split = split_of_labels()
    classes = np.array([3, 5, 8, 9])
    for part in ("train", "probe", "test"):
        rows = rows_of(getattr(split, f"x_{part}"))
        np.testing.assert_array_equal(
            classes[getattr(split, f"y_{part}")], LABELS[rows]
        )


def test_classes_are_named_by_their_labels_unless_names_are_given():
    assert split_of_labels().class_names == ("3", "5", "8", "9")
    names = ["a", "b", "c", "d"]
    assert split_of_labels(class_names=names).class_names == tuple(names)


def test_held_out_images_depend_on_the_seed_and_not_on_the_imbalance():
    images = numbered_images(len(LABELS))
    options = {"num_probe": 20, "num_test": 30}
    first = make_long_tail_split(images, LABELS, 10, seed=1, **options)
    again = make_long_tail_split(images, LABELS, 2, seed=1, **options)
    other = make_long_tail_split(images, LABELS, 10, seed=2, **options)
    np.testing.assert_array_equal(first.x_test, again.x_test)
    np.testing.assert_array_equal(first.x_probe, again.x_probe)
    assert not np.array_equal(first.x_test, other.x_test)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_probe": 0}, "`num_probe` must be an integer >= 1"),
        ({"num_test": 2.5}, "`num_test` must be an integer >= 1"),
        ({"num_probe": 170}, r"`num_probe \+ num_test` must leave.*Class 3"),
        ({"seed": -1}, "`seed` must be an integer >= 0"),
        ({"max_count": 151}, r"Class \d has too few images"),
        (
            {"class_names": ["a"]},
            "`class_names` must hold one name.* 4 classes",
        ),
    ],
)
def test_bad_option_of_a_split_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        split_of_labels(**options)


def test_labels_that_do_not_match_the_images_are_an_error():
    images = numbered_images(800)
    with pytest.raises(ValueError, match="`y` must hold one integer label"):
        make_long_tail_split(images, LABELS[:-1], 10, num_probe=1, num_test=1)
    with pytest.raises(ValueError, match="`x` must hold uint8 images"):
        make_long_tail_split(images / 2, LABELS, 10, num_probe=1, num_test=1)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_file_gives_back_the_split(tmp_path, arrays, save):
    path = tmp_path / "split.npz"
    save(path, **arrays)
    split = load_npz_split(path)
    for name, value in arrays.items():
        np.testing.assert_array_equal(getattr(split, name), value)
    assert split.class_names == arrays["class_names"]


def test_npz_file_without_class_names_numbers_the_classes(tmp_path, arrays):
    del arrays["class_names"]
    np.savez(tmp_path / "split.npz", **arrays)
    split = load_npz_split(str(tmp_path / "split.npz"))
    assert split.class_names == ("0", "1", "2")


def test_npz_file_without_an_array_is_named_with_it(tmp_path, arrays):
    del arrays["y_probe"]
    np.savez(tmp_path / "half.npz", **arrays)
    with pytest.raises(ValueError, match=r"half\.npz.*no array y_probe"):
        load_npz_split(tmp_path / "half.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("part", [0, 0.01, 0.3, 0.7, 0.99])
def test_truncated_npz_file_is_named(tmp_path, arrays, save, part):
    save(tmp_path / "whole.npz", **arrays)
    content = (tmp_path / "whole.npz").read_bytes()
    path = tmp_path / "cut.npz"
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match=r"Cannot read.*cut\.npz"):
        load_npz_split(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_file_with_a_changed_byte_is_named(tmp_path, arrays, save):
    arrays["x_train"] = np.random.default_rng(0).integers(
        0, 256, (6, 8, 8, 1), dtype=np.uint8
    )
    arrays["x_probe"] = arrays["x_test"] = arrays["x_train"]
    path = tmp_path / "bad.npz"
    save(path, **arrays)
    content = bytearray(path.read_bytes())
    content[300] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Cannot read.*bad\.npz"):
        load_npz_split(path)


@pytest.mark.parametrize("name", ["x_train", "y_probe", "class_names"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("suffix", [".npy", ""])
def test_npz_file_that_claims_more_than_it_holds_is_named(
    tmp_path, arrays, name, compression, suffix
):
    path = tmp_path / "huge.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for key, value in arrays.items():
            with archive.open(key + suffix, "w") as file:
                value = np.asarray(value)
                header = {
                    "descr": value.dtype.str,
                    "fortran_order": False,
                    "shape": (10**15, *value.shape[1:]),
                }
                if key == name:
                    np.lib.format.write_array_header_1_0(file, header)
                else:
                    np.save(file, value)
    with pytest.raises(
        ValueError,
        match=rf"huge\.npz.*{name}: .*claims shape=\(10{{15}},.*holds 0",
    ):
        load_npz_split(path)


def test_npz_file_larger_than_memory_is_named(tmp_path, arrays, monkeypatch):
    def too_large(content, name):
        raise MemoryError(f"Unable to allocate {name}")

    np.savez(tmp_path / "large.npz", **arrays)
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", too_large)
    with pytest.raises(ValueError, match=r"large\.npz.*x_train: Unable to all"):
        load_npz_split(tmp_path / "large.npz")


def save_nothing(path):
    pass


def save_two_arrays(path):
    np.savez(path, x=np.zeros(3), y=np.zeros(3))


def save_one_array(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))


@pytest.mark.parametrize(
    "save", [save_nothing, save_two_arrays, save_one_array]
)
def test_error_says_how_to_make_the_file(tmp_path, monkeypatch, save):
    save(tmp_path / "split.npz")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"split\.npz") as raised:
        load_npz_split("split.npz")
    message = str(raised.value)
    for part in ("train", "probe", "test"):
        assert f"`x_{part}`" in message
        assert f"`y_{part}`" in message
    # What it shows works as it stands.
    recipe = textwrap.dedent(message.split(":\n\n")[1])
    images = numbered_images(3 * 400)
    known = {"keras_ltssl": keras_ltssl, "numpy": np}
    exec(recipe, known | {"x": images, "y": np.arange(1200) % 3})
    split = load_npz_split("split.npz")
    assert split.class_counts.max() / split.class_counts.min() == 100
    assert len(split.x_probe) == len(split.x_test) == 300


def test_npz_file_is_never_unpickled(tmp_path, arrays):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    arrays["class_names"] = np.array([Bomb(), Bomb(), Bomb()], dtype=object)
    np.savez(tmp_path / "bomb.npz", **arrays)
    with pytest.raises(ValueError, match=r"bomb\.npz.*allow_pickle=False"):
        load_npz_split(tmp_path / "bomb.npz")


def test_npy_file_and_missing_file_are_named(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"one\.npy.*not an archive"):
        load_npz_split(tmp_path / "one.npy")
    with pytest.raises(ValueError, match=r"none\.npz.*No such file"):
        load_npz_split(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("class_names", np.arange(3), "`class_names` must be a one-dim"),
        ("y_train", np.full(6, 0.5), "`y_train` must hold one integer"),
        ("y_test", np.array(list("abcdef")), "`y_test` must hold one integer"),
        ("x_test", np.zeros((6, 2, 1, 1)), "`x_test` must hold uint8 images"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_npz_file_with_unfit_arrays_is_named(
    tmp_path, arrays, name, value, message, named
):
    if not named:
        arrays.pop("class_names")
    np.savez(tmp_path / "unfit.npz", **{**arrays, name: value})
    with pytest.raises(ValueError, match=rf"unfit\.npz.*{message}"):
        load_npz_split(tmp_path / "unfit.npz")
