"""`keras-ltssl suggest`: which images to label, and labels filled in."""

import csv

import numpy as np

import keras_ltssl as lt


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_choice_is_a_table_and_a_contact_sheet(finished, run):
    code, told, _ = run("suggest", "run", "--budget=5")
    assert code == 0
    assert "Choosing 5 of 24 images without a label." in told
    table = rows_of("run/to_label.csv")
    names = [row["path"] for row in rows_of("run/images.csv")]
    expected = lt.samplers.choose_to_label(np.load("run/features.npy"), 5)
    assert [row["path"] for row in table] == [names[i] for i in expected]
    assert {row["label"] for row in table} == {""}
    assert (finished / "run" / "to_label.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_labels_that_were_filled_in_are_kept_and_not_asked_again(finished, run):
    assert run("suggest", "run", "--budget=4")[0] == 0
    table = rows_of("run/to_label.csv")
    for row in table[:3]:
        row["label"] = "fox"
    with open("run/to_label.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    code, told, _ = run("suggest", "run", "--budget=21")
    assert code == 0
    assert "Choosing 21 of 21 images" in told
    labeled = {row["path"] for row in table[:3]}
    assert not labeled & {row["path"] for row in rows_of("run/to_label.csv")}
    assert labeled == {
        row["path"] for row in rows_of("run/images.csv") if row["label"]
    }


def test_what_is_wrong_is_a_sentence(finished, run):
    code, _, told = run("suggest", "run", "--budget=25")
    assert code == 1
    assert "--budget=25, with 24 of 24 images" in told
    np.save("run/features.npy", np.zeros((3, 4), "float32"))
    assert "each of the 24 images" in run("suggest", "run", "--budget=1")[2]
    (finished / "run" / "features.npy").unlink()
    code, _, told = run("suggest", "run")
    assert code == 1
    assert "The run in run must be finished first. Received: 2 of 2" in told
    assert not (finished / "run" / "to_label.csv").exists()
