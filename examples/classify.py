"""Classifies images by a classifier of `finetune.py`, without keras_ltssl.

    python examples/classify.py runs/finetune/classifier.keras photo.png ...

Needs Keras and Pillow alone. Of a classifier that was trained with class names,
class 0 is the first name.
"""

import sys

import keras
import numpy as np

classifier = keras.saving.load_model(sys.argv[1], compile=False)
height, width, channels = classifier.input_shape[1:]
for path in sys.argv[2:]:
    image = keras.utils.load_img(
        path,
        color_mode="grayscale" if channels == 1 else "rgb",
        target_size=(height, width),
        interpolation="bilinear",
        keep_aspect_ratio=True,
    )
    images = keras.utils.img_to_array(image, dtype="uint8")[np.newaxis]
    logits = classifier.predict(images, verbose=0)
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))[0]
    found = int(probabilities.argmax())
    print(f"{path}: class {found}, probability {probabilities[found]:.1%}")
