"""Classifies images by a classifier of `finetune.py --export=onnx`.

    python examples/classify_onnx.py runs/finetune/classifier.onnx photo.png ...

Needs ONNX Runtime and Pillow, and neither Keras nor a backend of it.
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1])
(images,) = session.get_inputs()
height, width, channels = images.shape[1:]
for path in sys.argv[2:]:
    image = ImageOps.fit(
        Image.open(path).convert("L" if channels == 1 else "RGB"),
        (width, height),
        Image.Resampling.BILINEAR,
    )
    pixels = np.asarray(image, "uint8").reshape(1, height, width, channels)
    (logits,) = session.run(None, {images.name: pixels})
    weights = np.exp(logits[0] - logits[0].max())
    probabilities = weights / weights.sum()
    found = int(probabilities.argmax())
    print(f"{path}: class {found}, probability {probabilities[found]:.1%}")
