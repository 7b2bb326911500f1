"""COLT's choice while a model trains: what, when, logged, and resumed."""

import shutil

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt

NUM_ID, NUM_POOL, BUDGET = 60, 50, 20


def make_data(seed=0):
    random = np.random.default_rng(seed)
    centers = random.normal(size=(3, 8))
    group = np.repeat([0, 1, 2], [40, 15, 5])
    samples = centers[group] + 0.1 * random.normal(size=(NUM_ID, 8))
    pool = random.normal(size=(NUM_POOL, 8))
    return lt.datasets.MixedBatches(
        samples.astype("float32"),
        pool.astype("float32"),
        budget=BUDGET,
        batch_size=20,
    )


def make_model(
    loss=None, learning_rate=0.05, framework=lt.models.ContrastiveModel
):
    keras.utils.set_random_seed(1)
    model = framework(
        keras.Sequential([keras.Input((8,)), keras.layers.Dense(6)]),
        projector=lt.layers.ProjectionHead(4),
        augmenter=lt.layers.TwoViews(keras.layers.GaussianNoise(0.3, seed=1)),
    )
    model.compile(
        keras.optimizers.SGD(learning_rate),
        loss=loss or lt.losses.COLTLoss(num_samples=NUM_ID),
    )
    model.build((None, 8))
    return model


def fit(model, data, callbacks, epochs, initial_epoch=0):
    return model.fit(
        data,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    ).history


class TailnessAtEpochBegin(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.values = []

    def on_epoch_begin(self, epoch, logs=None):
        state = self.model.loss.get_state()
        self.values.append(state.parts["tailness"].read()[0])


@pytest.fixture(scope="module")
def run():
    """Four epochs of momentum contrast with two choices, and what came of it.

    An encoder that stands still can be asked again afterwards.
    """
    model = make_model(learning_rate=0.0, framework=lt.models.MomentumContrast)
    data, noted = make_data(), TailnessAtEpochBegin()
    sampler = lt.callbacks.OODSampler(
        data, start=1, interval=2, budget=10, num_clusters=3, temperature=0.5
    )
    history = fit(model, data, [noted, sampler], epochs=4)
    return model, data, sampler, noted.values, history


@pytest.mark.every_backend
def test_it_chooses_by_tailness_what_the_sampler_would(run):
    model, data, sampler, tailness, _ = run
    assert sampler.sampled_epochs == [1, 3]
    embed = model.encoder.predict_on_batch
    expected = lt.samplers.choose_colt(
        np.asarray(embed(data.id_rows[:])),
        np.asarray(embed(data.pool_rows[:])),
        tailness[3],
        budget=10,
        num_clusters=3,
        temperature=0.5,
    )
    np.testing.assert_array_equal(sampler.choice.indices, expected.indices)
    np.testing.assert_array_equal(sampler.choice.budgets, expected.budgets)
    np.testing.assert_array_equal(data.chosen, expected.indices)
    np.testing.assert_array_equal(sampler.scores, tailness[3])


@pytest.mark.every_backend
def test_training_sees_the_choice_in_the_epoch_it_is_made_and_logs_it(run):
    _, _, sampler, _, history = run
    assert history["ood_chosen"] == [0, 10, 10, 10]
    assert history["ood_pool_share"] == [0.0, 0.2, 0.2, 0.2]
    # As counted inside the training step, a mean over batches.
    seen = history["ood_share"]
    assert seen[0] == 0.0
    np.testing.assert_allclose(seen[1:], 10 / 70, atol=0.01)
    seconds = history["ood_seconds"]
    assert seconds[0] == seconds[2] == 0.0
    assert min(seconds[1], seconds[3]) > 0.0
    latest = sampler.choice.budgets
    assert history["ood_budget_min"][3] == latest.min()
    assert history["ood_budget_max"][3] == latest.max() >= 4


def by_group(features):
    """A score by which the 5 samples of the last group are the tail."""
    return 1.0 * (np.arange(NUM_ID) < NUM_ID - 5)


def test_a_score_of_ones_own_replaces_tailness():
    sampler = lt.callbacks.OODSampler(
        make_data(), start=0, num_clusters=3, score=by_group, temperature=0.1
    )
    sampler.set_model(make_model(lt.losses.NTXentLoss()))
    sampler.set_params({"epochs": 1})
    sampler.on_train_begin()
    sampler.on_epoch_begin(0)
    choice = sampler.choice
    tail = choice.tail_first[0]
    assert set(choice.id_rows(tail)) == set(range(NUM_ID - 5, NUM_ID))
    assert choice.budgets[tail] >= BUDGET - 1


def choices_without_training(**arguments):
    """Returns the sampler after its choices at epochs 0 and 1."""
    sampler = lt.callbacks.OODSampler(
        make_data(), start=0, interval=1, num_clusters=3, **arguments
    )
    sampler.set_model(make_model(lt.losses.NTXentLoss()))
    sampler.set_params({"epochs": 2})
    sampler.on_train_begin()
    for epoch in range(2):
        sampler.on_epoch_begin(epoch)
    return sampler


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "score", ["density", "kernel_density", "adaptive_mass", "rank_mean"]
)
def test_a_named_score_is_an_estimate_on_the_encoders_features(score):
    sampler = choices_without_training(score=score)
    embed = sampler.model.encoder.predict_on_batch
    features = np.asarray(embed(sampler.data.id_rows[:]))
    np.testing.assert_allclose(
        sampler.scores,
        lt.evaluation.headness_estimate(features, score),
        rtol=1e-6,
    )


