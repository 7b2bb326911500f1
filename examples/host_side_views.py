"""Two views of every image made on the host: by keras-cv, Keras or grain.

    python examples/host_side_views.py --views=keras
    KERAS_BACKEND=jax python examples/host_side_views.py --views=keras_cv

A pipeline gives `(views, ids)`: views of shape `(batch, 2, height, width,
channels)`, which the model takes as they are, and ids that methods with a
memory need. `keras_cv` and `keras` make their views in tf.data and need
TensorFlow beside the backend that trains; `grain` needs NumPy only.
"""

import keras
import numpy as np
from absl import app, flags

import keras_ltssl as lt

flags.DEFINE_enum(
    "views", "keras", ["keras_cv", "keras", "grain"], "What makes the views."
)
flags.DEFINE_enum("dataset", "mnist", ["mnist", "digits"], "Bundled images.")
flags.DEFINE_integer("epochs", 20, "Epochs of training.", lower_bound=1)
flags.DEFINE_integer("batch_size", 128, "Images a batch.", lower_bound=2)
flags.DEFINE_integer("seed", 0, "Seed of everything random.")
FLAGS = flags.FLAGS


def keras_cv_layers(height, width):
    """Returns layers of keras-cv that make a view of one image."""
    import keras_cv

    return [
        keras_cv.layers.RandomCropAndResize(
            (height, width),
            crop_area_factor=(0.3, 1.0),
            aspect_ratio_factor=(3 / 4, 4 / 3),
        ),
        keras_cv.layers.RandomColorJitter(
            value_range=(0, 255),
            brightness_factor=0.4,
            contrast_factor=0.4,
            saturation_factor=0.4,
            hue_factor=0.1,
        ),
    ]


def keras_layers(height, width):
    """Returns layers of Keras that make a view of one image.

    Keras has no crop of random size, so each window has the same.
    """
    return [
        keras.layers.RandomCrop(3 * height // 4, 3 * width // 4),
        keras.layers.Resizing(height, width),
        keras.layers.RandomBrightness(0.4, value_range=(0, 255)),
    ]


def tf_data(images, layers, batch_size, seed=0):
    """Returns a `tf.data.Dataset` of views and ids, whatever the backend.

    Layers of Keras keep their seed in a variable for which the threads of
    `map` race: now and then two images get the same draw (the two views of one
    image never do), and a seed does not repeat an epoch.
    """
    import tensorflow as tf

    def view(image):
        for layer in layers:
            image = layer(image, training=True)
        return tf.ensure_shape(image, images.shape[1:])

    def two_views(image, row):
        image = tf.cast(image, "float32")
        return tf.stack([view(image), view(image)]), row

    rows = np.arange(len(images))
    data = tf.data.Dataset.from_tensor_slices((images, rows))
    data = data.shuffle(len(images), seed=seed)
    # One image at a time: some layers draw once for all that they are given.
    data = data.map(two_views, num_parallel_calls=tf.data.AUTOTUNE)
    return data.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def grain_data(images, batch_size, seed=0):
    """Returns an endless dataset of grain, of views and ids.

    The views are a function of the seed, the row and the epoch.
    """
    import grain

    def view(image, rng, margin=4):
        """A shifted window of the image, brighter or darker."""
        height, width = image.shape[:2]
        sides = (margin, margin)
        padded = np.pad(image, (sides, sides, (0, 0)))
        top, left = rng.integers(0, 2 * margin + 1, size=2)
        window = padded[top : top + height, left : left + width]
        return np.clip(rng.uniform(0.6, 1.4) * window, 0, 255).astype("float32")

    def two_views(row, rng):
        return np.stack([view(images[row], rng), view(images[row], rng)]), row

    data = grain.MapDataset.range(len(images)).seed(seed).shuffle()
    return data.random_map(two_views).repeat().batch(batch_size)


def main(_):
    # keras-cv's colors take three channels, and these digits have one.
    if FLAGS.dataset == "mnist":
        x, y = lt.datasets.load_mnist_subset()
    else:
        x, y = lt.datasets.load_digits()
    split = lt.datasets.make_long_tail_split(
        np.repeat(x, 3, axis=-1),
        y,
        imbalance=20,
        num_probe=30,
        num_test=40,
        seed=FLAGS.seed,
    )
    images = split.x_train
    if FLAGS.views == "grain":
        data = grain_data(images, FLAGS.batch_size, FLAGS.seed)
    else:
        if keras.backend.backend() != "tensorflow":
            import tensorflow as tf

            # Or it would take the memory that the other backend trains in.
            tf.config.set_visible_devices([], "GPU")
        keras.utils.set_random_seed(FLAGS.seed)
        makers = {"keras_cv": keras_cv_layers, "keras": keras_layers}
        layers = makers[FLAGS.views](*images.shape[1:3])
        data = tf_data(images, layers, FLAGS.batch_size, FLAGS.seed)

    model = lt.models.ContrastiveModel(
        lt.models.small_convnet(images.shape[1:])
    )
    # As with any views, and here with ids too: TASELoss, COLTLoss, ...
    model.compile("adam", loss=lt.losses.NTXentLoss(temperature=0.1))
    steps = -(-len(images) // FLAGS.batch_size)
    model.fit(
        data,
        epochs=FLAGS.epochs,
        # An endless dataset does not say how long an epoch is.
        steps_per_epoch=steps if FLAGS.views == "grain" else None,
        shuffle=False,
        verbose=2,
    )
    report = lt.evaluation.long_tail_report(
        model.encoder, split, name=FLAGS.views
    )
    print(lt.evaluation.compare_reports([report]))


if __name__ == "__main__":
    app.run(main)
