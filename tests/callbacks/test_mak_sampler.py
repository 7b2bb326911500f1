"""MAK's choice while a model trains: by what, undisturbed, and resumed."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference
from keras_ltssl.callbacks import mak_sampler

NUM_ID, NUM_POOL, BUDGET, BATCH = 60, 40, 20, 20


def make_data(num_pool=NUM_POOL):
    random = np.random.default_rng(0)
    centers = random.normal(size=(3, 8))
    group = np.repeat([0, 1, 2], [40, 15, 5])
    samples = centers[group] + 0.1 * random.normal(size=(NUM_ID, 8))
    pool = random.normal(size=(num_pool, 8))
    return lt.datasets.MixedBatches(
        samples.astype("float32"),
        pool.astype("float32"),
        budget=BUDGET,
        batch_size=BATCH,
    )


def make_model(loss=None, noise=0.3, framework=lt.models.ContrastiveModel):
    keras.utils.set_random_seed(1)
    model = framework(
        keras.Sequential(
            [
                keras.Input((8,)),
                keras.layers.Dense(6),
                keras.layers.BatchNormalization(),
                keras.layers.Dropout(0.5, seed=2),
            ]
        ),
        projector=lt.layers.ProjectionHead(4),
        augmenter=lt.layers.TwoViews(keras.layers.GaussianNoise(noise, seed=1)),
    )
    model.compile(
        keras.optimizers.SGD(0.05), loss=loss or lt.losses.NTXentLoss(0.3)
    )
    return model


def make_sampler(data, **changes):
    arguments = {"start": 1, "num_clusters": 3, "passes": 2, "batch_size": 20}
    return lt.callbacks.MAKSampler(data, **{**arguments, **changes})


def fit(model, data, callbacks, epochs, initial_epoch=0):
    return model.fit(
        data,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    ).history


def random_states(model):
    weights = {id(weight) for weight in model.weights}
    return [
        np.array(ops.convert_to_numpy(variable))
        for variable in [*model.augmenter.variables, *model.encoder.variables]
        if id(variable) not in weights
    ]


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "framework",
    [
        lt.models.ContrastiveModel,
        lt.models.MomentumContrast,
        lt.models.SelfDamagingContrast,
    ],
)
def test_losses_are_nt_xent_at_inference_and_the_choice_goes_by_them(framework):
    # Without noise both views are the sample itself, and the pool is one
    # batch: nothing is left to chance.
    model = make_model(noise=0.0, framework=framework)
    data = make_data(num_pool=BATCH)
    model.build((None, 8))
    schedule = lt.schedules.LinearTemperature(0.4, 0.5, period=4)
    sampler = make_sampler(data, start=0, budget=10)
    callbacks = keras.callbacks.CallbackList(
        [lt.callbacks.TemperatureScheduler(schedule), sampler],
        model=model,
        epochs=1,
    )
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(0)
    embed = model.encoder.predict_on_batch
    features = np.asarray(embed(data.pool_rows[:]))
    z = ops.convert_to_numpy(model.projector(features))
    losses = reference.nt_xent(np.stack([z, z], axis=1), schedule(0))
    expected = lt.samplers.choose_mak(
        np.concatenate([embed(data.id_rows[i : i + 20]) for i in (0, 20, 40)]),
        features,
        losses,
        budget=10,
        num_clusters=3,
    )
    choice = sampler.choice
    np.testing.assert_array_equal(choice.indices, expected.indices)
    np.testing.assert_allclose(choice.losses, expected.losses, rtol=1e-4)
    np.testing.assert_array_equal(data.chosen, choice.indices)


def test_every_pass_has_views_and_batches_of_its_own():
    model, sampler = make_model(), make_sampler(make_data())
    model.build((None, 8))
    sampler.set_model(model)
    sampler.check_model()
    rows = np.arange(NUM_POOL)

    def losses(passes, epoch=0):
        sampler.passes = passes
        return sampler._losses(rows, epoch)

    one, two, many = losses(1), losses(2), losses(40)
    np.testing.assert_array_equal(two, losses(2))
    assert np.abs(one - losses(1, epoch=1)).max() > 0.05
    second = 2 * two - one
    assert np.abs(second - one).max() > 0.05
    # A mean of more passes is nearer to the mean of many.
    assert np.std(two - many) < max(np.std(one - many), np.std(second - many))


def test_all_batches_have_one_size_though_the_last_overlaps():
    random = np.random.default_rng(0)
    z = random.normal(size=(53, 2, 4)).astype("float32")
    order = random.permutation(53)
    found = mak_sampler._losses_of_batches(z, order, 20, 0.3)
    for batch, own in ((order[:20], 20), (order[20:40], 13), (order[33:], 20)):
        expected = reference.nt_xent(z[batch], 0.3)
        np.testing.assert_allclose(
            found[batch[:own]], expected[:own], rtol=1e-4
        )


def test_training_goes_on_as_if_nothing_had_been_chosen():
    def run(callbacks):
        model = make_model(framework=lt.models.MomentumContrast)
        history = fit(model, make_data(), callbacks, epochs=2)
        weights = [ops.convert_to_numpy(weight) for weight in model.weights]
        return weights + random_states(model), history["loss"]

    # What it chooses is for other data, and does not come into training. `fit`
    # refuses that, so its epochs are begun by another callback.
    sampler = make_sampler(make_data())

    class Choose(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            sampler.set_model(self.model)
            sampler.check_model()
            sampler.on_epoch_begin(epoch)

    plain, losses = run([])
    sampled, same = run([Choose()])
    assert sampler.sampled_epochs == [1]
    assert losses == same
    assert len(plain) > 10
    for one, other in zip(plain, sampled, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_cut_short_goes_on_with_the_same_choice(tmp_path):
    def make(folder):
        model, data = make_model(), make_data()
        model.build((None, 8))
        model.optimizer.build(model.trainable_variables)
        sampler = make_sampler(data, start=0, interval=3)
        checkpoint = lt.callbacks.ResumableCheckpoint(
            folder, callbacks=[sampler]
        )
        return model, data, sampler, checkpoint

    model, data, sampler, checkpoint = make(tmp_path)
    noted = keras.callbacks.History()
    callbacks = keras.callbacks.CallbackList(
        [sampler, checkpoint, noted], model=model, epochs=2
    )
    callbacks.on_train_begin()
    for epoch in range(2):
        callbacks.on_epoch_begin(epoch)
        callbacks.on_epoch_end(epoch, {})
    history = noted.history
    assert history["ood_chosen"] == [BUDGET] * 2
    assert history["ood_pool_share"] == [BUDGET / NUM_POOL] * 2
    assert history["ood_seconds"][0] > history["ood_seconds"][1] == 0
    budgets = sampler.choice.budgets
    assert history["ood_budget_min"][1] == budgets.min()
    assert history["ood_budget_max"][1] == budgets.max() >= BUDGET / 3

    restored, other_data, resumed, checkpoint = make(tmp_path)
    assert checkpoint.restore(restored) == 2
    resumed.set_model(restored)
    resumed.check_model()
    first = sampler.choice
    for epoch, sampled in ((2, []), (3, [3])):
        for callback in (sampler, resumed):
            callback.on_epoch_begin(epoch)
        for name, array in sampler.choice.to_arrays().items():
            np.testing.assert_array_equal(
                resumed.choice.to_arrays()[name], array
            )
        np.testing.assert_array_equal(data.chosen, other_data.chosen)
        assert resumed.sampled_epochs == sampled
    assert sampler.sampled_epochs == [0, 3]
    assert not np.array_equal(sampler.choice.losses, first.losses)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("start", -1),
        ("interval", 0),
        ("interval", 1.5),
        ("budget", 0),
        ("budget", BUDGET + 1),
        ("num_clusters", NUM_ID + 1),
        ("candidate_factor", 0.5),
        ("candidate_factor", "half"),
        ("passes", 0),
        ("passes", 1.5),
        ("pool_subset", BUDGET - 1),
        ("pool_subset", NUM_POOL + 1),
        ("batch_size", 0),
        ("seed", -1),
        ("data", None),
    ],
)
def test_impossible_arguments_are_refused_by_name(argument, value):
    arguments = {"data": make_data(), argument: value}
    with pytest.raises(ValueError, match=f"`{argument}` must"):
        lt.callbacks.MAKSampler(**arguments)


def test_what_a_model_lacks_is_said_before_training():
    data, parts = make_data(), make_model()
    sampler = make_sampler(data)
    plain = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    plain.compile("sgd", "mse")
    for name in ("encoder", "projector", "augmenter"):
        with pytest.raises(ValueError, match=rf"`model\.{name}`.*Sequential"):
            fit(plain, data, [sampler], epochs=2)
        setattr(plain, name, getattr(parts, name))
    with pytest.raises(ValueError, match=r"one of keras_ltssl\.losses"):
        fit(plain, data, [sampler], epochs=2)
    model = make_model(lt.losses.BYOLLoss(), framework=lt.models.BYOL)
    sampler.set_model(model)
    with pytest.raises(ValueError, match="and BYOLLoss has none"):
        sampler.on_train_begin()
