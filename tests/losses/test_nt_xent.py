"""NT-Xent against the oracle, the golden files and closed forms."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference
from gradients import value_and_gradient

GOLDEN = sorted(
    (Path(__file__).parents[1] / "golden").glob("*nt_xent*.npz"),
    key=lambda path: path.name,
)


def projections(batch=8, dim=16, seed=0, scale=1.0):
    z = np.random.default_rng(seed).normal(size=(batch, 2, dim)) * scale
    return z.astype("float32")


def close(ours, expected, relative=1e-5):
    np.testing.assert_allclose(
        ops.convert_to_numpy(ours), expected, rtol=relative, atol=1e-7
    )


@pytest.mark.every_backend
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
@pytest.mark.parametrize("chunk_size", [None, 7])
def test_golden_values_and_gradients(path, chunk_size):
    case = np.load(path)
    z = case["z"].astype("float32")
    temperature = case["temperature"].astype("float32")
    weight = case["weight"] if "weight" in case else np.ones(len(z))
    if "gamma" in case:
        gamma = float(case["gamma"])

        def per_sample(z):
            return lt.losses.focal_nt_xent(z, temperature, gamma, chunk_size)
    else:

        def per_sample(z):
            losses = lt.losses.nt_xent(z, temperature, chunk_size)
            return losses * ops.cast(weight, "float32")

    close(per_sample(z), case["per_sample"])
    value, gradient = value_and_gradient(lambda z: ops.mean(per_sample(z)), z)
    close(value, case["loss"])
    largest = np.abs(case["grad"]).max()
    assert np.abs(gradient - case["grad"]).max() <= 1e-4 * largest


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_oracle_agrees_with_golden_files(path):
    case = np.load(path)
    weight = case.get("weight", 1.0)
    if "gamma" in case:
        values = reference.focal_nt_xent(
            case["z"], case["temperature"], case["gamma"]
        )
    else:
        values = weight * reference.nt_xent(case["z"], case["temperature"])
    np.testing.assert_allclose(values, case["per_sample"], rtol=1e-9)


@pytest.mark.every_backend
@pytest.mark.parametrize("temperature", [0.005, 0.07, 5.0])
@pytest.mark.parametrize(("batch", "dim"), [(1, 3), (2, 1), (16, 33)])
def test_values_equal_the_oracle(temperature, batch, dim):
    z = projections(batch, dim)
    expected = reference.nt_xent(z, temperature)
    # At τ = 0.005 a cosine's float32 rounding is 2e-5 in the exponent.
    np.testing.assert_allclose(
        ops.convert_to_numpy(lt.losses.nt_xent(z, temperature)),
        expected,
        rtol=1e-5,
        atol=1e-7 / temperature,
    )


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("chunk_size", "temperature"),
    [(None, 0.05), (None, 0.5), (1, 0.5), (3, 0.05), (10, 0.05), (64, 0.5)],
)
def test_gradient_equals_finite_differences(temperature, chunk_size):
    z = projections(5, 4)
    _, gradient = value_and_gradient(
        lambda z: ops.mean(lt.losses.nt_xent(z, temperature, chunk_size)), z
    )
    expected = reference.numerical_gradient(
        lambda z: reference.nt_xent(z, temperature), z
    )
    assert np.abs(gradient - expected).max() <= 1e-4 * np.abs(expected).max()


def test_per_sample_temperatures_act_in_their_own_rows():
    z = projections(6, 5)
    temperature = np.linspace(0.05, 0.6, 6).astype("float32")
    expected = reference.nt_xent(z, temperature)
    close(lt.losses.nt_xent(z, temperature), expected)
    close(lt.losses.nt_xent(z, temperature, chunk_size=5), expected)


@pytest.mark.every_backend
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_equals_the_oracle(gamma):
    z = projections(6, 5)
    close(
        lt.losses.focal_nt_xent(z, 0.2, gamma),
        reference.focal_nt_xent(z, 0.2, gamma),
    )


def test_identical_embeddings_give_log_of_anchors_less_one():
    z = np.ones((9, 2, 4), "float32")
    close(lt.losses.nt_xent(z, 0.07), np.full(9, np.log(17)))


def test_swapping_views_and_permuting_samples_changes_nothing():
    z = projections()
    loss = ops.convert_to_numpy(lt.losses.nt_xent(z))
    order = np.random.default_rng(1).permutation(len(z))
    close(lt.losses.nt_xent(z[:, ::-1].copy()), loss)
    close(lt.losses.nt_xent(z[order]), loss[order])


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("loss", "chunk_size"),
    [("nt_xent", None), ("nt_xent", 3), ("focal_nt_xent", None)],
)
@pytest.mark.parametrize(
    "z",
    [
        projections(1, 4),
        np.ones((4, 2, 3), "float32"),
        np.zeros((4, 2, 3), "float32"),
        np.concatenate([np.zeros((2, 2, 3)), np.ones((2, 2, 3))]).astype("f4"),
        projections(scale=1e-30),
        projections(scale=1e30),
        np.array([[[1, 0], [-1, 0]], [[1, 0], [1, 0]]], "float32"),
    ],
    ids=["one", "same", "zero", "half zero", "tiny", "huge", "opposite"],
)
def test_extremes_stay_finite(loss, chunk_size, z):
    function = getattr(lt.losses, loss)
    value, gradient = value_and_gradient(
        lambda z: ops.mean(function(z, 0.005, chunk_size=chunk_size)), z
    )
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e8, 1e30])
def test_scale_of_projections_does_not_matter(scale):
    z = projections()
    close(lt.losses.nt_xent(z * np.float32(scale)), reference.nt_xent(z, 0.2))


@pytest.mark.every_backend
def test_zero_vector_gets_no_gradient():
    z = projections(4, 3)
    z[1, 0] = 0
    _, gradient = value_and_gradient(
        lambda z: ops.mean(lt.losses.nt_xent(z)), z
    )
    assert (gradient[1, 0] == 0).all()
    assert (gradient[1, 1] != 0).any()


@pytest.mark.every_backend
def test_well_separated_pairs_keep_the_digits_of_a_tiny_loss():
    z = np.repeat(np.eye(4, dtype="float32")[:, None], 2, axis=1)
    expected = np.log1p(6 * np.exp(-1 / 0.05))
    close(lt.losses.nt_xent(z, 0.05), np.full(4, expected), relative=1e-4)


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_projections_are_computed_in_float32(dtype):
    z = ops.cast(projections(16, 8), dtype)
    loss = lt.losses.nt_xent(z, 0.01)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    rounded = ops.convert_to_numpy(ops.cast(z, "float32"))
    np.testing.assert_allclose(
        ops.convert_to_numpy(loss), reference.nt_xent(rounded, 0.01), rtol=1e-4
    )


@pytest.mark.every_backend
@pytest.mark.parametrize("chunk_size", [None, 3])
def test_gradient_inside_a_condition_is_the_same(chunk_size):
    z = np.random.default_rng(0).normal(size=(4, 2, 5)).astype("float32")

    def plain(z):
        return ops.sum(lt.losses.nt_xent(z, 0.3, chunk_size))

    def inside(z):
        return ops.cond(
            ops.sum(z * z) > 0, lambda: plain(z), lambda: 0.0 * ops.sum(z)
        )

    expected, expected_gradient = value_and_gradient(plain, z)
    value, gradient = value_and_gradient(inside, z)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-6)


def test_twenty_gradient_steps_lower_the_loss():
    z = projections()
    encoder = keras.Sequential([keras.Input((2, 16)), keras.layers.Dense(16)])
    encoder.compile(keras.optimizers.SGD(0.1), loss=lt.losses.NTXentLoss())
    losses = encoder.fit(
        z, np.arange(8), batch_size=8, epochs=20, verbose=0
    ).history["loss"]
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.every_backend
def test_loss_class_reduces_and_weights_as_keras_does():
    z = projections()
    values = reference.nt_xent(z, 0.2)
    weight = np.arange(len(z), dtype="float32")
    loss = lt.losses.NTXentLoss()
    close(loss(None, z), values.mean())
    close(loss(None, z, weight), (values * weight).mean())
    close(lt.losses.NTXentLoss(reduction="sum")(None, z), values.sum())
    close(lt.losses.NTXentLoss(reduction=None)(None, z), values)
    close(
        lt.losses.NTXentLoss(reduction="mean_with_sample_weight")(
            None, z, weight
        ),
        (values * weight).sum() / weight.sum(),
    )


@pytest.mark.parametrize(
    "loss",
    [
        lt.losses.NTXentLoss(0.3, chunk_size=4, reduction="sum"),
        lt.losses.NTXentLoss(lt.schedules.CosineTemperature(period=7)),
        lt.losses.FocalNTXentLoss(0.4, gamma=1.5, name="mine"),
    ],
)
def test_serialization_keeps_the_configuration(loss):
    config = keras.saving.serialize_keras_object(loss)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


@pytest.mark.every_backend
def test_ids_above_2_to_24_stay_exact():
    seen = []

    class Spy(lt.losses.NTXentLoss):
        def per_sample(self, step):
            seen.append(ops.convert_to_numpy(step.ids))
            return super().per_sample(step)

    ids = np.array([2**24 + 1, 2**31 - 1, -1, 0], "int32")
    Spy()(ids, projections(4))
    assert seen[0].tolist() == ids.tolist()


@pytest.mark.parametrize("value", [0, -0.1, float("nan"), float("inf"), "hot"])
def test_impossible_temperature_is_refused(value):
    with pytest.raises(ValueError, match="`temperature` must be a finite"):
        lt.losses.NTXentLoss(temperature=value)
    if not isinstance(value, str):
        with pytest.raises(ValueError, match="`temperature` must"):
            lt.losses.nt_xent(projections(), temperature=value)


def test_impossible_per_sample_temperature_is_refused():
    with pytest.raises(ValueError, match="must hold finite numbers > 0"):
        lt.losses.nt_xent(projections(2), np.array([0.1, 0.0]))
    with pytest.raises(ValueError, match=r"shape \(batch,\) = \(2,\)"):
        lt.losses.nt_xent(projections(2), np.array([0.1, 0.1, 0.1]))


@pytest.mark.parametrize("shape", [(8, 4), (8, 3, 4), (8, 2, 4, 1)])
def test_anything_but_two_views_is_refused(shape):
    z = np.ones(shape, "float32")
    with pytest.raises(ValueError, match=r"\(batch, 2, dim\)"):
        lt.losses.nt_xent(z)
    with pytest.raises(ValueError, match=r"\(batch, 2, dim\)"):
        lt.losses.NTXentLoss()(None, z)


@pytest.mark.parametrize("chunk_size", [0, -1, 2.5, True])
def test_impossible_chunk_size_is_refused(chunk_size):
    with pytest.raises(ValueError, match="`chunk_size` must be an integer"):
        lt.losses.nt_xent(projections(), chunk_size=chunk_size)


def test_float_ids_are_refused():
    with pytest.raises(ValueError, match="must be sample ids, integers"):
        lt.losses.NTXentLoss()(np.array([0.0, 1.0]), projections(2))


def test_impossible_gamma_is_refused():
    with pytest.raises(ValueError, match="`gamma` must be a finite number"):
        lt.losses.FocalNTXentLoss(gamma=-1)


def test_a_loss_is_shown_with_the_arguments_that_were_set():
    assert repr(lt.losses.NTXentLoss()) == "NTXentLoss()"
    loss = lt.losses.COLTLoss(base_loss=lt.losses.NTXentLoss(0.1), top_k=5)
    assert "base_loss=NTXentLoss(temperature=0.1)" in repr(loss)
    assert "top_k=5" in repr(loss)
