import threading

import pytest

from keras_ltssl.datasets.look_ahead import LookAhead


def test_item_is_that_of_its_key_in_any_order():
    ahead = LookAhead(lambda key: key * 10, num_threads=2)
    for key in (0, 1, 2, 7, 3, 3, 0):
        assert ahead.get(key, range(key + 1, key + 4)) == key * 10


def test_following_items_are_read_before_they_are_asked_for():
    read = []
    all_read = threading.Event()

    def reading(key):
        read.append(key)
        if len(read) == 4:
            all_read.set()
        return key

    ahead = LookAhead(reading, num_threads=2)
    ahead.get(0, [1, 2, 3])
    assert all_read.wait(10)
    for key in (1, 2, 3):
        assert ahead.get(key, []) == key
        # Only what was kept is not read again.
        assert read.count(key) == (1 if key == 1 else 2)


def test_items_that_nobody_follows_are_let_go():
    ahead = LookAhead(lambda key: key, num_threads=2)
    ahead.get(0, range(1, 6))
    assert set(ahead._pending) == set(range(1, 6))
    ahead.get(8, [9])
    assert set(ahead._pending) == {9}


def test_several_items_are_read_at_once():
    meeting = threading.Barrier(2, timeout=10)

    def reading(key):
        meeting.wait()
        return key

    # Neither of the two reads can end before the other has begun.
    assert LookAhead(reading, num_threads=2).get(0, [1]) == 0


def test_error_is_raised_with_its_own_item():
    def reading(key):
        if key == 1:
            raise ValueError("item one")
        return key

    ahead = LookAhead(reading, num_threads=2)
    assert ahead.get(0, [1, 2]) == 0
    with pytest.raises(ValueError, match="item one"):
        ahead.get(1, [2])
    assert ahead.get(2, []) == 2


def test_threads_end_with_their_owner():
    before = set(threading.enumerate())
    ahead = LookAhead(lambda key: key, num_threads=3)
    ahead.get(0, range(1, 10))
    started = set(threading.enumerate()) - before
    assert started
    del ahead
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()
