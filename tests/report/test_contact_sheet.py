"""A picture of many images with captions."""

import numpy as np
import pytest
from PIL import Image

from keras_ltssl.report import contact_sheet


def test_images_are_drawn_in_rows_without_distortion(tmp_path):
    path = tmp_path / "sheet.png"
    images = [
        np.full((10, 20, 3), (255, 0, 0), "uint8"),
        np.full((28, 28, 1), 7, "uint8"),
        np.full((400, 400), 0, "uint8"),
    ]
    contact_sheet(path, images, ["", "", ""], columns=2, size=40)
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (8 + 2 * 64, 8 + 2 * 48, 3)
    red = np.argwhere((sheet == (255, 0, 0)).all(axis=2))
    assert np.ptp(red, axis=0).tolist() == [19, 39]
    assert red.min(axis=0).tolist() == [8 + 10, 8]
    black = np.argwhere((sheet == 0).all(axis=2))
    assert np.ptp(black, axis=0).tolist() == [39, 39]
    assert black.min(axis=0).tolist() == [8 + 64, 8]


def test_captions_of_any_length_and_script_stay_in_their_column(tmp_path):
    path = tmp_path / "sheet.png"
    white = np.full((10, 10), 255, "uint8")
    contact_sheet(
        path, [white] * 3, ["x" * 500, "", "写真 é\nsecond line"], size=64
    )
    dark = (np.asarray(Image.open(path)) < 200).any(axis=2)
    columns = [dark[:, 8 + 72 * i : 8 + 72 * i + 72] for i in range(3)]
    assert columns[0][:, :64].any()
    assert not columns[0][:, 65:].any()
    assert not columns[1].any()
    assert columns[2].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": []}, "`images` must hold at least one image"),
        ({"images": [np.zeros((3, 3))]}, "`images` must be uint8 images"),
        (
            {"images": [np.zeros((3, 3, 4), "uint8")]},
            "`images` must be uint8 images",
        ),
        ({"captions": []}, "`captions` must be as many as `images`"),
        ({"columns": 0}, "`columns` must be an integer >= 1"),
        ({"size": 15}, "`size` must be an integer >= 16"),
        ({"size": 1025}, "`size` must be an integer >= 16 and <= 1024"),
        (
            {
                "images": [np.zeros((3, 3), "uint8")] * 500,
                "captions": [""] * 500,
                "columns": 1,
            },
            "`images` must fit a picture of at most",
        ),
        ({"path": ""}, "`path` must be a path"),
    ],
)
def test_wrong_argument_is_named(tmp_path, arguments, message):
    arguments = {
        "path": tmp_path / "sheet.png",
        "images": [np.zeros((3, 3), "uint8")],
        "captions": [""],
        **arguments,
    }
    with pytest.raises(ValueError, match=message):
        contact_sheet(**arguments)
