"""A small network between the features and the contrastive loss."""

from typing import Any

import keras

from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_boolean, check_integer_or_none


@keras.saving.register_keras_serializable(package="keras_ltssl")
class ProjectionHead(keras.layers.Layer):
    """A two-layer perceptron on top of an encoder.

    `z = W2 relu(W1 h + b1) + b2`

    The loss uses `z`; after pretraining, `h` is kept and evaluated. As in the
    formula of the paper, there is no batch normalization by default. Many
    released implementations normalize the hidden units before the ReLU; use
    `batch_norm=True` for this, where `b1` is the shift of the normalization.

    Args:
        output_dim: Positive integer, width of `z`, or `None` for the width of
            the input. Defaults to `128`.
        hidden_dim: Positive integer, number of hidden units, or `None` for the
            width of the input. Defaults to `None`.
        batch_norm: Boolean, whether to normalize the hidden units. Defaults
            to `False`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`,
            `trainable`.

    Call arguments:
        features: Float tensor `(batch, features)`.
        training: Boolean, whether batch normalization uses the batch.

    Returns:
        Float tensor `(batch, output_dim)`, not normalized.

    Raises:
        ValueError: If an argument is out of range, or if the input is not
            `(batch, features)`.

    Example:

    >>> import keras
    >>> import keras_ltssl as lt
    >>> head = lt.layers.ProjectionHead(output_dim=128)
    >>> tuple(head(keras.ops.ones((4, 512))).shape)
    (4, 128)

    Reference:
        - [A Simple Framework for Contrastive Learning of Visual
          Representations](https://arxiv.org/abs/2002.05709), Chen et al.,
          ICML 2020, section 2.1
    """

    def __init__(
        self,
        output_dim: int | None = 128,
        hidden_dim: int | None = None,
        batch_norm: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.output_dim = check_integer_or_none(
            "output_dim", output_dim, minimum=1
        )
        self.hidden_dim = check_integer_or_none(
            "hidden_dim", hidden_dim, minimum=1
        )
        self.batch_norm = check_boolean("batch_norm", batch_norm)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights.

        Args:
            input_shape: Tuple `(batch, features)`.
        """
        if len(input_shape) != 2 or input_shape[1] is None:
            raise ValueError(
                "`ProjectionHead` needs features of shape (batch, features). "
                f"Received: input shape={tuple(input_shape)}. Pool a feature "
                "map first, for example with "
                "`keras.layers.GlobalAveragePooling2D`"
            )
        hidden_dim = self.hidden_dim or input_shape[1]
        layers = [
            keras.layers.Dense(
                hidden_dim,
                use_bias=not self.batch_norm,
                dtype=self.dtype_policy,
            )
        ]
        if self.batch_norm:
            layers.append(
                keras.layers.BatchNormalization(
                    momentum=0.9, epsilon=1e-5, dtype=self.dtype_policy
                )
            )
        layers += [
            keras.layers.ReLU(dtype=self.dtype_policy),
            keras.layers.Dense(
                self.output_dim or input_shape[1], dtype=self.dtype_policy
            ),
        ]
        self._perceptron = layers
        shape = input_shape
        for layer in self._perceptron:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    @property
    def layers_in_turn(self) -> list[keras.layers.Layer]:
        """The layers of a built head, which `call` calls in this order."""
        return self._perceptron if self.built else []

    def call(self, features: Tensor, training: bool | None = None) -> Tensor:
        """Projects features.

        Args:
            features: Float tensor `(batch, features)`.
            training: Boolean, whether batch normalization uses the batch.

        Returns:
            Float tensor `(batch, output_dim)`.
        """
        outputs = features
        for layer in self.layers_in_turn:
            outputs = layer(outputs, training=training)
        return outputs

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the shape of the projections.

        Args:
            input_shape: Tuple `(batch, features)`.

        Returns:
            Tuple `(batch, output_dim)`.
        """
        return (input_shape[0], self.output_dim or input_shape[1])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        config = super().get_config()
        config.update(
            output_dim=self.output_dim,
            hidden_dim=self.hidden_dim,
            batch_norm=self.batch_norm,
        )
        return dict(config)
