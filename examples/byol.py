"""BYOL on long-tailed digits: no negatives.

    python examples/byol.py

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
model = lt.models.BYOL(encoder, augmenter=views, momentum=0.95)
model.compile("adam", loss=lt.losses.BYOLLoss())
history = model.fit(split.x_train, batch_size=128, epochs=30, verbose=0).history
# Near 0, the encoder would have collapsed to a constant.
print(f"Spread of embeddings: {history['embedding_std'][-1]:.3f}")

report = lt.evaluation.long_tail_report(encoder, split, name="byol")
print(report.to_text())
