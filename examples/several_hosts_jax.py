"""TASE on several hosts with JAX. Start it on every host, here on two:

    KERAS_BACKEND=jax python examples/several_hosts_jax.py \
        /shared/run --address=10.0.0.1:2345 --hosts=2 --host=0

Only `--host` differs: 0 on the host with that address, 1 on the next one. A
process uses all GPUs of its host. After a failure, start it again on every
host: it goes on from the last checkpoint.
"""

import argparse

import jax

parser = argparse.ArgumentParser()
parser.add_argument("folder", help="for checkpoints; every host must see it")
parser.add_argument("--address", help="of host 0, with a free port")
parser.add_argument("--hosts", type=int, help="number of hosts")
parser.add_argument("--host", type=int, help="number of this host, from 0")
flags = parser.parse_args()
# A host that sends nothing for this long ends the run.
jax.distributed.initialize(
    flags.address,
    flags.hosts,
    flags.host,
    heartbeat_timeout_seconds=60,
    shutdown_timeout_seconds=60,
)

import keras  # noqa: E402

import keras_ltssl as lt  # noqa: E402

keras.utils.set_random_seed(0)
keras.distribution.set_distribution(
    keras.distribution.DataParallel(auto_shard_dataset=False)
)
x, y = lt.datasets.load_digits()
split = lt.datasets.make_long_tail_split(x, y, 20, num_probe=30, num_test=40)
# The batches of all hosts together have 128 images. JAX needs whole ones.
images = split.x_train[: len(split.x_train) // 128 * 128]
part = (flags.host, flags.hosts)
data = lt.datasets.ImageBatches(images, batch_size=128, part=part)
encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
encoder.add(keras.layers.Dense(128, activation="relu"))
encoder.add(keras.layers.Dense(32))
views = lt.layers.simclr_views(image_size=8, horizontal_flip=0.0)
model = lt.models.ContrastiveModel(encoder, augmenter=views)
model.compile("adam", loss=lt.losses.TASELoss(temperature=0.1))
checkpoint = lt.callbacks.ResumableCheckpoint(flags.folder)
verbose = 2 if flags.host == 0 else 0
model.fit(data, epochs=30, callbacks=[checkpoint], verbose=verbose)
if flags.host == 0:
    model.encoder.save(f"{flags.folder}/encoder.keras")
