"""The list of samples to label, as a file."""

import csv
import os

import numpy as np
import pytest

from keras_ltssl.samplers import write_to_label

FILES = ["a.png", 'odd, "name"\n.jpg', "写真/é.png"]


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_file_holds_ranks_and_paths_of_any_name(tmp_path):
    path = tmp_path / "to_label.csv"
    write_to_label(path, np.array([2, 1]), FILES)
    assert read(path) == [
        ["rank", "path", "label"],
        ["1", FILES[2], ""],
        ["2", FILES[1], ""],
    ]


def test_reasons_have_a_column(tmp_path):
    path = tmp_path / "to_label.csv"
    write_to_label(path, [0], FILES, reasons=["looks rare"])
    assert read(path)[0][-1] == "reason"
    assert read(path)[1] == ["1", "a.png", "", "looks rare"]


def test_an_older_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "to_label.csv"
    path.write_text("older")
    write_to_label(path, [], FILES)
    assert read(path) == [["rank", "path", "label"]]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chosen": [3]}, "`chosen` must be rows of the 3 `files`"),
        ({"chosen": [-1]}, "`chosen` must be rows of the 3 `files`"),
        ({"chosen": [1, 1]}, "`chosen` must not name a sample twice"),
        ({"chosen": [0.5]}, "`chosen` must be rows, integers"),
        ({"reasons": ["a"]}, "`reasons` must be as many as `chosen`"),
        ({"path": ""}, "`path` must be a path"),
    ],
)
def test_wrong_argument_is_named(tmp_path, arguments, message):
    arguments = {
        "path": tmp_path / "to_label.csv",
        "chosen": [0, 1],
        "files": FILES,
        **arguments,
    }
    with pytest.raises(ValueError, match=message):
        write_to_label(**arguments)
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_no_text_is_written_as_it_is(tmp_path):
    name = os.fsdecode(b"fox-\xff.png")
    write_to_label(tmp_path / "a.csv", [0], [name])
    assert b"fox-\xff.png" in (tmp_path / "a.csv").read_bytes()
