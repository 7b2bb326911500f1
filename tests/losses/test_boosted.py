"""BCL's weights and memory: golden file, oracle, a replay, bad input."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference
from gradients import value_and_gradient

GOLDEN = Path(__file__).parents[1] / "golden" / "bcl_weight_0.npz"


def weights_of(losses, seen=None):
    losses = np.asarray(losses, "float32")
    return ops.convert_to_numpy(lt.losses.boosted_weights(losses, seen))


def projections(batch=8, dim=6, seed=0):
    z = np.random.default_rng(seed).normal(size=(batch, 2, dim))
    return z.astype("float32")


def linear_model(loss, seed=0):
    """A model whose views are ready-made: its loss only remembers."""
    keras.utils.set_random_seed(seed)
    state = lt.layers.LossState(loss)
    inputs = keras.Input((2, 6))
    model = keras.Model(inputs, state(keras.layers.Dense(4)(inputs)))
    model.compile(keras.optimizers.SGD(0.1), loss=loss)
    return model


def boosted_model(loss, size=6):
    """The whole of BCL, with views that are alike but for what it adds."""
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [
            keras.Input((size, size, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(4),
        ]
    )
    alike = lt.layers.TwoViews(keras.layers.Identity())
    model = lt.models.ContrastiveModel(
        encoder,
        keras.layers.Identity(),
        lt.layers.BoostedViews(alike, seed=0),
    )
    model.compile(keras.optimizers.SGD(0.0), loss=loss)
    return model


@pytest.mark.every_backend
def test_golden_weights():
    case = np.load(GOLDEN)
    ours = weights_of(case["momentum_loss"])
    np.testing.assert_allclose(ours, case["weight"], rtol=1e-5, atol=1e-7)


def test_oracle_agrees_with_the_golden_file():
    case = np.load(GOLDEN)
    losses = case["momentum_loss"]
    np.testing.assert_allclose(
        reference.boosted_weights(losses, np.ones(len(losses), bool)),
        case["weight"],
        rtol=1e-9,
    )


@pytest.mark.parametrize("num_seen", [1, 2, 7, 20])
def test_only_seen_samples_have_and_move_weights(num_seen):
    random = np.random.default_rng(0)
    losses = random.normal(3, 1, 20)
    seen = random.permutation(20) < num_seen
    expected = reference.boosted_weights(losses, seen)
    np.testing.assert_allclose(weights_of(losses, seen), expected, atol=1e-6)
    losses[~seen] = 1e6
    np.testing.assert_allclose(weights_of(losses, seen), expected, atol=1e-6)


def test_nothing_seen_gives_zeros():
    np.testing.assert_array_equal(weights_of([1, 2, 3], np.zeros(3, bool)), 0)


@pytest.mark.parametrize("value", [0.1, 3.3333, 1e5])
def test_equal_losses_have_weight_one_half(value):
    """Exactly: the rounding of their mean must not count as a difference."""
    np.testing.assert_array_equal(weights_of(np.full(12_406, value)), 0.5)


def test_weights_do_not_depend_on_scale_and_offset():
    losses = np.random.default_rng(0).normal(size=50)
    np.testing.assert_allclose(
        weights_of(1000 + 3 * losses), weights_of(losses), atol=1e-3
    )
    np.testing.assert_allclose(
        weights_of(-losses), 1 - weights_of(losses), atol=1e-6
    )


@pytest.mark.every_backend
def test_no_gradient_flows_through_the_weights():
    _, gradient = value_and_gradient(
        lambda m: ops.sum(lt.losses.boosted_weights(m)) + 0.0 * ops.sum(m),
        np.arange(5.0, dtype="float32"),
    )
    np.testing.assert_array_equal(gradient, 0.0)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"`momentum_losses` must.*\(2, 3\)"):
        lt.losses.boosted_weights(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"`seen` must have shape \(3,\)"):
        lt.losses.boosted_weights(np.zeros(3), np.zeros(2, bool))


@pytest.mark.every_backend
def test_memory_and_logs_equal_a_replay_while_the_loss_stays_the_base_one():
    """With a learning rate of 0, losses depend on the batch alone."""
    random = np.random.default_rng(0)
    x, ids = projections(12), np.append(np.arange(11), -1).astype("int32")
    loss = lt.losses.BoostedLoss(lt.losses.NTXentLoss(0.3), 13, momentum=0.6)
    model = linear_model(loss)
    model.optimizer.learning_rate = 0.0
    z = ops.convert_to_numpy(model(x))
    memory = {}
    for rows in (
        r for _ in range(3) for r in np.split(random.permutation(12), 3)
    ):
        known = np.array([i in memory for i in range(13)])
        losses = np.array([memory.get(i, 0.0) for i in range(13)])
        weights = reference.boosted_weights(losses, known)
        batch = np.where(ids[rows] < 0, 0, weights[ids[rows]])
        values = reference.nt_xent(z[rows], 0.3)
        reference.moving_average(memory, ids[rows].tolist(), values, 0.6)
        model.reset_metrics()
        logs = model.train_on_batch(x[rows], ids[rows], return_dict=True)
        expected = {
            "loss": values.mean(),
            "boosted_weight": batch.mean(),
            "boosted_weight_std": weights[known].std() if known.any() else 0.0,
        }
        for name, value in expected.items():
            assert logs[name] == pytest.approx(value, abs=1e-4)
    values, seen = model.loss.get_state().parts["losses"].read()
    assert seen.tolist() == [True] * 11 + [False] * 2
    for name, value in memory.items():
        np.testing.assert_allclose(values[name], value, rtol=1e-4)
    every = np.append(np.arange(13), [-1, 13, 999]).astype("int32")
    np.testing.assert_allclose(
        ops.convert_to_numpy(loss.weights_of(every)),
        np.append(reference.boosted_weights(values, seen), [0, 0, 0]),
        atol=1e-5,
    )
    model.evaluate(x[:4] + 1, ids[:4], verbose=0)
    np.testing.assert_array_equal(
        model.loss.get_state().parts["losses"].read()[0], values
    )


def test_it_remembers_what_any_loss_below_it_gives():
    base = lt.losses.COLTLoss(0.3, top_k=3, num_samples=8)
    model = linear_model(lt.losses.BoostedLoss(base, 8))
    ids = np.append(np.arange(7), -1).astype("int32")
    z = ops.convert_to_numpy(model(projections()))
    logs = model.train_on_batch(projections(), ids, return_dict=True)
    expected = reference.nt_xent(z, 0.3) + 0.2 * reference.distribution_supcon(
        z, ids < 0, 0.3
    )
    assert logs["loss"] == pytest.approx(expected.mean(), rel=1e-5)
    values, seen = model.loss.get_state().parts["losses"].read()
    assert seen.tolist() == [True] * 7 + [False]
    np.testing.assert_allclose(values[:7], expected[:7], rtol=1e-4)
    assert model.loss.get_state().parts["tailness"].read()[1].sum() == 7


@pytest.mark.every_backend
def test_compiled_training_boosts_views_from_the_second_epoch_on():
    """Before that, the two views are one; nothing is learned meanwhile."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (24, 6, 6, 3)).astype("float32")
    ids = np.arange(24, dtype="int32")
    model = boosted_model(lt.losses.BoostedLoss(lt.losses.NTXentLoss(), 24))
    history = model.fit(images, ids, batch_size=24, epochs=3, verbose=0).history
    kernel = ops.convert_to_numpy(model.encoder.weights[0])
    z = images.reshape(24, -1) @ kernel
    alike = reference.nt_xent(np.stack([z, z], axis=1), 0.2).mean()
    assert history["boosted_weight"][0] == 0
    assert history["loss"][0] == pytest.approx(alike, rel=1e-3)
    assert history["boosted_weight"][1:] == pytest.approx([0.5, 0.5], abs=1e-3)
    assert min(history["loss"][1:]) > alike + 0.1
    assert history["loss"][1] != history["loss"][2]


