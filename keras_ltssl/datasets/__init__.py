"""Long-tailed data: subsets, splits, readers, and batches with sample ids."""

from keras_ltssl.datasets.bundled import load_digits, load_mnist_subset
from keras_ltssl.datasets.directory_batches import DirectoryBatches
from keras_ltssl.datasets.from_directory import image_batches_from_directory
from keras_ltssl.datasets.image_batches import ImageBatches
from keras_ltssl.datasets.image_files import read_images
from keras_ltssl.datasets.keras_datasets import load_keras_dataset
from keras_ltssl.datasets.lists import read_image_list, read_index_list
from keras_ltssl.datasets.long_tail import (
    long_tail_counts,
    long_tail_indices,
)
from keras_ltssl.datasets.long_tail_split import (
    LongTailSplit,
    make_long_tail_split,
)
from keras_ltssl.datasets.mixed_batches import MixedBatches
from keras_ltssl.datasets.npz_split import load_npz_split

__all__ = [
    "DirectoryBatches",
    "ImageBatches",
    "LongTailSplit",
    "MixedBatches",
    "image_batches_from_directory",
    "load_digits",
    "load_keras_dataset",
    "load_mnist_subset",
    "load_npz_split",
    "long_tail_counts",
    "long_tail_indices",
    "make_long_tail_split",
    "read_image_list",
    "read_images",
    "read_index_list",
]
