"""What is wrong with data or settings is said before the first step."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt

pytestmark = pytest.mark.every_backend


IDS = np.arange(32)


def views(batch=32, dim=6, seed=0):
    z = np.random.default_rng(seed).normal(size=(batch, 2, dim))
    return z.astype("float32")


def labels(count=32, classes=3):
    return np.arange(count) % classes


def make(loss=None, framework=lt.models.ContrastiveModel, **kwargs):
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6)])
    model = framework(encoder, projector=keras.layers.Dense(4), **kwargs)
    model.compile("sgd", loss=loss or lt.losses.NTXentLoss())
    return model


def stream(x, y=None, size=16):
    """Yields batches without end, as a generator of a user does."""
    while True:
        for start in range(0, len(x), size):
            part = slice(start, start + size)
            yield (x[part],) if y is None else (x[part], y[part])


def train(model, batches, epochs=1, callbacks=()):
    return model.fit(
        batches,
        steps_per_epoch=2,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )


def calls(model, x, y):
    """Each way in which arrays come in, with samples and targets."""
    tensors = (ops.convert_to_tensor(x), ops.convert_to_tensor(y))
    quiet = {"verbose": 0}
    return {
        "array": lambda: model.fit(x, y, **quiet),
        "list": lambda: model.fit(x, list(y), **quiet),
        "tensor": lambda: model.fit(*tensors, **quiet),
        "validation": lambda: model.fit(x, validation_data=(x, y), **quiet),
        "evaluate": lambda: model.evaluate(x, y, **quiet),
    }


@pytest.mark.parametrize(
    "kind", ["array", "list", "tensor", "validation", "evaluate"]
)
def test_class_labels_in_place_of_ids_are_refused(kind):
    model = make()
    call = calls(model, views(), labels())[kind]
    with pytest.raises(ValueError, match="look like class labels") as error:
        call()
    assert "3 distinct ids for 32 samples" in str(error.value)
    assert int(model.loss_state.step) == 0


@pytest.mark.parametrize(
    "loss",
    [
        lt.losses.NTXentLoss(),
        lt.losses.COLTLoss(num_samples=32),
        lt.losses.TASELoss(num_prototypes=3),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_class_labels_from_a_generator_are_noticed_in_the_first_batch(loss):
    model, x = make(loss), views()
    with pytest.raises(ValueError, match=r"13 of 16 ids repeat") as error:
        train(model, stream(x, labels()))
    assert "labels=None" in str(error.value)
    assert int(model.loss_state.step) == 1


def test_ids_of_a_generator_pass():
    model = make()
    train(model, stream(views(), np.arange(32)))
    train(model, stream(views(), -np.ones(32, "int32")))
    assert int(model.loss_state.step) == 4


def test_some_ids_that_come_twice_in_a_batch_are_warned_of():
    ids = np.arange(32)
    ids[[3, 7]] = 1
    model = make()
    with pytest.warns(UserWarning, match="2 of 16 ids repeat"):
        train(model, stream(views(), ids))
    assert int(model.loss_state.step) == 2


def test_one_hot_labels_are_refused_with_what_to_pass():
    one_hot = np.eye(4, dtype="float32")[labels(32, 4)]
    with pytest.raises(ValueError, match="labels are never needed: leave"):
        make().fit(views(), one_hot, verbose=0)
    with pytest.raises(ValueError, match="labels=None"):
        train(make(), stream(views(), one_hot))


@pytest.mark.parametrize("pair", [list, tuple])
def test_two_views_apart_are_refused_with_how_to_stack_them(pair):
    x = views()
    apart = pair([x[:, 0], x[:, 1]])
    for arguments in ((apart,), (apart, IDS)):
        with pytest.raises(ValueError, match=r"np.stack\(\[x1, x2\], axis=1\)"):
            make().fit(*arguments, verbose=0)


def test_two_views_apart_from_a_generator_are_refused():
    pairs = (((x[:, 0], x[:, 1]), ids) for x, ids in stream(views(), IDS))
    with pytest.raises(ValueError, match=r"np.stack\(\[x1, x2\], axis=1\)"):
        train(make(), pairs)


def test_samples_by_name_are_refused_with_their_keys():
    with pytest.raises(ValueError, match=r"`x` must be one array.*\['image'\]"):
        make().fit({"image": views()}, verbose=0)


def test_samples_by_name_from_a_generator_are_refused_with_their_keys():
    named = (({"image": x}, ids) for x, ids in stream(views(), IDS))
    with pytest.raises(ValueError, match=r"`x` must be one array.*\['image'\]"):
        train(make(), named)


@pytest.mark.parametrize(
    ("make_data", "arguments"),
    [
        (views, {"batch_size": 1}),
        (lambda: views(1), {}),
        (lambda: lt.datasets.ImageBatches(views(), batch_size=1), {}),
        (lambda: stream(views(), size=1), {"steps_per_epoch": 2}),
    ],
    ids=["array", "one sample", "dataset", "generator"],
)
def test_batches_of_one_sample_have_no_negatives(make_data, arguments):
    model = make()
    with pytest.raises(ValueError, match="`batch_size` must be at least 2"):
        model.fit(make_data(), shuffle=False, verbose=0, **arguments)


def test_a_fit_after_a_step_of_ones_own_is_not_taken_for_batches_of_one():
    model = make()
    model.train_on_batch(views(16))
    model.fit(views(), batch_size=16, verbose=0)
    assert int(model.loss_state.step) == 3


def test_a_queue_holds_negatives_for_a_batch_of_one():
    model = make(framework=lt.models.MomentumContrast, queue_size=8)
    model.fit(views(4), batch_size=1, verbose=0)
    assert int(model.queue.filled) == 4


def test_class_weights_are_refused():
    weights = {0: 1.0, 1: 5.0}
    for y in (None, np.arange(32)):
        with pytest.raises(ValueError, match="Pass `sample_weight`"):
            make().fit(views(), y, class_weight=weights, verbose=0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("is_tensor", [False, True], ids=["array", "tensor"])
def test_the_row_that_is_not_finite_is_named(value, is_tensor):
    x = views()
    x[3, 0, 0] = value
    x = ops.convert_to_tensor(x) if is_tensor else x
    with pytest.raises(ValueError, match=r"`x` must .*infinity in row 3"):
        make().fit(x, verbose=0)


def test_what_is_not_finite_is_named_wherever_it_comes_in():
    good, weight = views(), np.ones(32, "float32")
    bad, bad_weight = views(), np.ones(32, "float32")
    bad[5], bad_weight[9] = np.nan, np.nan
    ids = np.arange(32)
    model = make()
    with pytest.raises(ValueError, match=r"`sample_weight` .* row 9"):
        model.fit(good, ids, sample_weight=bad_weight, verbose=0)
    with pytest.raises(ValueError, match=r"`validation_data`: `x` .* row 5"):
        model.fit(good, validation_data=(bad, ids), verbose=0)
    with pytest.raises(ValueError, match="`validation_data`: `sample_weight`"):
        model.fit(good, validation_data=(good, ids, bad_weight), verbose=0)
    with pytest.raises(ValueError, match=r"`x` must .* row 5"):
        model.evaluate(bad, verbose=0)
    with pytest.raises(ValueError, match=r"`sample_weight` .* row 9"):
        model.evaluate(good, ids, sample_weight=bad_weight, verbose=0)
    assert int(model.loss_state.step) == 0
    model.fit(good, ids, sample_weight=weight, verbose=0)


@pytest.mark.parametrize(
    ("rate", "factor"), [(1e38, 1.0), (1e-3, np.nan)], ids=["rate", "data"]
)
def test_diverged_weights_end_training_by_name(rate, factor, tmp_path):
    model = make()
    model.compile(keras.optimizers.SGD(rate), loss=model.loss)
    path = tmp_path / "kept.weights.h5"
    keep = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
    with pytest.raises(ValueError, match=r"diverged in epoch \d.*/kernel"):
        train(model, stream(factor * views()), epochs=4, callbacks=[keep])
    if not np.isfinite(factor):
        assert not path.exists()


@pytest.mark.parametrize(
    "metrics",
    [
        ["accuracy"],
        {"projections": "mae"},
        [keras.metrics.MeanSquaredError()],
    ],
    ids=["name", "dict", "metric"],
)
def test_metrics_of_labels_are_refused_in_compile(metrics):
    with pytest.raises(ValueError, match="KNNProbe"):
        make().compile("sgd", loss=lt.losses.NTXentLoss(), metrics=metrics)


def test_a_metric_of_the_projections_works_without_targets():
    class Norm(keras.metrics.Mean):
        def update_state(self, y_true, y_pred, sample_weight=None):
            super().update_state(ops.norm(y_pred, axis=-1))

    model = make()
    model.compile("sgd", loss=lt.losses.NTXentLoss(), metrics=[Norm("norm")])
    logs = model.fit(views(), verbose=0).history
    assert logs["norm"][0] > 0


def test_monitoring_that_is_neither_on_nor_off_is_refused():
    with pytest.raises(ValueError, match="`monitor_learning` must be"):
        make().compile(
            "sgd", loss=lt.losses.NTXentLoss(), monitor_learning="yes"
        )


def test_metrics_names_are_those_of_what_evaluate_returns():
    class Norm(keras.metrics.Mean):
        def update_state(self, y_true, y_pred, sample_weight=None):
            super().update_state(ops.norm(y_pred, axis=-1))

    model = make()
    model.compile("sgd", loss=lt.losses.NTXentLoss(), metrics=[Norm("norm")])
    values = model.evaluate(views(), verbose=0)
    named = dict(zip(model.metrics_names, values, strict=True))
    assert named == model.evaluate(views(), verbose=0, return_dict=True)
    assert {"loss", "norm", "temperature", "spread"} <= set(named)
    assert set(named) == set(model.fit(views(), verbose=0).history)


@pytest.mark.parametrize(
    ("dtype", "first", "num_samples"),
    [
        ("uint8", 100, 300),
        ("int8", 90, 300),
        ("int16", 5000, 70_000),
        ("uint16", 5000, 70_000),
    ],
)
def test_small_integers_name_samples_of_a_large_set(dtype, first, num_samples):
    model = make(lt.losses.COLTLoss(num_samples=num_samples))
    ids = np.arange(first, first + 32).astype(dtype)
    model.fit(views(), ids, verbose=0)
    _, seen = model.loss_state.parts["tailness"].read()
    assert seen[ids].all()
    assert seen.sum() == 32
    model.train_on_batch(views(), ids)


def test_dtype_and_trainable_are_kept_in_the_config():
    model = make(dtype="mixed_bfloat16", trainable=False)
    again = type(model).from_config(model.get_config())
    assert again.dtype_policy.name == "mixed_bfloat16"
    assert not again.trainable
    assert make().get_config()["trainable"]
