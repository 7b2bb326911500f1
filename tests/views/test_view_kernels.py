"""How many kernels two views start on PyTorch, which sets their time on a GPU.

Fewer is fine: lower the number here.
"""

import keras
import numpy as np
import pytest

import keras_ltssl as lt

if keras.backend.backend() != "torch":
    pytest.skip("Kernels are counted on PyTorch.", allow_module_level=True)

import torch
from counting import count_kernels

# On a GPU each number that Keras makes a tensor of is copied: one more kernel.
pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="Counted on a processor."
)


@pytest.mark.parametrize(("blur", "most"), [(0.0, 78), (0.5, 100)])
def test_two_views_of_a_batch_start_few_kernels(blur, most):
    views = lt.layers.simclr_views(32, blur=blur)
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3))
    images = keras.ops.convert_to_tensor(images.astype("uint8"))
    views(images)

    assert count_kernels(lambda: views(images)) <= most
