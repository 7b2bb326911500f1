"""MAK on long-tailed digits: hard, near and diverse images of a pool.

    python examples/mak.py

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
model.compile("adam", loss=lt.losses.NTXentLoss(temperature=0.1))
sampler = lt.callbacks.MAKSampler(data, start=10, passes=3)
model.fit(data, epochs=30, callbacks=[sampler], verbose=0)
print(f"Mean distance of the chosen: {sampler.choice.distances.mean():.3f}")

report = lt.evaluation.long_tail_report(encoder, split, name="mak")
print(report.to_text())
