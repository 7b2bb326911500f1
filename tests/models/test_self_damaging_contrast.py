"""SDCLR: both branches learn, the masks of an epoch, two sets of statistics."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference
from keras_ltssl.models.pruned_twin import kernels_of

NUM = 24


def images():
    return np.random.default_rng(0).normal(size=(NUM, 6)).astype("float32")


def views():
    noise = np.random.default_rng(1).normal(size=(NUM, 2, 6))
    return images()[:, None] + 0.2 * noise.astype("float32")


def make(learning_rate=0.5, pruned_share=0.8, **arguments):
    keras.utils.set_random_seed(2)
    encoder = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(12),
            keras.layers.BatchNormalization(momentum=0.5),
            keras.layers.Activation("tanh"),
            keras.layers.Dense(5),
        ]
    )
    model = lt.models.SelfDamagingContrast(
        encoder,
        lt.layers.ProjectionHead(4, batch_norm=True),
        pruned_share=pruned_share,
        **arguments,
    )
    model.compile(
        keras.optimizers.SGD(learning_rate), loss=lt.losses.NTXentLoss(0.3)
    )
    return model


def numpy(weights):
    return [ops.convert_to_numpy(weight) for weight in weights]


def masked(model, whole=False):
    """The encoder as a network of its own, with what the masks leave of it."""
    encoder = keras.models.clone_model(model.encoder)
    encoder.set_weights(numpy(model.encoder.weights))
    if whole:
        return encoder
    masks = numpy(model.pruned_encoder.masks)
    for kernel, mask in zip(kernels_of(encoder), masks, strict=True):
        kernel.assign(ops.convert_to_numpy(kernel) * mask)
    return encoder


class Noted(keras.callbacks.Callback):
    """Notes masks and kernels before every step."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_begin(self, epoch, logs=None):
        model = self.model
        self.epochs.append((numpy(kernels_of(model.encoder)), []))

    def on_train_batch_end(self, batch, logs=None):
        model = self.model
        self.epochs[-1][1].append(numpy(model.pruned_encoder.masks))


@pytest.mark.every_backend
def test_masks_follow_the_weights_once_an_epoch():
    model, noted = make(), Noted()
    model.fit(views(), batch_size=8, epochs=3, verbose=0, callbacks=[noted])
    seen = []
    for kernels, steps in noted.epochs:
        expected = [kernel != 0 for kernel in reference.pruned(kernels, 0.8)]
        assert len(steps) == 3
        for masks in steps:
            for ours, wanted in zip(masks, expected, strict=True):
                np.testing.assert_array_equal(ours, wanted)
        seen.append(np.concatenate([mask.ravel() for mask in expected]))
    assert (seen[0] != seen[1]).any()
    assert (seen[1] != seen[2]).any()
    assert abs(model.sparsity() - 0.8) < 0.01


@pytest.fixture(scope="module")
def still():
    """A model after a step over all samples that changes no weight."""
    model = make(learning_rate=0.0)
    logged = model.fit(views(), batch_size=NUM, verbose=0).history["loss"][0]
    return model, logged


@pytest.mark.every_backend
def test_the_loss_compares_the_network_with_the_pruned_one(still):
    model, logged = still
    z = [
        ops.convert_to_numpy(
            model.projector(
                encoder(views()[:, view], training=True), training=True
            )
        )
        for view, encoder in enumerate(
            (masked(model, whole=True), masked(model))
        )
    ]
    expected = reference.nt_xent(np.stack(z, axis=1), 0.3).mean()
    np.testing.assert_allclose(logged, expected, rtol=1e-4)


@pytest.mark.every_backend
def test_both_branches_learn_and_pruned_weights_from_the_whole_one_alone():
    """A step of gradient descent, along directions, by finite differences."""
    model, x = make(learning_rate=1.0, pruned_share=0.5), views()
    model.build((None, 2, 6))
    model.update_masks()
    mask = numpy(model.pruned_encoder.masks)[0]
    start = numpy([model.encoder.layers[0].kernel])[0]
    twins = [masked(model, whole=True), masked(model)]
    origin = numpy(twin.layers[0].kernel for twin in twins)
    projector = keras.layers.deserialize(
        keras.layers.serialize(model.projector)
    )
    projector.set_weights(numpy(model.projector.weights))

    def descent(direction, branches, step=5e-4):
        """How fast the loss falls along it, in the kernel of some branches."""
        losses = []
        for sign in (1, -1):
            z = []
            for branch, twin in enumerate(twins):
                size = sign * step * (branch in branches)
                twin.layers[0].kernel.assign(origin[branch] + size * direction)
                features = twin(x[:, branch], training=True)
                z.append(
                    ops.convert_to_numpy(projector(features, training=True))
                )
            z = np.stack(z, axis=1).astype("float64")
            losses.append(reference.nt_xent(z, 0.3).mean())
        return (losses[1] - losses[0]) / (2 * step)

    model.train_on_batch(x)
    moved = numpy([model.encoder.layers[0].kernel])[0] - start
    by_pruned = []
    for direction in np.random.default_rng(0).normal(size=(3, *mask.shape)):
        for entries, branches in ((~mask, (0,)), (mask, (0, 1))):
            np.testing.assert_allclose(
                np.sum(moved * direction * entries),
                descent(direction * entries, branches),
                rtol=0.03,
                atol=0.01,
            )
        by_pruned.append(abs(descent(direction * mask, (1,))))
    assert max(by_pruned) > 2e-2


@pytest.mark.every_backend
def test_the_two_sets_of_statistics_are_really_two(still):
    model, x = still[0], views()
    norm = model.encoder.layers[1]
    dense = numpy([model.encoder.layers[0].kernel])[0]
    left = reference.pruned(numpy(kernels_of(model.encoder)), 0.8)[0]
    own = numpy(model.pruned_encoder.statistics)[0]
    # momentum 0.5 from 0, after one step.
    np.testing.assert_allclose(
        numpy([norm.moving_mean])[0],
        0.5 * (x[:, 0] @ dense).mean(axis=0),
        atol=1e-5,
    )
    np.testing.assert_allclose(
        own, 0.5 * (x[:, 1] @ left).mean(axis=0), atol=1e-5
    )
    assert np.abs(own - numpy([norm.moving_mean])[0]).max() > 0.01
    head = numpy(model.pruned_projector.statistics)[0]
    whole = numpy(w for w in model.projector.weights if not w.trainable)[0]
    assert np.abs(head - whole).max() > 1e-3
    # Scale and shift are shared, and nothing of the twins is trained.
    assert len(model.trainable_variables) == len(
        [
            *model.encoder.trainable_variables,
            *model.projector.trainable_variables,
        ]
    )


def test_datasets_are_pruned_before_the_first_step_too():
    model = make(augmenter=lt.layers.TwoViews(keras.layers.GaussianNoise(0.1)))
    pool = lt.datasets.MixedBatches(images(), images(), 4, batch_size=8)
    noted = Noted()
    model.fit(pool, shuffle=False, verbose=0, callbacks=[noted])
    ((_, steps),) = noted.epochs
    assert abs(1 - np.mean(steps[0][0]) - 0.8) < 0.1


@pytest.mark.parametrize("share", [0, 1, 90])
def test_impossible_shares_are_refused(share):
    with pytest.raises(
        ValueError, match="`pruned_share` must be a finite number > 0 and < 1"
    ):
        make(pruned_share=share)


def test_a_model_that_is_not_built_says_how_to_build_it():
    with pytest.raises(ValueError, match=r"model\.build"):
        make().update_masks()
