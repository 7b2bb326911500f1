"""How a model of two views is compiled, fitted and evaluated."""

import functools
import warnings
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_ltssl.backend import processes, pytorch, replicas, steps
from keras_ltssl.backend.transfer import transfer_to_device
from keras_ltssl.datasets.epoch_batches import EpochBatches
from keras_ltssl.datasets.fed_batches import FedBatches, can_be_fed
from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.models.augmentation import (
    check_crops,
    holds_views,
    needs_ids,
    takes_views,
)
from keras_ltssl.models.checks import (
    check_batch_size,
    check_data,
    check_fit,
    check_metrics,
    sample_shape,
    shape_of_first_batch,
)
from keras_ltssl.models.learning_watch import LearningWatch
from keras_ltssl.models.samples_with_ids import with_ids
from keras_ltssl.models.step_logs import StepLogs
from keras_ltssl.models.training_watch import TrainingWatch
from keras_ltssl.models.value_range import check_value_range
from keras_ltssl.state.loss_state import LossState
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_boolean


class ContrastiveTrainer(keras.Model):
    """Keras' training with sample ids for targets, and checks before it starts.

    `ContrastiveModel` adds the network. Its constructor sets the attributes
    `encoder`, `augmenter`, `loss_state` and `training_data`.
    """

    has_negatives_in_batch = True
    """Whether a sample is compared with the others of its batch."""

    needs_epochs = False
    """Whether the model must know how many steps an epoch has."""

    encoder: keras.layers.Layer
    augmenter: keras.layers.Layer | None
    loss_state: LossState
    training_data: Any
    train_function: Any
    jit_compile: bool
    _step_logs: StepLogs | None = None

    _torch_kernels: bool | None = None

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: ContrastiveLoss | None = None,
        *,
        monitor_learning: bool = True,
        torch_kernels: bool = True,
        **kwargs: Any,
    ) -> None:
        """Configures training; as for any Keras model, but for the loss.

        What the loss remembers becomes part of this model. A loss that already
        belongs to another model is copied, so that the two do not mix.

        Args:
            optimizer: As for any Keras model. Defaults to `"rmsprop"`.
            loss: One of `keras_ltssl.losses`.
            monitor_learning: Whether training and evaluation also log
                `contrastive_accuracy`, `contrastive_chance`, `alignment`,
                `uniformity` and `spread`, of at most 128 samples of each batch,
                and `fit` warns if they say that nothing is learned. What is
                trained does not depend on it. Defaults to `True`.
            torch_kernels: Whether layers of this model, with its encoder, run
                PyTorch's own operations, as by `use_torch_kernels`. Only on
                PyTorch. Defaults to `True`.
            **kwargs: Every other argument of `keras.Model.compile`. On PyTorch,
                `jit_compile=True` compiles the loss alone, with a warning, if
                the encoder has convolutions of Keras or is a PyTorch module.

        Reference:
            - [Understanding Contrastive Representation Learning through
              Alignment and Uniformity on the
              Hypersphere](https://arxiv.org/abs/2005.10242), Wang and Isola,
              ICML 2020
        """
        if not isinstance(loss, ContrastiveLoss):
            raise ValueError(
                "`loss` must be one of keras_ltssl.losses, such as "
                f"NTXentLoss(). Received: loss={loss!r}"
            )
        check_boolean("monitor_learning", monitor_learning)
        check_boolean("torch_kernels", torch_kernels)
        self.check_loss(loss)
        loss.check_augmenter(self.augmenter)
        check_metrics([kwargs.get("metrics"), kwargs.get("weighted_metrics")])
        if (
            loss.get_state() is not None
            and loss.get_state() is not self.loss_state
        ):
            loss = loss.copy()
        if self.augmenter is not None and hasattr(self.augmenter, "attach"):
            self.augmenter.attach(loss)
        self.loss_state.attach(loss)
        self.loss_state.monitor_learning(monitor_learning)
        super().compile(optimizer=optimizer, loss=loss, **kwargs)
        self._torch_kernels = torch_kernels
        loss.compile_alone(False)
        self._choose_compilation()
        if self.built:
            self._choose_kernels()

    def _choose_compilation(self) -> None:
        """Compiles the loss alone where PyTorch fails to compile a step."""
        if not self.jit_compile or not pytorch.fails_to_compile(
            self._flatten_layers()
        ):
            return
        warnings.warn(
            "`jit_compile=True` compiles the loss alone here: on a whole step "
            "with convolutions of Keras or a PyTorch module, torch.compile "
            "fails or is untested. The first step is slow: it compiles.",
            stacklevel=3,
        )
        self.jit_compile = False
        self.loss.compile_alone(True)

    def _choose_kernels(self) -> None:
        """Sets what the layers of the built model run, as compiled."""
        if self._torch_kernels is not None:
            pytorch.set_torch_kernels(
                self._flatten_layers(), self._torch_kernels
            )

    def check_loss(self, loss: ContrastiveLoss) -> None:
        """Raises if this framework cannot train with a loss.

        Args:
            loss: One of `keras_ltssl.losses`.
        """
        if loss.requirements.target_views:
            raise ValueError(
                "BYOLLoss compares predictions with targets, which only "
                f"models.BYOL makes. Received: loss={loss!r} for a "
                f"{type(self).__name__}"
            )

    def get_compile_config(self) -> dict[str, Any]:
        """Returns the arguments of `compile`; none before it was called."""
        config: dict[str, Any] = super().get_compile_config()
        if not config:
            return config
        is_on = self.loss_state.learning is not None
        return {
            **config,
            "monitor_learning": is_on,
            "torch_kernels": self._torch_kernels,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as saved. Keras cannot, since `compile` is overridden.

        Args:
            config: What `get_compile_config()` returned.
        """
        config = keras.saving.deserialize_keras_object(config)
        self.compile(**config)
        if self.built:
            self.optimizer.build(self.trainable_variables)

    @functools.wraps(keras.Model.fit)
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        processes.check_strategy(self)
        check_fit(x, y, batch_size, **kwargs)
        if self.has_negatives_in_batch:
            check_batch_size(x, batch_size, type(self.loss).__name__)
        check_crops(x, self.augmenter)
        shape = sample_shape(x)
        self._build_for(shape)
        if shape is not None and (
            takes_views(self.augmenter)
            or not holds_views((None, *shape), self.encoder)
        ):
            check_value_range(x, self.augmenter)
        self._check_ids_for_loss(x, y)
        callbacks, known = self._with_own_callbacks(callbacks)
        if isinstance(self.loss, ContrastiveLoss):
            self.loss.check_training(known)
        if isinstance(x, EpochBatches):
            kwargs["shuffle"] = False  # Its order depends on seed and epoch.
        for callback in known:
            if not hasattr(callback, "prepare_fit"):
                continue
            if not self.built:
                self._build_for(shape_of_first_batch(x))
            start = callback.prepare_fit(
                self, known, epochs, kwargs.get("initial_epoch"), verbose
            )
            if start is not None:
                kwargs["initial_epoch"] = start
                if start >= epochs:
                    return self._no_history()
        self.training_data = x
        self._step_logs = StepLogs(known, verbose in ("auto", 1))
        transfer = transfer_to_device() if can_be_fed(x) else None
        fed = None if transfer is None else FedBatches(x, transfer)
        data = x if fed is None else fed
        try:
            with steps.unwaiting(compiled=bool(self.jit_compile)):
                return super().fit(
                    data, y, batch_size, epochs, verbose, callbacks, **kwargs
                )
        finally:
            if fed is not None:
                fed.close()
            self._step_logs = None
            self.training_data = None
            self.loss_state.watches_data = False

    def _build_for(self, shape: tuple[int | None, ...] | None) -> None:
        """Builds the model for samples of a shape, if it is known."""
        # Keras would build it, too, but older versions wrap an error about
        # the shapes in one about building, and on TensorFlow not before the
        # first step.
        if not self.built and shape is not None:
            with replicas.scope(self):
                self.build((None, *shape))

    def _no_history(self) -> keras.callbacks.History:
        """Returns the history of a training without epochs."""
        history = keras.callbacks.History()
        history.set_model(self)
        history.on_train_begin()
        self.history = history
        return history

    def _check_ids_for_loss(self, x: Any, y: Any) -> None:
        """Raises if ids known before the first step do not fit the loss."""
        if not isinstance(self.loss, ContrastiveLoss):
            return
        ids = getattr(x, "ids", None) if y is None else y
        is_needed = self.loss.requirements.ids or needs_ids(self.augmenter)
        if ids is None and isinstance(x, np.ndarray) and is_needed:
            raise self._no_ids()
        if isinstance(ids, (np.ndarray, list, tuple)) and len(ids):
            self.loss.check_largest_id(int(np.max(ids)))

    def _no_ids(self) -> ValueError:
        who = self.loss if self.loss.requirements.ids else self.augmenter
        return ValueError(
            f"{type(who).__name__} has to know which sample is which and "
            "needs sample ids: `fit(x, ids)`. Received: y=None"
        )

    def own_callbacks(self) -> list[keras.callbacks.Callback]:
        """Returns new callbacks that `fit` adds to those of the user."""
        if self.loss_state.learning is None:
            return [TrainingWatch()]
        return [TrainingWatch(), LearningWatch()]

    def _with_own_callbacks(
        self, callbacks: Any
    ) -> tuple[Any, list[keras.callbacks.Callback]]:
        """Returns what to pass to Keras' `fit`, and all callbacks as a list."""
        own = self.own_callbacks()
        if isinstance(callbacks, keras.callbacks.CallbackList):
            for callback in own:
                callbacks.append(callback)
            return callbacks, callbacks.callbacks
        if not isinstance(callbacks, (list, tuple)):
            callbacks = [callbacks] if callbacks else []
        together = [*own, *tree.flatten(list(callbacks))]
        return together, together

    @functools.wraps(keras.Model.evaluate)
    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> Any:
        # `fit` has checked its validation data; Keras then adds an argument.
        if "_use_cached_eval_dataset" not in kwargs:
            check_data(x, y, sample_weight)
        return super().evaluate(
            x, y, batch_size, verbose, sample_weight, **kwargs
        )

    def make_train_function(self, force: bool = False) -> Any:
        """Makes what trains on a batch, and lets Keras read few of its logs.

        Args:
            force: Whether to make it anew.
        """
        before = self.train_function
        super().make_train_function(force)
        made = self.train_function
        if made is before:
            return

        def train_function(*args: Any) -> Any:
            result = made(*args)
            if self._step_logs is None:
                return result
            # On JAX, the state of the training comes after the logs.
            logs, *state = result if isinstance(result, tuple) else (result,)
            if isinstance(logs, dict):
                logs = self._step_logs.of_step(logs)
            return (logs, *state) if state else logs

        self.train_function = train_function

    def train_step(self, *args: Any) -> Any:
        """Trains on a batch; the data are the last argument."""
        # On JAX, the state of the training comes first.
        *state, data = args
        if self.jit_compile:  # PyTorch would compile what surrounds the step.
            return super().train_step(*state, self._as_called(data))
        with steps.unwaiting():
            data = self._as_called(steps.on_device(data))
            return super().train_step(*state, data)

    def test_step(self, *args: Any) -> Any:
        """Evaluates a batch; the data are the last argument."""
        *state, data = args
        return super().test_step(*state, self._as_called(data))

    def _as_called(self, data: Any) -> Any:
        """Returns the data of a step, with ids where the augmenter needs them.

        Keras calls a model with the samples alone.
        """
        if not needs_ids(self.augmenter):
            return data
        named = with_ids(data)
        if named is None:
            raise self._no_ids()
        return named

    def compute_loss(
        self,
        x: Tensor | None = None,
        y: Tensor | None = None,
        y_pred: Tensor | None = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        """Returns the loss. Without targets, all samples have the id -1."""
        if y is None:
            if self.loss.needed.ids:
                raise self._no_ids()
            y = -ops.ones((ops.shape(y_pred)[0],), dtype="int32")
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    @property
    def metrics_names(self) -> list[str]:
        """The names of what `evaluate` returns, in its order."""
        logged = self.get_metrics_result()
        own = [
            each.name
            for metric in self.metrics
            for each in getattr(metric, "metrics", [metric])
        ]
        first = [name for name in own if name in logged]
        return first + sorted(set(logged) - set(first))
