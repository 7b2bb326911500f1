"""TASE on long-tailed digits: a temperature and a weight for each sample.

    python examples/tase.py

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
# The warm-up ends after 20 of the run's steps; by default, after 100.
loss = lt.losses.TASELoss(temperature=0.1, num_prototypes=20, warmup_steps=20)
model.compile("adam", loss=loss)
history = model.fit(split.x_train, batch_size=128, epochs=30, verbose=0).history
print(
    f"Temperature: mean {history['temperature'][-1]:.3f}, "
    f"standard deviation {history['temperature_std'][-1]:.3f}"
)

report = lt.evaluation.long_tail_report(encoder, split, name="tase")
print(report.to_text())
