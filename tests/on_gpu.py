"""Makes PyTorch repeat its sums bit for bit on a GPU, and not round products.

For the tests, and for the programs that a test compares with itself.
"""

import keras

if keras.backend.backend() == "torch":
    import torch

    if torch.cuda.is_available():
        torch.backends.cudnn.allow_tf32 = False
        # PyTorch warns where it has no such kernel.
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