@pytest.mark.every_backend
def test_saved_model_loads_with_its_memory(tmp_path):
    loss = lt.losses.BoostedLoss(lt.losses.NTXentLoss(), 8)
    model, ids = linear_model(loss), np.arange(8, dtype="int32")
    model.fit(projections(), ids, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(again.loss.weights_of(ids)),
        ops.convert_to_numpy(model.loss.weights_of(ids)),
    )
    assert again.loss.get_state() is again.layers[-1]


@pytest.mark.every_backend
def test_saved_model_goes_on_with_the_views_of_the_first_one(tmp_path):
    """In the second epoch, which only a restored memory makes stronger."""
    loss = lt.losses.BoostedLoss(lt.losses.NTXentLoss(), 12)
    model, ids = boosted_model(loss), np.arange(12, dtype="int32")
    images = np.random.default_rng(0).integers(0, 256, (12, 6, 6, 3), "uint8")
    arguments = {"batch_size": 12, "shuffle": False, "verbose": 0}
    model.fit(images, ids, **arguments)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    arguments |= {"initial_epoch": 1, "epochs": 2}
    first = model.fit(images, ids, **arguments).history
    second = again.fit(images, ids, **arguments).history
    assert first["boosted_weight"] == pytest.approx([0.5], abs=1e-3)
    assert second.keys() == first.keys()
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, rtol=1e-5)