@pytest.mark.every_backend
def test_a_learned_temperature_is_a_score():
    learned = lt.losses.ISogCLRLoss(NUM_ID, temperature=0.3)
    model = make_model(lt.losses.COLTLoss(base_loss=learned))
    data, before = make_data(), []

    class TemperaturesAtEpochBegin(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            assert self.model.built
            before.append(learned.temperatures())

    sampler = lt.callbacks.OODSampler(
        data,
        start=2,
        num_clusters=3,
        score=lambda features: learned.temperatures(),
    )
    history = fit(model, data, [TemperaturesAtEpochBegin(), sampler], 3)
    assert history["ood_chosen"] == [0, 0, BUDGET]
    np.testing.assert_array_equal(sampler.scores, before[2])
    assert sampler.scores.std() > 0


def test_random_scores_are_drawn_anew_for_each_choice_and_repeatable():
    once, again = (choices_without_training(score="random") for _ in range(2))
    np.testing.assert_array_equal(once.scores, again.scores)
    second = once.scores
    once.on_epoch_begin(2)
    assert not np.array_equal(once.scores, second)
    other = choices_without_training(score="random", seed=1)
    assert not np.array_equal(other.scores, second)


def test_a_band_ranks_samples_for_the_budgets_and_keeps_the_raw_scores():
    sampler = choices_without_training(score="density", band=(0.5, 0.9))
    ranks = lt.samplers.rank_in_band(sampler.scores, (0.5, 0.9))
    expected = [
        ranks[sampler.choice.labels == cluster].mean() for cluster in range(3)
    ]
    np.testing.assert_allclose(sampler.choice.cluster_scores, expected)
    assert not np.array_equal(sampler.scores, ranks)


@pytest.mark.parametrize(
    ("score", "samples"), [("density", 50), ("rank_mean", 10)]
)
def test_too_few_samples_for_a_score_are_refused_by_name(score, samples):
    rows = np.zeros((samples, 8), "float32")
    data = lt.datasets.MixedBatches(rows, rows, budget=5, batch_size=5)
    with pytest.raises(ValueError, match=f"`score` must.*more than {samples}"):
        lt.callbacks.OODSampler(data, num_clusters=2, score=score)


def test_a_subset_of_the_pool_is_drawn_anew_each_time():
    data = make_data()
    sampler = lt.callbacks.OODSampler(
        data,
        start=1,
        interval=1,
        budget=10,
        num_clusters=2,
        score=by_group,
        pool_subset=10,
    )
    sampler.set_model(make_model(lt.losses.NTXentLoss()))
    chosen = []
    for epoch in range(3):
        sampler.on_epoch_begin(epoch)
        chosen.append(sorted(data.chosen))
    assert [len(rows) for rows in chosen] == [0, 10, 10]
    assert chosen[1] != chosen[2]


def test_a_single_choice_is_also_made_by_a_run_that_begins_later():
    sampler = lt.callbacks.OODSampler(
        make_data(), start=2, interval=None, num_clusters=3, score=by_group
    )
    sampler.set_model(make_model(lt.losses.NTXentLoss()))
    for epoch in (0, 1, 4, 5):
        sampler.on_epoch_begin(epoch)
    assert sampler.sampled_epochs == [4]
    resumed = lt.callbacks.OODSampler(
        make_data(), start=2, interval=None, num_clusters=3, score=by_group
    )
    resumed.set_state(sampler.get_state())
    resumed.on_epoch_begin(6)
    assert resumed.sampled_epochs == []
    np.testing.assert_array_equal(resumed.data.chosen, sampler.data.chosen)


def everything():
    loss = lt.losses.GeometricHarmonizationLoss(
        lt.losses.COLTLoss(num_samples=NUM_ID),
        num_targets=5,
        num_samples=NUM_ID,
        warmup_epochs=1,
        ramp_epochs=2,
        sinkhorn={"iterations": 20},
    )
    model, data = make_model(loss), make_data()
    sampler = lt.callbacks.OODSampler(data, start=1, interval=3, num_clusters=3)
    callbacks = [sampler, lt.callbacks.PriorEstimation(interval=2)]
    return model, data, sampler, callbacks


def test_a_run_cut_short_goes_on_with_choice_tailness_and_prior(tmp_path):
    class CutAfterThree(keras.callbacks.Callback):
        """Leaves the checkpoint of the third epoch as a cut run would."""

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                shutil.copytree(tmp_path / "whole", tmp_path / "cut")
                self.chosen = data.chosen

    def prepared(folder):
        model, data, sampler, callbacks = everything()
        checkpoint = lt.callbacks.ResumableCheckpoint(
            folder, callbacks=[sampler]
        )
        return model, data, sampler, [*callbacks, checkpoint]

    model, data, sampler, callbacks = prepared(tmp_path / "whole")
    cut = CutAfterThree()
    history = fit(model, data, [*callbacks, cut], epochs=6)
    other, other_data, resumed, callbacks = prepared(tmp_path / "cut")
    other_data.epoch = start = callbacks[-1].restore(other)
    assert start == 3
    np.testing.assert_array_equal(other_data.chosen, cut.chosen)
    rest = fit(other, other_data, callbacks, 6, start)
    assert resumed.sampled_epochs == [4]  # Not again at epoch 3.
    np.testing.assert_array_equal(
        resumed.choice.indices, sampler.choice.indices
    )
    np.testing.assert_array_equal(resumed.scores, sampler.scores)
    for one, another in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(one), ops.convert_to_numpy(another)
        )
    for name in ("loss", "ood_share", "ood_budget_max", "prior_entropy"):
        np.testing.assert_array_equal(history[name][3:], rest[name])


