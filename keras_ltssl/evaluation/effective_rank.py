"""How many dimensions features use."""

from typing import Any

import numpy as np

from keras_ltssl.evaluation.labeled_features import as_features


def effective_rank(features: Any) -> float:
    """Returns the effective rank of features (RankMe).

        p_k = σ_k / Σ_j σ_j
        rank = exp(-Σ_k p_k log p_k)

    where σ are the singular values of the matrix of features, which is neither
    centered nor scaled. It is 1 where all samples have the same direction, and
    at most min(samples, features), where all singular values are equal. As
    many as a few thousand samples suffice.

    Args:
        features: Array `(samples, features)`.

    Returns:
        The rank, a number >= 1; 0 if all features are 0.

    Raises:
        ValueError: If `features` is not a finite array of numbers with two
            axes.

    Example:

    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> lt.evaluation.effective_rank(np.ones((50, 8)))
    1.0
    >>> round(lt.evaluation.effective_rank(np.eye(8)), 6)
    8.0

    Reference:
        - [RankMe: Assessing the Downstream Performance of Pretrained
          Self-Supervised Representations by Their
          Rank](https://arxiv.org/abs/2210.02885), Garrido et al., ICML 2023
    """
    array = as_features(features, "features").astype("float64")
    largest = np.abs(array).max()
    if largest == 0:
        return 0.0
    # Scaled, so that no square over- or underflows.
    values = np.linalg.svd(array / largest, compute_uv=False)
    shares = values / values.sum()
    # Below float64's precision: the entropy of an exact 0 is 0.
    shares = shares[shares > 1e-15]
    return float(max(1.0, np.exp(-np.sum(shares * np.log(shares)))))
