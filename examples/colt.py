"""COLT on long-tailed digits: the tail chooses images from a pool.

    python examples/colt.py

The data are 1,797 small digits inside scikit-learn, made long-tailed.
"""

import keras
import numpy as np

import keras_ltssl as lt

x, y = lt.datasets.load_digits()
split = lt.datasets.make_long_tail_split(
    x, y, imbalance=20, num_probe=30, num_test=40
)

keras.utils.set_random_seed(0)
encoder = lt.models.small_convnet(split.x_train.shape[1:], width=16)
views = lt.layers.simclr_views(image_size=8, horizontal_flip=0.0)
pool = np.concatenate([x[:, ::-1], x[:, :, ::-1]])  # mirrored digits
data = lt.datasets.MixedBatches(split.x_train, pool, budget=100, batch_size=128)
model = lt.models.ContrastiveModel(encoder, augmenter=views)
loss = lt.losses.COLTLoss(temperature=0.1, num_samples=len(split.x_train))
model.compile("adam", loss=loss)
sampler = lt.callbacks.OODSampler(data, start=10, interval=10)
model.fit(data, epochs=30, callbacks=[sampler], verbose=0)
print("Images chosen by each cluster:", sampler.choice.budgets)

report = lt.evaluation.long_tail_report(encoder, split, name="colt")
print(report.to_text())
