import gzip
import importlib
import pickle

import keras
import numpy as np
import pytest

from keras_ltssl.datasets import load_keras_dataset

# Real files in the formats that Keras reads; only their download is replaced.


def write_cifar_batch(path, labels, label_key):
    images = np.zeros((len(labels), 3, 32, 32), np.uint8)
    images[:, 0] = np.arange(len(labels))[:, None, None] % 251
    images[:, 2, 5, 7] = 9
    content = {
        b"data": images.reshape(len(labels), -1),
        label_key: labels.tolist(),
    }
    path.write_bytes(pickle.dumps(content, protocol=4))


def replace_download(monkeypatch, name, get_file):
    module = importlib.import_module(f"keras.src.datasets.{name}")
    monkeypatch.setattr(module, "get_file", get_file)


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    write_cifar_batch(folder / "test_batch", np.arange(10_000) % 10, b"labels")
    for number in range(1, 6):
        (folder / f"data_batch_{number}").hardlink_to(folder / "test_batch")
    replace_download(monkeypatch, "cifar10", lambda *_, **__: str(tmp_path))
    return folder


@pytest.fixture
def cifar100(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for part, size in (("train", 300), ("test", 100)):
        write_cifar_batch(folder / part, np.arange(size) % 100, b"fine_labels")
    replace_download(monkeypatch, "cifar100", lambda *_, **__: str(tmp_path))
    return folder


@pytest.fixture
def fashion_mnist(tmp_path, monkeypatch):
    for part, size in (("train", 30), ("t10k", 20)):
        labels = np.arange(size, dtype=np.uint8) % 10
        images = np.repeat(labels, 28 * 28)
        for kind, header, values in (
            ("labels-idx1", 8, labels),
            ("images-idx3", 16, images),
        ):
            (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(
                gzip.compress(bytes(header) + values.tobytes())
            )
    replace_download(
        monkeypatch, "fashion_mnist", lambda name, **_: str(tmp_path / name)
    )
    return tmp_path


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_cifar_has_channels_last_and_flat_labels(cifar100, data_format):
    before = keras.config.image_data_format()
    keras.config.set_image_data_format(data_format)
    try:
        (x_train, y_train), (x_test, y_test) = load_keras_dataset("cifar100")
    finally:
        keras.config.set_image_data_format(before)
    assert x_train.shape == (300, 32, 32, 3)
    assert x_test.shape == (100, 32, 32, 3)
    assert x_train.dtype == np.uint8
    assert y_train.dtype == np.int64
    np.testing.assert_array_equal(y_train, np.arange(300) % 100)
    np.testing.assert_array_equal(y_test, np.arange(100))
    np.testing.assert_array_equal(x_train[:, 3, 3, 0], np.arange(300) % 251)
    assert x_train[0, 5, 7, 2] == 9


def test_cifar10_has_its_five_batches(cifar10):
    (x_train, y_train), (x_test, y_test) = load_keras_dataset("cifar10")
    assert x_train.shape == (50_000, 32, 32, 3)
    assert x_test.shape == (10_000, 32, 32, 3)
    assert np.bincount(y_train).tolist() == [5000] * 10
    assert y_test.shape == (10_000,)


def test_fashion_mnist_gains_a_channel(fashion_mnist):
    (x_train, y_train), (x_test, y_test) = load_keras_dataset("fashion_mnist")
    assert x_train.shape == (30, 28, 28, 1)
    assert x_test.shape == (20, 28, 28, 1)
    np.testing.assert_array_equal(x_train[:, 4, 4, 0], y_train)
    assert y_test.shape == (20,)


def test_unknown_name_is_an_error():
    with pytest.raises(ValueError, match=r"`name` must be one of .*cifar100"):
        load_keras_dataset("imagenet")


@pytest.mark.parametrize("part", [0, 0.4])
def test_truncated_cifar_is_named(cifar100, part):
    content = (cifar100 / "train").read_bytes()
    (cifar100 / "train").write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match=r"data set 'cifar100'.*damaged"):
        load_keras_dataset("cifar100")


def test_cifar_with_a_missing_file_is_named(cifar100):
    (cifar100 / "test").unlink()
    with pytest.raises(ValueError, match=r"data set 'cifar100'.*damaged"):
        load_keras_dataset("cifar100")


@pytest.mark.parametrize("part", [0, 0.5])
def test_truncated_fashion_mnist_is_named(fashion_mnist, part):
    path = fashion_mnist / "train-images-idx3-ubyte.gz"
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match=r"data set 'fashion_mnist'.*damaged"):
        load_keras_dataset("fashion_mnist")


def test_failed_download_is_not_called_damage(monkeypatch):
    def no_network(*_, **__):
        raise Exception("URL fetch failure")

    replace_download(monkeypatch, "cifar10", no_network)
    with pytest.raises(Exception, match="URL fetch failure") as caught:
        load_keras_dataset("cifar10")
    assert caught.type is Exception
