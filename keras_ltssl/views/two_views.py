"""Two independently augmented views of every sample."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.types import Tensor
from keras_ltssl.views.random_resampling import RandomResampling, resample


class _TrainingFlag(keras.layers.Layer):
    """The identity, which notes the training flag it is called with.

    Keras hands the flag of the latest nested call on to whatever is called
    next. A layer that calls others with `training=True` therefore has to
    put the flag back, or the encoder after it would update its batch
    statistics and drop units during evaluation.
    """

    def __init__(self) -> None:
        # It is the identity of any dtype.
        super().__init__(autocast=False)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        self.value = training
        return inputs


@keras.saving.register_keras_serializable(package="keras_ltssl")
class TwoViews(keras.layers.Layer):
    """Draws two random views of every sample.

    `(batch, ...) -> (batch, 2, ...)`. Each sample is put into the batch twice,
    the pipeline runs once on `(2 * batch, ...)`, and the outcome is unfolded.
    A pipeline whose layers draw per sample therefore draws for every view of
    every sample on its own.

    `RandomResizedCrop` and `RandomBlur` at the head of a list mix the rows and
    the columns of images by matrices. Those matrices are multiplied first, and
    both views made of the image that is there once: the same views, sooner.

    The pipeline is always called with `training=True`, also in `evaluate` and
    `predict`: a contrastive loss on held-out data needs two random views
    just as in training, while image augmentation layers do nothing when
    not training. Layers after this one get the flag of the model unchanged.

    Saving a model (or its weights) also saves how far the pipeline's random
    numbers have come, which Keras leaves out, so a run that is resumed goes
    on with the views that an uninterrupted one would have drawn.

    Args:
        pipeline: A Keras layer or model, or a list of them, applied in order.
            Maps `(n, ...)` to `(n, ...)`: one output a sample, which may have
            another shape.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`,
            `trainable`. `dtype` only matters for a pipeline that cannot be
            built for float inputs; inputs are never cast.

    Call arguments:
        inputs: Tensor `(batch, ...)`.

    Returns:
        Tensor `(batch, 2, ...)`.

    Raises:
        ValueError: If `pipeline` is empty or holds anything but layers; if it
            returns anything but one tensor with one row a sample.

    Example:

    >>> import keras
    >>> import keras_ltssl as lt
    >>> views = lt.layers.TwoViews([keras.layers.GaussianNoise(0.1, seed=0)])
    >>> tuple(views(keras.ops.zeros((4, 16))).shape)
    (4, 2, 16)

    Reference:
        Chen et al., "A Simple Framework for Contrastive Learning of Visual
        Representations", 2020 (arXiv:2002.05709).
    """

    def __init__(
        self,
        pipeline: keras.layers.Layer | list[keras.layers.Layer],
        **kwargs: Any,
    ) -> None:
        # What the samples are is the pipeline's business, so is their dtype.
        super().__init__(autocast=False, **kwargs)
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
        """The layers of the pipeline, in order."""
        whole = self.pipeline
        return whole if isinstance(whole, list) else [whole]

    def _resampled_views(
        self, images: Tensor
    ) -> tuple[Tensor, list[keras.layers.Layer]]:
        """Both views after the layers that resample, and the other layers."""
        count = 2 * ops.shape(images)[0]
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
        """Run layers as in training, and check what comes out."""
        self._flag(samples)
        training = bool(self._flag.value)
        outputs = samples
        for layer in layers:
            outputs = layer(outputs, training=True)
        if not hasattr(outputs, "shape") or not len(outputs.shape):
            raise ValueError(
                "`pipeline` must return one tensor with one row a sample. "
                f"Received: output of type {type(outputs).__name__}"
            )
        rows_in, rows_out = samples.shape[0], outputs.shape[0]
        if None not in (rows_in, rows_out) and rows_in != rows_out:
            raise ValueError(
                "`pipeline` must return as many samples as it is given. "
                f"Received: {rows_out} samples for {rows_in}, output shape="
                f"{tuple(outputs.shape)}"
            )
        return self._flag(outputs, training=training)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the pipeline.

        Args:
            input_shape: Tuple `(batch, ...)`.
        """
        self.compute_output_spec(
            keras.KerasTensor(input_shape, dtype=self.compute_dtype)
        )

    def call(self, inputs: Tensor) -> Tensor:
        """Draw two views of every sample.

        Args:
            inputs: Tensor `(batch, ...)`.

        Returns:
            Tensor `(batch, 2, ...)`.
        """
        batch_size = ops.shape(inputs)[0]
        if isinstance(self._stages[0], RandomResampling):
            folded, layers = self._resampled_views(inputs)
        else:
            folded = ops.reshape(
                ops.stack([inputs, inputs], axis=1),
                (2 * batch_size, *inputs.shape[1:]),
            )
            layers = self._stages
        views = self._augment(folded, layers)
        return ops.reshape(views, (batch_size, 2, *views.shape[1:]))

    def compute_output_spec(self, inputs: Tensor) -> Any:
        """Shape and dtype of the views, as a symbolic tensor.

        Args:
            inputs: Symbolic tensor `(batch, ...)`.

        Returns:
            `keras.KerasTensor` of shape `(batch, 2, ...)`.
        """
        batch_size = inputs.shape[0]
        folded = keras.KerasTensor(
            (
                None if batch_size is None else 2 * batch_size,
                *inputs.shape[1:],
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
        """Shape of the views.

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
        """The variables of the seed generators: all that are no weights."""
        weights = {id(weight) for weight in self.weights}
        return [v for v in self.variables if id(v) not in weights]

    def save_own_variables(self, store: Any) -> None:
        """Save the state of the pipeline's random numbers.

        Args:
            store: Dictionary to write to.
        """
        for i, state in enumerate(self._random_states()):
            store[str(i)] = state

    def load_own_variables(self, store: Any) -> None:
        """Restore the state of the pipeline's random numbers.

        Args:
            store: Dictionary that `save_own_variables` has filled.
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
        """Arguments that make the same layer again.

        Returns:
            Dictionary.
        """
        config = super().get_config()
        config["pipeline"] = keras.saving.serialize_keras_object(self.pipeline)
        return dict(config)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TwoViews":
        """Make a layer from its configuration.

        Args:
            config: Dictionary that `get_config` has returned.

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