def test_a_checkpoint_without_the_sampler_is_refused(tmp_path):
    model, data = make_model(lt.losses.NTXentLoss()), make_data()
    sampler = lt.callbacks.OODSampler(data, start=0, score=by_group)
    plain = lt.callbacks.ResumableCheckpoint(tmp_path)
    fit(model, data, [plain], epochs=1)
    with pytest.raises(ValueError, match="no state of OODSampler"):
        lt.callbacks.ResumableCheckpoint(tmp_path, callbacks=[sampler]).restore(
            model
        )
    with pytest.raises(ValueError, match="`callbacks` must have"):
        lt.callbacks.ResumableCheckpoint(
            tmp_path, callbacks=[keras.callbacks.History()]
        )


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("start", 0),
        ("interval", 0),
        ("interval", 1.5),
        ("budget", 0),
        ("budget", BUDGET + 1),
        ("num_clusters", NUM_ID + 1),
        ("pool_subset", BUDGET - 1),
        ("pool_subset", NUM_POOL + 1),
        ("batch_size", 0),
        ("seed", -1),
        ("temperature", 0.0),
        ("temperature", "hot"),
        ("start", None),
        ("score", "rarity"),
        ("band", (0.9, 0.9)),
        ("band", (0.5, 1.1)),
        ("data", None),
    ],
)
def test_impossible_arguments_are_refused_by_name(argument, value):
    arguments = {"data": make_data(), argument: value}
    with pytest.raises(ValueError, match=f"`{argument}` must"):
        lt.callbacks.OODSampler(**arguments)


