"""The operations that are fused on PyTorch compute what NumPy does."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_ltssl.backend import fused_arithmetic, fused_operations
from keras_ltssl.backend.constants import constant
from keras_ltssl.backend.in_place_operations import (
    assign_where,
    keep_last_of_equal,
    move_towards,
)

pytestmark = pytest.mark.every_backend

X, A, B = np.random.default_rng(0).uniform(0.5, 2, (3, 4, 5)).astype("float32")


def tensors(*arrays):
    return [ops.convert_to_tensor(array) for array in arrays]


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("affine", (X, -2.0, 3.0), 3.0 - 2.0 * X),
        ("interpolate", (X, A, 0.25), 0.75 * X + 0.25 * A),
        ("interpolate", (X, A, B), X + B * (A - X)),
        ("plus_multiple", (X, A, 0.5), X + 0.5 * A),
        ("plus_product", (X[:, :1], A, B), X[:, :1] + A * B),
        ("plus_product", (2.0, A, 3.0), 2.0 + 3.0 * A),
        ("minus_product", (X, A[0], B), X - A[0] * B),
        ("minus_quotient", (X, A, B), X - A / B),
        ("plus_matmul", (X[:, :4], A, B[:, :4].T @ X), None),
        ("times_vector", (X, A[0]), X @ A[0]),
        ("dot", (X[0], A[0]), X[0] @ A[0]),
        ("mean_and_deviation", (X,), (X.mean(), X.std())),
        ("entropy_of", (np.float32([0.75, 0.25, 0]),), 0.5623351),
        ("number_where", (X > 1, -2.0), np.where(X > 1, -2.0, 0.0)),
        ("count_where", (X > 1,), (X > 1).sum()),
        ("largest_and_place", (X,), (X.max(1), X.argmax(1))),
        ("sorted_and_order", (X[0],), (np.sort(X[0]), np.argsort(X[0]))),
        ("fill_where", (X > 1, X, 7.0), np.where(X > 1, 7.0, X)),
        ("clip", (X, 0.8, 1.2), X.clip(0.8, 1.2)),
        ("at_least", (X, 1.0), X.clip(1.0)),
        ("at_most", (X, 1.0), X.clip(None, 1.0)),
    ],
)
def test_a_fused_operation_computes_what_numpy_does(name, arguments, expected):
    module = fused_arithmetic
    if not hasattr(module, name):
        module = fused_operations
    if name == "plus_matmul":
        x, a, b = X[:4, :4], A[:4, :3], B[:3, :4]
        arguments, expected = (x, a, b), x + a @ b
    arguments = keras.tree.map_structure(
        lambda x: ops.convert_to_tensor(x) if isinstance(x, np.ndarray) else x,
        arguments,
    )
    found = getattr(module, name)(*arguments)

    if not isinstance(found, tuple):
        found, expected = (found,), (expected,)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(one), other, rtol=1e-6, atol=1e-6
        )


def test_equal_values_keep_their_order():
    values = ops.convert_to_tensor(np.int32([2, 1, 2, 1, 2]))
    ordered, order = fused_operations.sorted_and_order(values)

    assert ops.convert_to_numpy(ordered).tolist() == [1, 1, 2, 2, 2]
    assert ops.convert_to_numpy(order).tolist() == [1, 3, 0, 2, 4]


def test_all_but_the_last_of_equal_values_are_replaced():
    values = ops.convert_to_tensor(np.int32([1, 1, 2, 3, 3, 3]))
    kept = ops.convert_to_numpy(keep_last_of_equal(values, 9))

    assert kept.tolist() == [9, 1, 2, 9, 9, 3]


def test_a_variable_is_assigned_where_a_condition_holds():
    variable = keras.Variable(np.float32([1, 2, 3]))
    condition = ops.convert_to_tensor(np.array([True, False, True]))
    (values,) = tensors(np.float32([7, 8, 9]))
    assign_where(variable, condition, values)

    assert ops.convert_to_numpy(variable).tolist() == [7, 2, 9]


@pytest.mark.parametrize("keep", [0.25, np.float32(0.25)])
def test_a_variable_moves_towards_values(keep):
    variable = keras.Variable(np.float32([0, 4]))
    if isinstance(keep, np.float32):
        keep = ops.convert_to_tensor(keep)
    (values,) = tensors(np.float32([8, 8]))
    move_towards(variable, values, keep)

    assert ops.convert_to_numpy(variable).tolist() == [6, 7]


def test_a_constant_is_made_anew_only_for_other_arguments():
    calls = []

    def count_to(number):
        calls.append(number)
        return np.arange(number)

    (beside,) = tensors(X)
    for number in (3, 3, 4):
        made = constant(count_to, number, beside=beside)
        assert ops.convert_to_numpy(made).tolist() == list(range(number))

    assert len(calls) == (2 if keras.backend.backend() == "torch" else 3)


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="PyTorch has inference mode."
)
def test_a_constant_of_inference_mode_takes_part_in_training():
    import torch

    (beside,) = tensors(X)
    with torch.inference_mode():
        made = constant(np.ones, 5, "float32", beside=beside)
    leaf = torch.ones(5, requires_grad=True)
    (leaf * made).sum().backward()

    assert leaf.grad.tolist() == [1.0] * 5