def test_serialization_keeps_the_configuration():
    base = lt.losses.TASELoss(num_prototypes=3)
    loss = lt.losses.BoostedLoss(base, 12, momentum=0.5, name="boost")
    config = keras.saving.serialize_keras_object(loss)
    again = keras.saving.deserialize_keras_object(config)
    assert keras.saving.serialize_keras_object(again) == config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 0}, "`num_samples` must be"),
        ({"num_samples": None}, "`num_samples` must be"),
        ({"momentum": 1.0}, "`momentum` must be a finite number >= 0 and < 1"),
        ({"base_loss": "mse"}, "`base_loss` must be a loss"),
        (
            {"base_loss": lt.losses.BoostedLoss(lt.losses.NTXentLoss(), 4)},
            "must not hold another BoostedLoss",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_arguments_are_refused_by_name(arguments, message):
    good = {"base_loss": lt.losses.NTXentLoss(), "num_samples": 4}
    with pytest.raises(ValueError, match=message):
        lt.losses.BoostedLoss(**{**good, **arguments})


def test_wrong_use_is_refused():
    loss = lt.losses.BoostedLoss(lt.losses.NTXentLoss(), 8)
    with pytest.raises(ValueError, match="only as a part of a model"):
        loss.weights_of(np.arange(3))
    with pytest.raises(ValueError, match="needs sample ids"):
        loss(None, projections())
    with pytest.raises(ValueError, match="has to be part of the model"):
        loss(np.arange(8), projections())
    images = np.zeros((9, 6, 6, 3), "float32")
    model = boosted_model(loss)
    with pytest.raises(ValueError, match="id 8, num_samples=8"):
        model.fit(images, np.arange(9), verbose=0)
    with pytest.raises(ValueError, match="needs sample ids"):
        model.fit(images, verbose=0)
    with pytest.raises(ValueError, match="Received ready-made views"):
        model(images[:, None].repeat(2, axis=1))


def test_loss_and_views_are_refused_without_each_other():
    encoder = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Flatten()])
    model = lt.models.ContrastiveModel(encoder)
    loss = lt.losses.BoostedLoss(lt.losses.NTXentLoss(), 8)
    with pytest.raises(ValueError, match="one does nothing without the other"):
        model.compile("sgd", loss=loss)
    with pytest.raises(ValueError, match="one does nothing without the other"):
        boosted_model(lt.losses.NTXentLoss())


def test_inference_without_ids_has_plain_views():
    model = boosted_model(lt.losses.BoostedLoss(lt.losses.NTXentLoss(), 8))
    images = np.random.default_rng(0).uniform(0, 255, (8, 6, 6, 3))
    z = model.predict(images.astype("float32"), verbose=0)
    np.testing.assert_array_equal(z[:, 0], z[:, 1])
    logs = model.evaluate(images, np.arange(8), verbose=0, return_dict=True)
    assert logs["boosted_weight"] == 0.0
