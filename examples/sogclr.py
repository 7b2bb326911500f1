"""iSogCLR on long-tailed digits: small batches, learned temperatures.

    python examples/sogclr.py

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
loss = lt.losses.ISogCLRLoss(num_samples=len(split.x_train), temperature=0.1)
model.compile("adam", loss=loss)
data = lt.datasets.ImageBatches(split.x_train, batch_size=32)  # with ids
model.fit(data, epochs=30, verbose=0)

# Frequent kinds of samples should have large temperatures.
found = lt.evaluation.tail_agreement(loss.temperatures(), split.y_train)
print(f"Temperature and class size: {found.rank_correlation:+.2f}")
report = lt.evaluation.long_tail_report(encoder, split, name="isogclr")
print(report.to_text())
