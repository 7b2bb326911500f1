import threading

import numpy as np
import pytest

import keras_ltssl as lt
from keras_ltssl.backend.transfer import HostTransfer
from keras_ltssl.datasets.fed_batches import FedBatches, can_be_fed
from keras_ltssl.datasets.look_ahead import LookAhead


def images(count=12):
    return np.arange(count, dtype="uint8").reshape(-1, 1, 1, 1)


def batches_of(count=12, **options):
    return lt.datasets.ImageBatches(images(count), batch_size=2, **options)


def ids_of_epoch(batches):
    return [
        ids.tolist() for _, ids in (batches[i] for i in range(len(batches)))
    ]


class Told(HostTransfer):
    """Notes the thread that sends each batch."""

    def __init__(self):
        self.threads = []
        self.sent = []

    def send(self, batch):
        self.threads.append(threading.current_thread().name)
        self.sent.append(batch[1].tolist())
        return ("sent", batch)

    def receive(self, sent):
        mark, batch = sent
        assert mark == "sent"
        return batch


def wait_for_reads(fed):
    """Waits until all that may be read ahead has been read."""
    for future in list(fed._ahead._pending.values()):
        future.result()


@pytest.mark.parametrize("workers", [1, 3])
def test_fed_batches_are_those_of_the_dataset(workers):
    plain, fed = batches_of(), FedBatches(batches_of(workers=workers), Told())
    for _ in range(3):
        assert ids_of_epoch(fed) == ids_of_epoch(plain)
        plain.on_epoch_end()
        fed.on_epoch_end()
    fed.close()


def test_batches_are_sent_as_bytes_by_one_thread_in_their_order():
    told = Told()
    fed = FedBatches(batches_of(), told)
    order = ids_of_epoch(fed)
    assert told.sent == order
    assert len(set(told.threads)) == 1
    assert threading.current_thread().name not in told.threads
    assert fed[0][0].dtype == "uint8"
    fed.close()


def test_at_most_two_batches_are_ahead():
    told = Told()
    fed = FedBatches(batches_of(), told)
    for index in range(6):
        fed[index]
        wait_for_reads(fed)
        assert len(told.sent) == min(index + 3, 6)
    fed.close()


def test_a_batch_that_was_only_read_ahead_is_not_used():
    batches = batches_of(count=6)
    fed = FedBatches(batches, Told())
    fed[0]
    wait_for_reads(fed)  # The last batch of the epoch is among them.
    fed.on_epoch_end()
    assert batches.epoch == 0
    fed[2]
    fed.on_epoch_end()
    assert batches.epoch == 1
    fed.close()


def test_another_epoch_drops_what_was_read_ahead():
    batches, other = batches_of(), batches_of()
    other.epoch = 4
    fed = FedBatches(batches, Told())
    fed[0]
    batches.epoch = 4
    assert ids_of_epoch(fed) == ids_of_epoch(other)
    fed.close()


def test_samples_chosen_before_an_epoch_are_in_it():
    def data():
        return lt.datasets.MixedBatches(
            images(), pool=images(20), budget=4, batch_size=4
        )

    fed_data, plain = data(), data()
    fed = FedBatches(fed_data, Told())
    for chosen in ([], [3, 7], [19, 2, 5]):
        fed_data.chosen = plain.chosen = chosen
        fed.on_epoch_begin()
        plain.on_epoch_begin()
        assert ids_of_epoch(fed) == ids_of_epoch(plain)
        fed.on_epoch_end()
        plain.on_epoch_end()
    assert fed_data.num_batches_read == plain.num_batches_read == 12
    fed.close()


def test_an_error_of_the_reader_keeps_its_traceback():
    class Broken(HostTransfer):
        def send(self, batch):
            return self.breaks_here(batch)

        def breaks_here(self, batch):
            if 3 in batch[1]:
                raise OSError("no such file")
            return batch

    fed = FedBatches(batches_of(shuffle=False), Broken())
    fed[0]
    with pytest.raises(OSError, match="no such file") as raised:
        fed[1]
    assert "breaks_here" in [entry.name for entry in raised.traceback]
    fed.close()


def test_its_thread_ends_when_it_is_closed():
    fed = FedBatches(batches_of(), Told())
    fed[0]
    threads = list(fed._ahead._threads._threads)
    assert threads
    fed.close()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_what_waits_to_be_read_is_never_read_after_closing():
    read, may_read = [], threading.Event()

    def reading(key):
        may_read.wait(60)
        read.append(key)
        return key

    ahead = LookAhead(reading, num_threads=1)
    with pytest.MonkeyPatch.context() as patch:
        # The first item only: it is being read, the others wait.
        patch.setattr("concurrent.futures.Future.result", lambda self: None)
        ahead.get(0, [1, 2])
    ahead.close()
    may_read.set()
    for thread in ahead._threads._threads:
        thread.join(60)
    assert read in ([], [0])


def test_a_subclass_with_other_batches_is_left_alone():
    class Doubled(lt.datasets.ImageBatches):
        def __getitem__(self, index):
            x, ids = super().__getitem__(index)
            return 2 * x, ids

    assert can_be_fed(batches_of())
    assert not can_be_fed(Doubled(images()))
    assert not can_be_fed(images())
    batches = batches_of()
    batches.reads_ahead = False
    assert not can_be_fed(batches)
