"""Geometric Harmonization on long-tailed digits, over SimCLR's loss.

    python examples/geometric_harmonization.py

The data are 1,797 small digits inside scikit-learn, made long-tailed.
"""

import keras

import keras_ltssl as lt

x, y = lt.datasets.load_digits()
split = lt.datasets.make_long_tail_split(
    x, y, imbalance=20, num_probe=30, num_test=40
)

keras.utils.set_random_seed(0)
encoder = lt.models.small_convnet(split.x_train.shape[1:], width=16)
views = lt.layers.simclr_views(image_size=8, horizontal_flip=0.0)
model = lt.models.ContrastiveModel(encoder, augmenter=views)
loss = lt.losses.GeometricHarmonizationLoss(
    lt.losses.NTXentLoss(temperature=0.1),
    num_targets=20,
    num_samples=len(split.x_train),
    warmup_epochs=15,  # of 30; published: 500 of 1,000
    ramp_epochs=2,
)
model.compile("adam", loss=loss)
prior = lt.callbacks.PriorEstimation(interval=5)
data = lt.datasets.ImageBatches(split.x_train, batch_size=128)  # with ids
history = model.fit(data, epochs=30, callbacks=[prior], verbose=0).history
print("Weight of the term:", history["harmonization_weight"][::5])

report = lt.evaluation.long_tail_report(
    encoder, split, name="geometric_harmonization"
)
print(report.to_text())
