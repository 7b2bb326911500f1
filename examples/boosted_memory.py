"""BCL on long-tailed digits: stronger views where the loss stays high.

    python examples/boosted_memory.py

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
model = lt.models.ContrastiveModel(
    encoder, augmenter=lt.layers.BoostedViews(views)
)
loss = lt.losses.BoostedLoss(
    lt.losses.NTXentLoss(temperature=0.1), num_samples=len(split.x_train)
)
model.compile("adam", loss=loss)
data = lt.datasets.ImageBatches(split.x_train, batch_size=128)  # with ids
history = model.fit(data, epochs=30, verbose=0).history
print(f"Spread of weights: {history['boosted_weight_std'][-1]:.3f}")

report = lt.evaluation.long_tail_report(encoder, split, name="boosted_memory")
print(report.to_text())
