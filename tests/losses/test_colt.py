"""COLT's terms against golden files, the oracle and closed forms."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference
from gradients import value_and_gradient

GOLDEN = sorted(
    (Path(__file__).parents[1] / "golden").glob("colt_*.npz"),
    key=lambda path: path.name,
)


def projections(batch=8, dim=6, seed=0):
    z = np.random.default_rng(seed).normal(size=(batch, 2, dim))
    return z.astype("float32")


def close(ours, expected, relative=1e-5):
    np.testing.assert_allclose(
        ops.convert_to_numpy(ours), expected, rtol=relative, atol=1e-7
    )


def test_there_are_golden_cases():
    assert len(GOLDEN) == 2


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("path", "chunk_size"),
    [(path, None) for path in GOLDEN] + [(GOLDEN[-1], 7)],
    ids=["0", "1", "1-chunked"],
)
def test_golden_values_and_gradients(path, chunk_size):
    case = np.load(path)
    z, ids = case["z"].astype("float32"), case["sample_ids"].astype("int32")
    temperature = float(case["temperature"])
    top_k = int(case["top_k"])
    loss = lt.losses.COLTLoss(
        temperature,
        ood_weight=float(case["ood_weight"]),
        top_k=top_k,
        chunk_size=chunk_size,
        reduction=None,
    )
    close(loss(ids, z), case["per_sample"])
    value, gradient = value_and_gradient(lambda z: ops.mean(loss(ids, z)), z)
    close(value, case["loss"])
    largest = np.abs(case["grad"]).max()
    assert np.abs(gradient - case["grad"]).max() <= 1e-4 * largest
    scores = lt.losses.tail_score(z, temperature, top_k, chunk_size)
    close(scores, case["tail_score"])


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_oracle_agrees_with_golden_files(path):
    case = np.load(path)
    temperature = float(case["temperature"])
    supcon = reference.distribution_supcon(
        case["z"], case["sample_ids"] < 0, temperature
    )
    losses = reference.nt_xent(case["z"], temperature)
    losses = losses + case["ood_weight"] * supcon
    np.testing.assert_allclose(losses, case["per_sample"], rtol=1e-9)
    np.testing.assert_allclose(
        reference.tail_score(case["z"], temperature, int(case["top_k"])),
        case["tail_score"],
        rtol=1e-9,
    )


@pytest.mark.every_backend
@pytest.mark.parametrize("temperature", [0.02, 2.0])
@pytest.mark.parametrize("num_ood", [0, 1, 3, 8])
def test_supcon_equals_the_oracle(temperature, num_ood):
    """No, a single, some and only out-of-distribution samples."""
    z, is_ood = projections(), np.arange(8) < num_ood
    close(
        lt.losses.distribution_supcon(z, is_ood, temperature),
        reference.distribution_supcon(z, is_ood, temperature),
        relative=2e-5,
    )


@pytest.mark.every_backend
def test_supcon_gradient_equals_finite_differences():
    z, is_ood = projections(5, 4), np.array([True, False, False, True, False])
    _, gradient = value_and_gradient(
        lambda z: ops.mean(lt.losses.distribution_supcon(z, is_ood, 0.3)), z
    )
    expected = reference.numerical_gradient(
        lambda z: reference.distribution_supcon(z, is_ood, 0.3), z
    )
    assert np.abs(gradient - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.every_backend
def test_without_ood_samples_supcon_has_no_gradient():
    z, is_ood = projections(), np.zeros(8, bool)
    value, gradient = value_and_gradient(
        lambda z: ops.sum(lt.losses.distribution_supcon(z, is_ood)), z
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.every_backend
def test_zero_and_huge_projections_stay_finite():
    z = projections()
    z[0] = 0.0
    z[1] *= 1e25
    is_ood = np.arange(8) < 3

    def total(z):
        supcon = lt.losses.distribution_supcon(z, is_ood, 0.05)
        return ops.sum(supcon) + ops.sum(lt.losses.tail_score(z, 0.05))

    value, gradient = value_and_gradient(total, z)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("top_k", "temperature"), [(1, 0.02), (4, 0.5), (14, 0.02), (100, 0.5)]
)
def test_tail_score_equals_the_oracle(top_k, temperature):
    z = projections()
    expected = reference.tail_score(z, temperature, top_k)
    close(lt.losses.tail_score(z, temperature, top_k), expected, 2e-5)
    chunked = lt.losses.tail_score(z, temperature, top_k, chunk_size=3)
    close(chunked, expected, 2e-5)


def test_crowded_samples_score_higher_than_lonely_ones():
    directions = np.eye(5)[[0] * 20 + [1, 2, 3, 4]]
    z = np.stack([directions, directions], axis=1).astype("float32")
    scores = ops.convert_to_numpy(lt.losses.tail_score(z))
    assert scores[:20].min() > scores[20:].max()


@pytest.mark.every_backend
def test_no_gradient_flows_through_the_tail_score():
    _, gradient = value_and_gradient(
        lambda z: ops.sum(lt.losses.tail_score(z)) + ops.sum(z) * 0.0,
        projections(),
    )
    np.testing.assert_array_equal(gradient, 0.0)


def test_a_base_loss_is_added_to():
    z, ids = projections(), np.array([0, 1, 2, 3, 4, 5, -1, -1])
    for base, expected in (
        (lt.losses.NTXentLoss(0.3), reference.nt_xent(z, 0.3)),
        (
            lt.losses.FocalNTXentLoss(0.3, gamma=1.0),
            reference.focal_nt_xent(z, 0.3, 1.0),
        ),
    ):
        loss = lt.losses.COLTLoss(ood_weight=0.5, base_loss=base)
        supcon = reference.distribution_supcon(z, ids < 0, 0.3)
        assert float(loss(ids, z)) == pytest.approx(
            (expected + 0.5 * supcon).mean(), rel=1e-5
        )


def test_serialization_keeps_the_configuration():
    for loss in (
        lt.losses.COLTLoss(0.3, 0.5, 7, 12, 0.9, chunk_size=5),
        lt.losses.COLTLoss(base_loss=lt.losses.TASELoss(num_prototypes=3)),
        lt.losses.COLTLoss(lt.schedules.LinearTemperature(0.5, 0.1, 9)),
    ):
        config = keras.saving.serialize_keras_object(loss)
        again = keras.saving.deserialize_keras_object(config)
        assert keras.saving.serialize_keras_object(again) == config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ood_weight": -1.0}, "`ood_weight` must be"),
        ({"ood_weight": float("nan")}, "`ood_weight` must be"),
        ({"top_k": 0}, "`top_k` must be"),
        ({"num_samples": 0}, "`num_samples` must be"),
        ({"num_samples": 4, "momentum": 1.0}, "`momentum` must be a finite"),
        ({"temperature": 0.0}, "`temperature` must"),
        ({"base_loss": "mse"}, "`base_loss` must be a loss"),
        (
            {"base_loss": lt.losses.COLTLoss()},
            "must not hold another COLTLoss",
        ),
        (
            {"base_loss": lt.losses.NTXentLoss(), "temperature": 0.1},
            "`temperature` must be left to `base_loss`",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        lt.losses.COLTLoss(**arguments)


def test_wrong_domains_are_refused():
    with pytest.raises(ValueError, match=r"`is_ood` must .* \(8,\)"):
        lt.losses.distribution_supcon(projections(), np.zeros(7, bool))
    with pytest.raises(ValueError, match="`top_k` must be"):
        lt.losses.tail_score(projections(), top_k=1.5)
    with pytest.raises(ValueError, match="needs sample ids"):
        lt.losses.COLTLoss()(None, projections())