def test_what_cannot_be_chosen_by_is_said_before_training():
    data = make_data()
    sampler = lt.callbacks.OODSampler(data, start=1, num_clusters=3)
    for loss in (lt.losses.NTXentLoss(), lt.losses.COLTLoss()):
        with pytest.raises(ValueError, match="needs a model compiled with"):
            fit(make_model(loss), data, [sampler], epochs=2)
    model = make_model(lt.losses.COLTLoss(num_samples=NUM_ID + 1))
    with pytest.raises(ValueError, match="must be the number of samples"):
        fit(model, data, [sampler], epochs=2)
    plain = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    plain.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"embeds with `model\.encoder`"):
        fit(plain, data, [sampler], epochs=2)


def test_a_choice_that_never_comes_is_warned_of():
    sampler = lt.callbacks.OODSampler(make_data(), start=5, num_clusters=3)
    sampler.set_model(make_model())
    sampler.set_params({"epochs": 5})
    with pytest.warns(UserWarning, match="never chooses"):
        sampler.on_train_begin()


def trainable_values(model):
    return [np.array(ops.convert_to_numpy(w)) for w in model.trainable_weights]


def other_mixed_batches():
    return make_data(seed=1)


def other_image_batches():
    return lt.datasets.ImageBatches(make_data().id_rows[:], batch_size=20)


def array():
    return make_data().id_rows[:]


def tensor():
    return ops.convert_to_tensor(make_data().id_rows[:])


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "other", [other_mixed_batches, other_image_batches, array, tensor]
)
@pytest.mark.parametrize("sampler_type", ["OODSampler", "MAKSampler"])
def test_a_choice_for_another_dataset_is_refused(other, sampler_type):
    data, model = make_data(), make_model(lt.losses.NTXentLoss())
    options = {"score": by_group} if sampler_type == "OODSampler" else {}
    sampler = getattr(lt.callbacks, sampler_type)(
        data, start=1, num_clusters=3, **options
    )
    before = trainable_values(model)
    message = f"{sampler_type} chooses for another dataset than `fit` trains"
    with pytest.raises(ValueError, match=message):
        fit(model, other(), [sampler], epochs=2)
    for old, new in zip(before, trainable_values(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_refused_run_can_be_started_again_with_the_right_data():
    data, model = make_data(), make_model()
    sampler = lt.callbacks.OODSampler(data, start=1, num_clusters=3)
    with pytest.raises(ValueError, match="another dataset than `fit` trains"):
        fit(model, other_mixed_batches(), [sampler], epochs=2)
    history = fit(model, data, [sampler], epochs=2)
    assert history["ood_chosen"] == [0, BUDGET]


class Reversed(keras.utils.PyDataset):
    """A pipeline of a user's own, which reads another dataset."""

    def __init__(self, data):
        super().__init__()
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        x, ids = self.data[index]
        return x[::-1], ids[::-1]

    def on_epoch_begin(self):
        self.data.on_epoch_begin()

    def on_epoch_end(self):
        self.data.on_epoch_end()


@pytest.mark.every_backend
def test_a_pipeline_that_reads_the_data_is_trained_on_with_the_choice():
    data = make_data()
    sampler = lt.callbacks.OODSampler(data, start=1, num_clusters=3)
    history = fit(make_model(), Reversed(data), [sampler], epochs=2)
    assert history["ood_chosen"] == [0, BUDGET]
    assert history["ood_share"][0] == 0
    np.testing.assert_allclose(history["ood_share"][1], 0.25, atol=0.01)


def test_a_pipeline_that_does_not_read_the_data_is_warned_of():
    sampler = lt.callbacks.OODSampler(make_data(), start=1, num_clusters=3)
    other = Reversed(make_data(seed=1))
    with pytest.warns(UserWarning, match="No batch of the `data` of OODSam"):
        fit(make_model(), other, [sampler], epochs=2)


def test_a_model_that_does_not_say_what_it_trains_on_is_warned_of():
    encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(6)])
    inputs = keras.Input((8,))
    loss = lt.losses.NTXentLoss()
    views = keras.layers.Reshape((2, 3))(encoder(inputs))
    model = keras.Model(inputs, lt.layers.LossState(loss)(views))
    model.encoder = encoder
    model.compile("sgd", loss=loss)
    sampler = lt.callbacks.OODSampler(
        make_data(), start=0, num_clusters=3, score=by_group
    )
    with pytest.warns(UserWarning, match="No batch of the `data` of OODSam"):
        fit(model, make_data(seed=1), [sampler], epochs=1)


