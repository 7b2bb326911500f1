"""A moving average for every sample: replay, bounds, bad input."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference


def built(*arguments, **options):
    memory = lt.layers.SampleMemory(*arguments, **options)
    memory.build()
    return memory


@pytest.mark.every_backend
@pytest.mark.parametrize("width", [None, 3])
def test_three_epochs_equal_a_replay_sample_by_sample(width):
    random = np.random.default_rng(0)
    memory, replay = built(10, width, momentum=0.7), {}
    for _ in range(3):
        # Sample 9 never comes; -1 comes twice an epoch.
        for ids in np.split(random.permutation([-1, *range(9), -1, -1]), 3):
            shape = (4,) if width is None else (4, width)
            values = random.normal(size=shape).astype("float32")
            memory.update(ids.astype("int32"), values)
            reference.moving_average(replay, ids.tolist(), values, 0.7)
    values, seen = memory.read()
    assert seen.tolist() == [True] * 9 + [False]
    for name, value in replay.items():
        np.testing.assert_allclose(values[name], value, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(values[9], 0.0)


@pytest.mark.every_backend
def test_momentum_of_a_step_can_differ():
    memory = built(2, momentum=0.9)
    ids = np.array([1], "int32")
    memory.update(ids, np.array([1.0], "float32"))
    memory.update(ids, np.array([0.0], "float32"), momentum=0.25)
    assert memory.read()[0].tolist() == [0.0, 0.25]


@pytest.mark.every_backend
def test_unknown_ids_are_left_out_and_counted():
    memory = built(2)
    ids = np.array([2, 0, -1, 900], "int32")
    memory.update(ids, np.ones(4, "float32"))
    values, seen = memory.read()
    assert values.tolist() == [1.0, 0.0]
    assert seen.tolist() == [True, False]
    assert int(memory.unknown_ids) == 2


@pytest.mark.every_backend
@pytest.mark.parametrize("width", [None, 2])
def test_rows_are_taken_and_written_as_they_are(width):
    def values(*numbers):
        numbers = np.array(numbers, "float32")
        return numbers if width is None else np.stack([numbers] * 2, axis=1)

    memory = built(4, width)
    ids = np.array([3, -1, 0, 9], "int32")
    memory.write(ids, values(1, 2, 3, 4))
    memory.write(np.array([3], "int32"), values(-5))
    taken = memory.take(np.array([9, 0, 1, 3, -1], "int32"))
    known = ops.convert_to_numpy(memory.is_known(taken))
    expected = np.array([False, True, False, True, False])
    assert (known == (expected if width is None else expected[:, None])).all()
    taken = ops.convert_to_numpy(taken)[expected]
    np.testing.assert_array_equal(taken, values(3, -5))
    assert int(memory.unknown_ids) == 1


@pytest.mark.every_backend
def test_of_a_repeated_id_the_last_value_counts():
    memory = built(2, momentum=0.5)
    memory.update(np.array([1, 0], "int32"), np.array([4.0, 0.0], "float32"))
    ids = np.array([1, -1, 1, 0, 1, -1], "int32")
    memory.update(ids, np.arange(6, dtype="float32"))
    assert memory.read()[0].tolist() == [1.5, 4.0]


# float32 does not know odd numbers from here on.
LARGE = 2**24


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_large_ids_have_rows_of_their_own(dtype):
    memory = built(LARGE + 5, momentum=0.5)
    ids = np.array([LARGE, LARGE + 1, LARGE + 3, LARGE + 5, 1], dtype)
    for values in ([1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 0.0, 1.0, 0.0, 0.0]):
        memory.update(ids, np.array(values, "float32"))
    values, seen = memory.read()
    assert np.flatnonzero(seen).tolist() == [1, LARGE, LARGE + 1, LARGE + 3]
    assert values[seen].tolist() == [2.5, 0.5, 1.0, 2.0]
    assert int(memory.unknown_ids) == 2


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_large_ids_have_rows_of_their_own_in_a_compiled_fit(dtype):
    views = np.random.default_rng(0).normal(size=(8, 2, 3)).astype("float32")
    ids = np.array([1, LARGE - 1, *range(LARGE, LARGE + 5), -1], dtype)
    model = lt.models.ContrastiveModel(
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]),
        projector=keras.layers.Dense(2),
    )
    model.compile("sgd", loss=lt.losses.COLTLoss(num_samples=LARGE + 5))
    model.fit(views, ids, batch_size=4, epochs=2, verbose=0)
    _, seen = model.loss_state.parts["tailness"].read()
    assert np.flatnonzero(seen).tolist() == ids[:-1].tolist()


@pytest.mark.every_backend
def test_a_value_of_nan_counts_as_none():
    memory = built(2, width=2)
    ids = np.array([0, 1], "int32")
    memory.update(ids, np.full((2, 2), [[np.nan], [4.0]], "float32"))
    assert memory.read()[1].tolist() == [False, True]
    memory.update(ids, np.full((2, 2), 1.0, "float32"), momentum=0.5)
    assert memory.read()[0].tolist() == [[1.0, 1.0], [2.5, 2.5]]
    assert ops.convert_to_numpy(memory.seen)[:2].all()


@pytest.mark.every_backend
def test_averages_survive_as_weights():
    memory = built(3, momentum=0.5)
    memory.update(np.array([2], "int32"), np.array([7.0], "float32"))
    weights = [ops.convert_to_numpy(weight) for weight in memory.weights]
    again = built(3, momentum=0.5)
    again.set_weights(weights)
    values, seen = again.read()
    assert values.tolist() == [0.0, 0.0, 7.0]
    assert seen.tolist() == [False, False, True]


def test_serialization_keeps_the_configuration():
    memory = lt.layers.SampleMemory(5, width=2, momentum=0.5)
    config = keras.saving.serialize_keras_object(memory)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == memory.get_config()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("num_samples", 0),
        ("num_samples", 2.0),
        ("num_samples", True),
        ("width", 0),
        ("momentum", 1.0),
        ("momentum", float("nan")),
    ],
)
def test_impossible_arguments_are_refused_by_name(argument, value):
    with pytest.raises(ValueError, match=f"`{argument}` must"):
        lt.layers.SampleMemory(**{"num_samples": 3, argument: value})
