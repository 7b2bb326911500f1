"""Focal NT-Xent, DySTreSS, MACL and ConMix on long-tailed digits.

    python examples/further_losses.py

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
for loss in (
    lt.losses.FocalNTXentLoss(0.1),
    lt.losses.DySTreSSLoss(minimum=0.1, maximum=0.2),
    lt.losses.MACLLoss(0.1),
    lt.losses.ConMixLoss(lt.losses.NTXentLoss(0.1), num_tags=25),
):
    model = lt.models.ContrastiveModel(
        keras.models.clone_model(encoder), augmenter=views
    )
    model.compile("adam", loss=loss)
    model.fit(split.x_train, batch_size=128, epochs=30, verbose=0)
    report = lt.evaluation.long_tail_report(
        model.encoder, split, name=loss.name
    )
    print(report.to_text())
