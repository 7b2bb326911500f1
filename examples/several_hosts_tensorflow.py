"""TASE on several hosts with TensorFlow. Start it on every host, here on two:

    KERAS_BACKEND=tensorflow TF_CONFIG='{"cluster": {"worker":
        ["10.0.0.1:2345", "10.0.0.2:2345"]}, "task":
        {"type": "worker", "index": 0}}' \
        python examples/several_hosts_tensorflow.py /shared/run

`index` is 0 on the first host and 1 on the second. Keras' `fit` cannot run this
strategy, so the loop is written out. To go on after a failure, start it again.
"""

import sys

import tensorflow as tf

# A host that sends nothing for this long ends the run.
waits = tf.distribute.experimental.CommunicationOptions(timeout_seconds=60)
strategy = tf.distribute.MultiWorkerMirroredStrategy(None, waits)

import keras  # noqa: E402

import keras_ltssl as lt  # noqa: E402

host = strategy.cluster_resolver.task_id
keras.utils.set_random_seed(0)
x, y = lt.datasets.load_digits()
split = lt.datasets.make_long_tail_split(x, y, 20, num_probe=30, num_test=40)
images = split.x_train
part = (host, strategy.num_replicas_in_sync)  # Each host has one device.
# The batches of all hosts together have 128 images.
data = lt.datasets.ImageBatches(images, batch_size=128, part=part)
with strategy.scope():
    encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    encoder.add(keras.layers.Dense(128, activation="relu"))
    encoder.add(keras.layers.Dense(32))
    views = lt.layers.simclr_views(image_size=8, horizontal_flip=0.0)
    model = lt.models.ContrastiveModel(encoder, augmenter=views)
    model.compile("adam", loss=lt.losses.TASELoss(temperature=0.1))
    model.build((None, 8, 8, 1))
    model.optimizer.build(model.trainable_variables)
# Every host must see the folder.
checkpoint = lt.callbacks.ResumableCheckpoint(sys.argv[1])
data.epoch = start = checkpoint.restore(model)
own = [*model.own_callbacks(), checkpoint]
callbacks = keras.callbacks.CallbackList(
    own, model=model, epochs=30, steps=len(data)
)
step = tf.function(lambda batch: strategy.run(model.train_step, (batch,)))
callbacks.on_train_begin()
for epoch in range(start, 30):
    callbacks.on_epoch_begin(epoch)
    model.reset_metrics()
    for batch in data:
        logs = step(batch)
    data.on_epoch_end()
    print(epoch + 1, float(logs["loss"]))
    callbacks.on_epoch_end(epoch, logs)
callbacks.on_train_end()
if host == 0:
    model.encoder.save(checkpoint.folder / "encoder.keras")
