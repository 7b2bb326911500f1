"""A layer that makes two random views of each sample."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_boolean
from keras_ltssl.views.random_resampling import RandomResampling, resample


class _TrainingFlag(keras.layers.Layer):
    """The identity. It records the training flag that it is called with.

    Keras passes the flag of the latest nested call on to the next layer. A
    layer that calls others with `training=True` must therefore restore the
    flag. Otherwise the encoder after it would update its batch statistics and
    drop units during evaluation.
    """

    def __init__(self) -> None:
        # The identity must not cast.
        super().__init__(autocast=False)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        self.value = training
        return inputs


@keras.saving.register_keras_serializable(package="keras_ltssl")
class TwoViews(keras.layers.Layer):
    """Draws two random views of each sample.

    `(batch, ...) -> (batch, 2, ...)`. Each sample is repeated, the pipeline
    runs once on `(2 * batch, ...)`, and the result is reshaped. A pipeline
    whose layers draw per sample therefore draws for each view.

    `RandomResizedCrop` and `RandomBlur` at the beginning of a list work by
    matrices. These matrices are multiplied before they are applied, and both
    views are made from one copy of the image. The views are the same as without
    this shortcut.

    The pipeline is always called with `training=True`, also in `evaluate` and
    `predict`. A contrastive loss on held-out data needs two random views, but
    image augmentation layers do nothing when not training. Layers after this
    one get the flag of the model.

    Saving a model or its weights also saves the state of the pipeline's random
    numbers, which Keras does not save. A resumed run therefore draws the views
    of an uninterrupted run.

    With `takes_views=True` it takes two views of each sample, such as the crops
    of `ImageBatches(..., crop_scale=...)`, and runs the pipeline on both:
    `(batch, 2, ...) -> (batch, 2, ...)`.

    Args:
        pipeline: A Keras layer or model, or a list of them, applied in order.
            It maps `(n, ...)` to `(n, ...)`, one output for each sample. The
            output may have another shape.
        takes_views: Boolean, whether the inputs are two views of each sample.
            Defaults to `False`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`,
            `trainable`. `dtype` only matters for a pipeline that cannot be
            built for float inputs; inputs are never cast.

    Call arguments:
        inputs: Tensor `(batch, ...)`, or `(batch, 2, ...)` with `takes_views`.

    Returns:
        Tensor `(batch, 2, ...)`.

    Raises:
        ValueError: If `pipeline` is empty or does not consist of layers, if the
            inputs are not two views with `takes_views`, or if the pipeline
            does not return one tensor with one row for each sample.

    Example:

    >>> import keras
    >>> import keras_ltssl as lt
    >>> views = lt.layers.TwoViews([keras.layers.GaussianNoise(0.1, seed=0)])
    >>> tuple(views(keras.ops.zeros((4, 16))).shape)
    (4, 2, 16)

    Reference:
        - [A Simple Framework for Contrastive Learning of Visual
          Representations](https://arxiv.org/abs/2002.05709), Chen et al.,
          ICML 2020
    """

    def __init__(
        self,
        pipeline: keras.layers.Layer | list[keras.layers.Layer],
        takes_views: bool = False,
        **kwargs: Any,
    ) -> None:
        # The pipeline decides about the dtype of the samples.
        super().__init__(autocast=False, **kwargs)
        self.takes_views = check_boolean("takes_views", takes_views)
        self.pipeline = (
            list(pipeline) if isinstance(pipeline, tuple) else pipeline
        )
        if not self._stages:
            raise ValueError(
                "`pipeline` must hold at least one layer. "
                f"Received: pipeline={pipeline!r}"
            )
        for layer in self._stages:
            if not isinstance(layer, keras.layers.Layer):
                raise ValueError(
                    "`pipeline` must be a Keras layer or a list of Keras "
                    f"layers. Received: pipeline={pipeline!r}"
                )
        self._flag = _TrainingFlag()

    @property
    def _stages(self) -> list[keras.layers.Layer]:
        """Layers of the pipeline, in order."""
        whole = self.pipeline
        return whole if isinstance(whole, list) else [whole]

    def _resampled_views(
        self, images: Tensor, count: int | Tensor
    ) -> tuple[Tensor, list[keras.layers.Layer]]:
        """Returns both views after resampling, and the remaining layers.

        `count` is their number; the images may be as many, or half of it.
        """
        head, *layers = self._stages
        rows, columns = head.draw_matrices(count, *images.shape[1:3])
        while layers and isinstance(layers[0], RandomResampling):
            head, *layers = layers
            more = head.draw_matrices(count, rows.shape[1], columns.shape[1])
            rows = ops.matmul(more[0], rows)
            columns = ops.matmul(more[1], columns)
        views = resample(images, rows, columns)
        return ops.cast(views, head.compute_dtype), layers

    def _augment(
        self, samples: Tensor, layers: list[keras.layers.Layer]
    ) -> Tensor:
        """Runs layers as in training, and checks their output."""
        self._flag(samples)
        training = bool(self._flag.value)
        outputs = samples
        for layer in layers:
            outputs = layer(outputs, training=True)
        if not hasattr(outputs, "shape") or not len(outputs.shape):
            raise ValueError(
                "`pipeline` must return one tensor with one row per sample. "
                f"Received: output of type {type(outputs).__name__}"
            )
        rows_in, rows_out = samples.shape[0], outputs.shape[0]
        if None not in (rows_in, rows_out) and rows_in != rows_out:
            raise ValueError(
                "`pipeline` must return as many samples as it gets. "
                f"Received: {rows_out} samples for {rows_in}, output shape="
                f"{tuple(outputs.shape)}"
            )
        return self._flag(outputs, training=training)

    def _check_views(self, shape: tuple[int | None, ...]) -> None:
        if len(shape) < 3 or shape[1] != 2:
            raise ValueError(
                "The inputs must be two views of each sample, (batch, 2, ...), "
                f"with takes_views=True. Received: shape={tuple(shape)}"
            )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Builds the pipeline.

        Args:
            input_shape: Tuple `(batch, ...)`.
        """
        self.compute_output_spec(
            keras.KerasTensor(input_shape, dtype=self.compute_dtype)
        )

    def call(self, inputs: Tensor) -> Tensor:
        """Draws two views of each sample.

        Args:
            inputs: Tensor `(batch, ...)`.

        Returns:
            Tensor `(batch, 2, ...)`.
        """
        batch_size = ops.shape(inputs)[0]
        count, layers = 2 * batch_size, self._stages
        folded = inputs
        if self.takes_views:
            self._check_views(inputs.shape)
            folded = ops.reshape(inputs, (count, *inputs.shape[2:]))
        if isinstance(layers[0], RandomResampling):
            folded, layers = self._resampled_views(folded, count)
        elif not self.takes_views:
            folded = ops.reshape(
                ops.stack([inputs, inputs], axis=1),
                (count, *inputs.shape[1:]),
            )
        views = self._augment(folded, layers)
        return ops.reshape(views, (batch_size, 2, *views.shape[1:]))

    def compute_output_spec(self, inputs: Tensor) -> Any:
        """Returns the shape and dtype of the views as a symbolic tensor.

        Args:
            inputs: Symbolic tensor `(batch, ...)`.

        Returns:
            `keras.KerasTensor` of shape `(batch, 2, ...)`.
        """
        batch_size = inputs.shape[0]
        if self.takes_views:
            self._check_views(inputs.shape)
        folded = keras.KerasTensor(
            (
                None if batch_size is None else 2 * batch_size,
                *inputs.shape[2 if self.takes_views else 1 :],
            ),
            dtype=inputs.dtype,
        )
        views = self._augment(folded, self._stages)
        return keras.KerasTensor(
            (batch_size, 2, *views.shape[1:]), dtype=views.dtype
        )

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the shape of the views.

        Args:
            input_shape: Tuple `(batch, ...)`.

        Returns:
            Tuple `(batch, 2, ...)`.
        """
        spec = self.compute_output_spec(
            keras.KerasTensor(input_shape, dtype=self.compute_dtype)
        )
        return tuple(spec.shape)

    def _random_states(self) -> list[Any]:
        """Returns the state variables of the seed generators."""
        weights = {id(weight) for weight in self.weights}
        return [v for v in self.variables if id(v) not in weights]

    def save_own_variables(self, store: Any) -> None:
        """Saves the state of the pipeline's random numbers.

        Args:
            store: Dictionary to write to.
        """
        for i, state in enumerate(self._random_states()):
            store[str(i)] = state

    def load_own_variables(self, store: Any) -> None:
        """Restores the state of the pipeline's random numbers.

        Args:
            store: Dictionary that `save_own_variables` filled.
        """
        states = self._random_states()
        if len(store.keys()) != len(states):
            raise ValueError(
                f"The pipeline of layer '{self.name}' has {len(states)} "
                f"random states. Received: {len(store.keys())} saved ones"
            )
        for i, state in enumerate(states):
            state.assign(store[str(i)])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        config = super().get_config()
        config["pipeline"] = keras.saving.serialize_keras_object(self.pipeline)
        config["takes_views"] = self.takes_views
        return dict(config)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TwoViews":
        """Returns a layer made from its configuration.

        Args:
            config: Dictionary that `get_config` returned.

        Returns:
            `TwoViews`.
        """
        config = dict(config)
        pipeline = config.pop("pipeline")
        if isinstance(pipeline, list):
            pipeline = [
                keras.saving.deserialize_keras_object(layer)
                for layer in pipeline
            ]
        else:
            pipeline = keras.saving.deserialize_keras_object(pipeline)
        return cls(pipeline, **config)