def test_ready_made_views_cannot_be_embedded():
    views = np.zeros((NUM_ID, 2, 8), "float32")
    data = lt.datasets.MixedBatches(views, views, budget=5, batch_size=20)
    sampler = lt.callbacks.OODSampler(data, start=1, num_clusters=3)
    with pytest.raises(ValueError, match="must make the views"):
        fit(make_model(), data, [sampler], epochs=2)


class KilledError(Exception):
    """Ends a training as a kill does."""


def count_batches(encoder, monkeypatch, killed_after=None):
    """Returns a list that grows with the batches that are embedded."""
    seen = []
    predict = encoder.predict_on_batch

    def watched(batch):
        if len(seen) == killed_after:
            raise KilledError
        seen.append(len(batch))
        return predict(batch)

    monkeypatch.setattr(encoder, "predict_on_batch", watched)
    return seen


@pytest.mark.every_backend
def test_an_embedding_that_was_killed_goes_on(tmp_path, monkeypatch):
    def train(folder, features, killed_after=None):
        data, model = make_data(), make_model()
        sampler = lt.callbacks.OODSampler(
            data,
            start=1,
            num_clusters=3,
            batch_size=2,
            features_folder=features,
        )
        checkpoint = lt.callbacks.ResumableCheckpoint(
            folder, callbacks=[sampler]
        )
        seen = count_batches(model.encoder, monkeypatch, killed_after)
        model.fit(data, epochs=3, verbose=0, callbacks=[sampler, checkpoint])
        return model, sampler.choice, len(seen)

    whole, choice, batches = train(tmp_path / "whole", None)
    assert batches == (NUM_ID + NUM_POOL) / 2
    # All 30 batches of the training set, and 20 of 25 of the pool.
    with pytest.raises(KilledError):
        train(tmp_path / "run", tmp_path / "features", killed_after=50)
    resumed, again, batches = train(tmp_path / "run", tmp_path / "features")
    # 16 of the pool were in the file.
    assert batches == 25 - 16
    np.testing.assert_array_equal(again.indices, choice.indices)
    for one, other in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(one), ops.convert_to_numpy(other)
        )


def test_a_choice_replaces_the_features_of_the_one_before(tmp_path):
    choices = []
    for folder in (None, tmp_path / "features"):
        data = make_data()
        sampler = lt.callbacks.OODSampler(
            data,
            start=1,
            interval=1,
            num_clusters=3,
            pool_subset=30,
            features_folder=folder,
        )
        fit(make_model(), data, [sampler], epochs=4)
        choices.append(sampler.choice.indices)
    np.testing.assert_array_equal(*choices)
    assert sorted(file.name for file in folder.iterdir()) == [
        *("pool_features_0.npy", "pool_features_0.npy.json"),
        *("training_features_0.npy", "training_features_0.npy.json"),
    ]
    assert np.load(folder / "pool_features_0.npy").shape == (30, 6)
