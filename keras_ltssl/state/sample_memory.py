"""A moving average for every single sample of the training set."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.backend.fused_arithmetic import interpolate
from keras_ltssl.backend.fused_operations import (
    clip,
    count_where,
    fill_where,
    rows_of,
    sorted_and_order,
)
from keras_ltssl.backend.in_place_operations import (
    add_to,
    keep_last_of_equal,
    take_rows,
    write_rows,
)
from keras_ltssl.types import Tensor
from keras_ltssl.validation import (
    check_integer,
    check_integer_or_none,
    check_number,
)

# Stands for no average. Not NaN, which debuggers of numerics stop at.
NONE = float(np.finfo("float32").min)


@keras.saving.register_keras_serializable(package="keras_ltssl")
class SampleMemory(keras.layers.Layer):
    """Keeps an exponential moving average of a value for each sample id.

        m_i ← β m_i + (1-β) v_i        and m_i ← v_i where i is seen first

    Every sample comes once an epoch, so β counts epochs. All samples of a
    batch are updated at once, inside the graph, and only their rows are
    touched: a step costs the same for ten million samples as for ten thousand.
    Ids are integers throughout, exact for any number of samples.

    Ids of -1 (out of distribution) are left out. Ids from `num_samples` on are
    left out as well, and counted in `unknown_ids`, so that whoever trains can
    tell. Where an id occurs twice in a batch, the last of its values counts. No
    gradient flows in. A value of NaN counts as none.

    Args:
        num_samples: How many ids there are, 0 to `num_samples - 1`; integer
            >= 1.
        width: Entries of a value, integer >= 1, or `None` for single numbers.
            Defaults to `None`.
        momentum: β in [0, 1). Defaults to `0.97`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> memory = lt.layers.SampleMemory(num_samples=3, momentum=0.5)
    >>> memory.build()
    >>> memory.update(np.array([0, 2, -1]), np.array([1.0, 2.0, 3.0]))
    >>> memory.update(np.array([0]), np.array([0.0]))
    >>> values, seen = memory.read()
    >>> values.tolist(), seen.tolist()
    ([0.5, 0.0, 2.0], [True, False, True])
    """

    def __init__(
        self,
        num_samples: int,
        width: int | None = None,
        momentum: float = 0.97,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.num_samples = check_integer("num_samples", num_samples, minimum=1)
        self.width = check_integer_or_none("width", width, minimum=1)
        self.momentum = check_number("momentum", momentum, minimum=0, below=1)

    def build(self, input_shape: Any = None) -> None:
        # One more row takes what belongs to no sample, so that a batch is
        # written as a whole.
        rows = self.num_samples + 1
        self.values = self.add_weight(
            shape=(rows,) if self.width is None else (rows, self.width),
            # Flags beside the values would be copied as a whole in each step
            # on JAX: XLA does not see that all of them are read before any is
            # written.
            initializer=keras.initializers.Constant(NONE),
            trainable=False,
            # A model in mixed precision may read it in its forward pass.
            autocast=False,
            name="values",
        )
        self.unknown_ids = self.add_weight(
            shape=(),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            name="unknown_ids",
        )

    def update(
        self,
        ids: Tensor,
        values: Tensor,
        momentum: float | Tensor | None = None,
        rows: Tensor | None = None,
    ) -> None:
        """Moves the averages of a batch.

        Args:
            ids: Sample ids, integers `(batch,)`.
            values: `(batch,)`, or `(batch, width)`.
            momentum: β of this step. Defaults to `None`, the layer's own.
            rows: What `rows(ids)` returned. Defaults to `None`, computed here.
        """
        new = _as_constant(values)
        beta = self.momentum if momentum is None else momentum
        rows = self.rows(ids) if rows is None else rows
        before = take_rows(self.values, rows)
        moved = interpolate(new, before, beta)
        self._write(ids, rows, ops.where(before > NONE, moved, new))

    def take(self, ids: Tensor) -> Tensor:
        """Returns what is remembered of the samples of a batch.

        Args:
            ids: Sample ids, integers `(batch,)`.

        Returns:
            float32, `(batch,)` or `(batch, width)`. `is_known` tells where
            nothing is remembered, as of ids that belong to no sample.
        """
        return take_rows(self.values, self.rows(ids))

    @staticmethod
    def is_known(values: Tensor) -> Tensor:
        """Returns which of the values that `take` returned are remembered."""
        return values > NONE

    def write(self, ids: Tensor, values: Tensor) -> None:
        """Replaces what is remembered of the samples of a batch.

        Args:
            ids: Sample ids, integers `(batch,)`.
            values: `(batch,)`, or `(batch, width)`.
        """
        self._write(ids, self.rows(ids), _as_constant(values))

    def _write(self, ids: Tensor, rows: Tensor, values: Tensor) -> None:
        # Of several writes to one row, which one stays would be up to chance
        # on some devices. All but the last go to the row of no sample.
        rows, order = sorted_and_order(rows)
        values = rows_of(values, order)
        rows = keep_last_of_equal(rows, self.num_samples)
        nowhere = rows == self.num_samples
        if self.width is not None:
            nowhere = nowhere[:, None]
        write_rows(self.values, rows, fill_where(nowhere, values, NONE))
        is_unknown = ops.convert_to_tensor(ids) >= self.num_samples
        add_to(self.unknown_ids, count_where(is_unknown, "int32"))

    def rows(self, ids: Tensor) -> Tensor:
        """Returns the row of each id, int32.

        Args:
            ids: Sample ids, integers `(batch,)`. The row of ids that belong to
                no sample is `num_samples`.
        """
        ids = clip(ops.convert_to_tensor(ids), -1, self.num_samples)
        # -1 is the last row, too, counted from the end.
        return ops.cast(ids % (self.num_samples + 1), "int32")

    def read(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Returns the averages and which samples have one, as arrays.

        Returns:
            Values, `(num_samples,)` or `(num_samples, width)`, 0 where there is
            none yet; and booleans, `(num_samples,)`.
        """
        values = ops.convert_to_numpy(self.values)[:-1]
        known = values > NONE
        seen = known if self.width is None else known[:, 0]
        return np.where(known, values, 0), seen

    @property
    def seen(self) -> Tensor:
        """Booleans, `(num_samples + 1,)`: which samples have an average.

        The last row is that of all ids that belong to no sample.
        """
        known = ops.convert_to_tensor(self.values) > NONE
        return known if self.width is None else known[:, 0]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_samples": self.num_samples,
            "width": self.width,
            "momentum": self.momentum,
        }


def _as_constant(values: Tensor) -> Tensor:
    """Returns values in float32, without a gradient."""
    values = ops.stop_gradient(ops.convert_to_tensor(values))
    return ops.cast(values, "float32")
