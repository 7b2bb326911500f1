"""The ring of keys: what it keeps, and for how long."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference


def kept(queue):
    """Returns the keys in the queue, oldest first."""
    keys = ops.convert_to_numpy(queue.keys)
    filled, cursor = int(queue.filled), int(queue.cursor)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(queue.is_filled()),
        np.arange(queue.size) < filled,
    )
    return np.roll(keys, -cursor, axis=0)[queue.size - filled :]


@pytest.mark.every_backend
@pytest.mark.parametrize("size", [3, 7, 10])
def test_the_latest_keys_stay_whatever_the_batch_size(size):
    queue, replay = lt.layers.KeyQueue(size), []
    queue.build((None, 2))
    random = np.random.default_rng(0)
    for batch in (4, 4, 1, 12, 4):
        keys = random.normal(size=(batch, 2)).astype("float32")
        queue.enqueue(keys, np.zeros(batch, bool))
        replay = reference.enqueue(replay, keys, size)
        np.testing.assert_array_equal(kept(queue), replay)


@pytest.mark.every_backend
def test_it_knows_which_keys_are_out_of_distribution():
    queue = lt.layers.KeyQueue(4)
    queue.build((None, 1))
    for is_ood in ([True, False, True], [False, True]):
        queue.enqueue(np.ones((len(is_ood), 1), "float32"), np.array(is_ood))
    assert ops.convert_to_numpy(queue.is_ood).tolist() == [
        True,
        False,
        True,
        False,
    ]


def test_serialization_keeps_the_size():
    config = keras.saving.serialize_keras_object(lt.layers.KeyQueue(9))
    assert keras.saving.deserialize_keras_object(config).size == 9


@pytest.mark.parametrize("size", [0, 2.5, True])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(ValueError, match="`size` must be"):
        lt.layers.KeyQueue(size)
