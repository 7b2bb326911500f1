"""The model that users meet: what it takes, learns, saves and refuses."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
from keras_ltssl.state.learning_means import LEARNING_SIGNS


def views(batch=32, dim=8, seed=0):
    random = np.random.default_rng(seed)
    base = random.normal(size=(batch, 1, dim))
    return (base + 0.3 * random.normal(size=(batch, 2, dim))).astype("float32")


def linear_model(loss=None, seed=0, dim=8, **kwargs):
    keras.utils.set_random_seed(seed)
    encoder = keras.Sequential([keras.Input((dim,)), keras.layers.Dense(6)])
    model = lt.models.ContrastiveModel(
        encoder, projector=keras.layers.Dense(4), **kwargs
    )
    model.compile(
        keras.optimizers.SGD(0.1), loss=loss or lt.losses.NTXentLoss()
    )
    return model


def values(variables):
    return [ops.convert_to_numpy(variable) for variable in variables]


def images(count=24, size=8, channels=1):
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, size, size, channels), "uint8")


def test_tase_without_an_argument_trains_in_compile():
    model = linear_model(lt.losses.TASELoss())
    history = model.fit(views(), np.arange(32), epochs=3, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert set(history) - set(LEARNING_SIGNS) == {
        "loss",
        "temperature",
        "temperature_std",
        "share_entropy",
        "empty_prototypes",
    }


def test_default_views_train_on_raw_images():
    model = lt.models.ContrastiveModel(
        lt.models.small_convnet((8, 8, 1), width=4)
    )
    model.compile("sgd", loss=lt.losses.NTXentLoss())
    history = model.fit(images(), epochs=1, batch_size=12, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert model.predict(images(), verbose=0).shape == (24, 2, 128)
    assert model.encoder.predict(images(), verbose=0).shape[0] == 24


@pytest.mark.every_backend
def test_ids_datasets_and_no_targets_give_the_same_training():
    x, ids = views(), np.arange(32)
    data = [(x[i : i + 16], ids[i : i + 16]) for i in (0, 16)]

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return data[index]

    forms = [(x,), (x, ids), (Batches(),)]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        stream = tf.data.Dataset.from_tensor_slices((x, ids)).batch(16)
        forms.append((stream,))
    results = []
    for arguments in forms:
        model = linear_model()
        size = 16 if arguments[0] is x else None
        history = model.fit(
            *arguments, batch_size=size, epochs=2, shuffle=False, verbose=0
        )
        results.append(history.history["loss"])
    for other in results[1:]:
        np.testing.assert_allclose(results[0], other, rtol=1e-6)


@pytest.mark.every_backend
def test_the_last_smaller_batch_is_trained_on():
    model = linear_model(lt.losses.TASELoss(num_prototypes=4, warmup_steps=1))
    model.fit(views(21), batch_size=16, epochs=2, shuffle=False, verbose=0)
    assert int(model.loss_state.step) == 4


@pytest.mark.every_backend
def test_in_graph_prototypes_really_move():
    model = linear_model(lt.losses.TASELoss(num_prototypes=4))
    prototypes = model.loss_state.parts["prototypes"]
    seen = []
    for _ in range(3):
        model.fit(views(), batch_size=16, verbose=0)
        seen.append(ops.convert_to_numpy(prototypes.vectors))
        assert ops.convert_to_numpy(prototypes.shares).sum() == pytest.approx(
            1, abs=1e-5
        )
    assert np.abs(seen[0] - seen[1]).max() > 1e-3
    assert np.abs(seen[1] - seen[2]).max() > 1e-3


@pytest.mark.every_backend
def test_schedule_in_the_loss_advances_in_training_only():
    schedule = lt.schedules.LinearTemperature(1.0, 0.2, period=4)
    model = linear_model(lt.losses.NTXentLoss(schedule))
    history = model.fit(
        views(),
        batch_size=16,
        epochs=2,
        validation_data=(views(seed=1), np.arange(32)),
        verbose=0,
    ).history
    np.testing.assert_allclose(
        history["temperature"],
        [np.mean([schedule(0), schedule(0.5)]), schedule(1.25)],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        history["val_temperature"], [schedule(1), schedule(2)], rtol=1e-5
    )
    model.evaluate(views(), verbose=0)
    assert float(model.loss_state.epoch) == pytest.approx(2)
    model.fit(views(), batch_size=8, epochs=3, initial_epoch=2, verbose=0)
    assert float(model.loss_state.epoch) == pytest.approx(3)
    assert int(model.loss_state.step) == 8


def test_fit_takes_arguments_by_position_as_keras_does():
    model, epochs = linear_model(), []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: epochs.append(epoch)
    )
    model.fit(views(), np.arange(32), 8, 2, 0, [watch])
    assert epochs == [0, 1]
    assert int(model.loss_state.step) == 8
    with pytest.raises(TypeError, match="epoch"):
        model.fit(views(), epoch=2)


@pytest.mark.every_backend
def test_evaluate_gives_the_loss_of_held_out_views():
    model = linear_model()
    x = views()
    z = model.predict(x, verbose=0)
    expected = float(ops.mean(lt.losses.nt_xent(z)))
    result = model.evaluate(x, batch_size=32, verbose=0, return_dict=True)
    assert result["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.every_backend
def test_sample_weights_count():
    model = linear_model()
    x, weight = views(), np.arange(32).astype("float32")
    z = model.predict(x, verbose=0)
    losses = ops.convert_to_numpy(lt.losses.nt_xent(z))
    loss = model.test_on_batch(x, np.arange(32), weight, return_dict=True)
    assert loss["loss"] == pytest.approx((losses * weight).mean(), rel=1e-5)


@pytest.mark.every_backend
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_reaches_the_loss_in_float32(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = linear_model(lt.losses.TASELoss(0.05, num_prototypes=4))
        z = model(views())
        assert keras.backend.standardize_dtype(z.dtype) == "float32"
        before = values(model.trainable_variables)
        # Under float16 the first steps only find a loss scale that fits.
        history = model.fit(views(), epochs=12, verbose=0).history
        assert np.isfinite(history["loss"]).all()
        after = values(model.trainable_variables)
        assert all(np.isfinite(value).all() for value in after)
        assert any(
            (old != new).any() for old, new in zip(before, after, strict=True)
        )
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.every_backend
def test_keras_file_restores_everything_and_goes_on(tmp_path):
    path = tmp_path / "model.keras"
    schedule = lt.schedules.CosineTemperature(0.1, 0.5, period=4)
    model = linear_model(
        lt.losses.TASELoss(schedule, num_prototypes=4, warmup_steps=3)
    )
    model.fit(views(), np.arange(32), batch_size=16, epochs=3, verbose=0)
    model.save(path)
    again = keras.models.load_model(path)
    for old, new in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(old), ops.convert_to_numpy(new)
        )
    assert int(again.loss_state.step) == 6
    arguments = {"batch_size": 16, "shuffle": False, "verbose": 0}
    arguments |= {"initial_epoch": 3, "epochs": 4}
    one = model.fit(views(seed=3), **arguments).history
    two = again.fit(views(seed=3), **arguments).history
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5)


def test_encoder_file_stands_alone(tmp_path):
    model = linear_model(lt.losses.TASELoss(num_prototypes=4))
    model.fit(views(), verbose=0)
    model.encoder.save(tmp_path / "encoder.keras")
    encoder = keras.models.load_model(tmp_path / "encoder.keras")
    x = views()[:, 0]
    np.testing.assert_allclose(
        encoder.predict(x, verbose=0),
        model.encoder.predict(x, verbose=0),
        rtol=1e-6,
    )
    assert len(encoder.weights) == 2


@pytest.mark.every_backend
def test_loading_without_compiling_and_compiling_later_works(tmp_path):
    path = tmp_path / "model.keras"
    model = linear_model(lt.losses.TASELoss(num_prototypes=4))
    model.fit(views(), verbose=0)
    model.save(path)
    again = keras.models.load_model(path, compile=False)
    again.compile("sgd", loss=lt.losses.NTXentLoss())
    assert np.isfinite(again.fit(views(), verbose=0).history["loss"]).all()


@pytest.mark.every_backend
def test_a_loss_used_for_two_models_is_not_shared():
    loss = lt.losses.TASELoss(num_prototypes=4)
    first, second = linear_model(loss), linear_model(loss)
    first.fit(views(), batch_size=16, verbose=0)
    assert int(first.loss_state.step) == 2
    assert int(second.loss_state.step) == 0
    second.fit(views(), batch_size=16, verbose=0)
    assert int(first.loss_state.step) == int(second.loss_state.step) == 2


@pytest.mark.every_backend
def test_compiling_again_replaces_what_the_loss_remembers():
    model = linear_model(lt.losses.TASELoss(num_prototypes=4))
    model.fit(views(), verbose=0)
    count = len(model.weights)
    model.compile("sgd", loss=lt.losses.TASELoss(num_prototypes=6))
    assert len(model.weights) == count
    assert model.loss_state.parts["prototypes"].vectors.shape == (6, 4)
    model.fit(views(), verbose=0)
    model.compile("sgd", loss=lt.losses.NTXentLoss())
    history = model.fit(views(), verbose=0).history
    assert set(history) == {"loss", "temperature", *LEARNING_SIGNS}


def test_temperature_shows_in_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    model = linear_model(lt.losses.NTXentLoss(0.25))
    model.fit(
        views(), verbose=0, callbacks=[keras.callbacks.CSVLogger(str(path))]
    )
    assert "temperature" in path.read_text().splitlines()[0]


@pytest.mark.every_backend
@pytest.mark.skipif(
    keras.backend.backend() == "torch",
    reason="Keras refuses steps_per_execution > 1 on PyTorch",
)
def test_several_steps_per_execution_count_every_step():
    model = linear_model()
    model.compile(
        "sgd",
        loss=lt.losses.NTXentLoss(lt.schedules.CosineTemperature(period=8)),
        steps_per_execution=2,
    )
    model.fit(views(), batch_size=8, verbose=0)
    assert int(model.loss_state.step) == 4


def test_a_feature_map_is_told_to_pool():
    encoder = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3)]
    )
    with pytest.raises(ValueError, match="GlobalAveragePooling2D"):
        lt.models.ContrastiveModel(encoder)


def test_an_encoder_that_is_no_layer_is_refused():
    with pytest.raises(ValueError, match="`encoder` must be a Keras layer"):
        lt.models.ContrastiveModel(lambda x: x)
    with pytest.raises(ValueError, match="`augmenter` must be a Keras layer"):
        lt.models.ContrastiveModel(keras.layers.Dense(2), augmenter=lambda x: x)


def test_samples_without_views_are_refused():
    with pytest.raises(ValueError, match=r"ready-made views, \(batch, 2, "):
        linear_model().fit(views()[:, 0], verbose=0)


def test_a_loss_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="one of keras_ltssl"):
        linear_model().compile("sgd", loss="mse")
    with pytest.raises(ValueError, match="one of keras_ltssl"):
        linear_model().compile("sgd")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_images_with_nan_are_refused(value):
    x = views()
    x[7, 1, 3] = value
    with pytest.raises(ValueError, match="`x` must hold finite numbers"):
        linear_model().fit(x, verbose=0)


def test_float_ids_are_refused():
    with pytest.raises(ValueError, match="`y` must hold sample ids"):
        linear_model().fit(views(), np.zeros(32), verbose=0)


def test_ids_below_minus_one_are_refused():
    with pytest.raises(ValueError, match="`y` must hold sample ids >= 0"):
        linear_model().fit(views(), np.arange(32) - 2, verbose=0)


def test_missing_ids_are_refused_where_they_are_needed():
    class PerSample(lt.losses.NTXentLoss):
        requirements = lt.losses.Requirements(ids=True)

    with pytest.raises(ValueError, match=r"needs sample ids: `fit\(x, ids\)`"):
        linear_model(PerSample()).fit(views(), verbose=0)


@pytest.mark.every_backend
def test_an_unmeasured_epoch_is_refused_by_a_schedule():
    def endless():
        while True:
            yield views(16), np.arange(16)

    schedule = lt.schedules.CosineTemperature(period=4)
    model = linear_model(lt.losses.NTXentLoss(schedule))
    with pytest.raises(ValueError, match="Pass `steps_per_epoch` to `fit`"):
        model.fit(endless(), shuffle=False, verbose=0)
    history = model.fit(
        endless(), steps_per_epoch=2, epochs=2, shuffle=False, verbose=0
    ).history
    assert len(history["temperature"]) == 2
    other = linear_model(
        lt.losses.NTXentLoss(schedule.from_config(schedule.get_config()))
    )
    with pytest.raises(ValueError, match="how many steps an epoch has"):
        other.train_on_batch(views(16), np.arange(16))
