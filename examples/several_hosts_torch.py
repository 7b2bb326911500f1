"""TASE on several hosts with PyTorch. Start it on every host, here on two:

    KERAS_BACKEND=torch torchrun --nnodes=2 --node_rank=0 \
        --master_addr=10.0.0.1 --master_port=2345 \
        examples/several_hosts_torch.py /shared/run

Only `--node_rank` differs: 0 on the host with that address, 1 on the next one.
On hosts with several GPUs, add `--nproc_per_node` and their number. After a
failure, start it again on every host: it goes on from the last checkpoint.
"""

import datetime
import os
import sys

import torch.distributed

if torch.cuda.is_available():
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
# A host that sends nothing for this long ends the run.
torch.distributed.init_process_group(timeout=datetime.timedelta(seconds=60))

import keras  # noqa: E402

import keras_ltssl as lt  # noqa: E402

folder = sys.argv[1]  # Every host must see it.
rank = torch.distributed.get_rank()
processes = torch.distributed.get_world_size()
keras.utils.set_random_seed(0)
x, y = lt.datasets.load_digits()
split = lt.datasets.make_long_tail_split(x, y, 20, num_probe=30, num_test=40)
images = split.x_train
# The batches of all hosts together have 128 images.
data = lt.datasets.ImageBatches(images, batch_size=128, part=(rank, processes))
encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
encoder.add(keras.layers.Dense(128, activation="relu"))
encoder.add(keras.layers.Dense(32))
views = lt.layers.simclr_views(image_size=8, horizontal_flip=0.0)
model = lt.models.ContrastiveModel(encoder, augmenter=views)
model.compile("adam", loss=lt.losses.TASELoss(temperature=0.1))
checkpoint = lt.callbacks.ResumableCheckpoint(folder)
verbose = 2 if rank == 0 else 0
model.fit(data, epochs=30, callbacks=[checkpoint], verbose=verbose)
if rank == 0:
    model.encoder.save(f"{folder}/encoder.keras")
torch.distributed.destroy_process_group()
