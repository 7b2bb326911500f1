"""The augmentations of SimCLR as one layer."""

import random

from keras_ltssl.validation import (
    check_integer,
    check_integer_or_none,
    check_number,
)
from keras_ltssl.views.per_sample_rand_augment import PerSampleRandAugment
from keras_ltssl.views.rand_augment_operations import MAX_STRENGTH
from keras_ltssl.views.random_blur import RandomBlur
from keras_ltssl.views.random_color_distortion import RandomColorDistortion
from keras_ltssl.views.random_resized_crop import RandomResizedCrop
from keras_ltssl.views.two_views import TwoViews

# Strength of RandAugment at w = 0, as in `BoostedViews`.
_LEAST_STRENGTH = 10.0


def simclr_views(
    image_size: int | tuple[int, int],
    scale: tuple[float, float] | None = (0.1, 1.0),
    horizontal_flip: float = 0.5,
    jitter: float = 0.4,
    jitter_probability: float = 0.8,
    grayscale: float = 0.2,
    blur: float = 0.0,
    value_range: tuple[float, float] = (0, 255),
    seed: int | None = None,
    rand_augment: float = 0.0,
) -> TwoViews:
    """Returns a layer that makes two views of each image, as in SimCLR.

    Each view of each image draws its own random resized crop with a horizontal
    flip, blur, color jitter and grayscale. The defaults are those published for
    CIFAR. For ImageNet use `scale=(0.08, 1.0)` and `blur=0.5`; for digits use
    `horizontal_flip=0.0`. Images with one channel only get brightness and
    contrast (see `RandomColorDistortion`).

    SimCLR blurs after it changes colors. Here blur comes first, so that crop,
    flip and blur are one pair of matrices for each view. The result is the same
    except for clipping, and for the weight of the edges in the mean that
    contrast keeps. `RandomColorDistortion` describes how its colors differ from
    a chain of steps.

    `rand_augment`, w, makes views stronger than SimCLR's. Each view gets one
    more operation of RandAugment (`PerSampleRandAugment`) with

        probability = w,    strength = 10 + 20 w

    as `BoostedViews` does for a sample of weight w, but here for all samples.
    The operations are BCL's. A strength to tune, like the temperature, is this
    package's own design.

    Args:
        image_size: Integer or pair of integers, height and width of the views
            in pixels. The images may have another size.
        scale: Pair of floats in `(0, 1]`, smallest and largest share of the
            image's area in a crop. `None` for crops that the data makes, such
            as those of `ImageBatches(..., crop_scale=...)`: the layer then
            takes two views of each image, and crops neither. Defaults to
            `(0.1, 1.0)`.
        horizontal_flip: Float in `[0, 1]`, probability of a left-right
            flip. Defaults to `0.5`.
        jitter: Float in `[0, 1)`, strength of brightness, contrast and
            saturation jitter; that of the hue is a quarter. Defaults to `0.4`.
        jitter_probability: Float in `[0, 1]`. Defaults to `0.8`.
        grayscale: Float in `[0, 1]`, probability of grayscale. Defaults to
            `0.2`.
        blur: Float in `[0, 1]`, probability of Gaussian blur. Its standard
            deviation is 0.1 to 2 pixels for images of 224 pixels, and in
            proportion for others. Defaults to `0.0`.
        value_range: Pair of floats, the values of black and white in the
            images, and in the views. Defaults to `(0, 255)`.
        seed: Integer or None. The same seed gives the same views. Defaults to
            `None`.
        rand_augment: Float in `[0, 1]`, w. At 0 the views are SimCLR's.
            Defaults to `0.0`.

    Returns:
        `TwoViews`, a layer `(batch, height, width, channels)` ->
        `(batch, 2, *image_size, channels)`. With `scale=None` it takes
        `(batch, 2, height, width, channels)`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> import keras
    >>> import keras_ltssl as lt
    >>> views = lt.layers.simclr_views(32, seed=0)
    >>> tuple(views(keras.ops.ones((4, 48, 48, 3), dtype="uint8")).shape)
    (4, 2, 32, 32, 3)

    Reference:
        - [A Simple Framework for Contrastive Learning of Visual
          Representations](https://arxiv.org/abs/2002.05709), Chen et al.,
          ICML 2020, appendix A and B.9
        - [Contrastive Learning with Boosted
          Memorization](https://arxiv.org/abs/2205.12693), Zhou et al.,
          ICML 2022, for `rand_augment`
    """
    sizes = (
        tuple(image_size)
        if isinstance(image_size, (tuple, list))
        else (image_size, image_size)
    )
    if len(sizes) != 2:
        raise ValueError(
            "`image_size` must be an integer or a pair (height, width). "
            f"Received: image_size={image_size!r}"
        )
    height, width = (
        check_integer("image_size", size, minimum=1) for size in sizes
    )
    check_number("blur", blur, minimum=0, maximum=1)
    check_number("rand_augment", rand_augment, minimum=0, maximum=1)
    check_integer_or_none("seed", seed, minimum=0)
    # Layers with the same seed would draw the same numbers.
    numbers = None if seed is None else random.Random(seed)
    crop_seed, color_seed, blur_seed, operation_seed = (
        None if numbers is None else numbers.randrange(2**31) for _ in range(4)
    )
    pipeline = [
        RandomResizedCrop(
            height,
            width,
            # The whole image is what mirrors it, and has no cost beside that.
            scale=(1.0, 1.0) if scale is None else scale,
            horizontal_flip=horizontal_flip,
            seed=crop_seed,
        )
    ]
    if blur:
        pixel = max(height, width) / 224
        pipeline.append(
            RandomBlur(
                probability=blur,
                sigma=(0.1 * pixel, 2.0 * pixel),
                seed=blur_seed,
            )
        )
    pipeline.append(
        RandomColorDistortion(
            jitter=jitter,
            jitter_probability=jitter_probability,
            grayscale=grayscale,
            value_range=value_range,
            seed=color_seed,
        )
    )
    if rand_augment:
        pipeline.append(
            PerSampleRandAugment(
                value_range=value_range,
                seed=operation_seed,
                probability=rand_augment,
                strength=_LEAST_STRENGTH
                + (MAX_STRENGTH - _LEAST_STRENGTH) * rand_augment,
            )
        )
    return TwoViews(pipeline, takes_views=scale is None, name="views")
