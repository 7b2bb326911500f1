"""`keras-ltssl report`, and labels that are added to a run."""

import csv


def labels():
    with open("run/images.csv", newline="", encoding="utf-8") as file:
        return {row["path"]: row["label"] for row in csv.DictReader(file)}


def test_labels_are_added_to_those_that_are_known(finished, run):
    for content, expected in (
        ("path,label\nfox/0.png,fox\nowl/1.png,\n", {"fox/0.png": "fox"}),
        (
            "label,path\nowl,owl/1.png\ncub,fox/0.png\n",
            {"fox/0.png": "cub", "owl/1.png": "owl"},
        ),
    ):
        with open("labels.csv", "w", encoding="utf-8") as file:
            file.write(content)
        code, told, _ = run("report", "run", "--labels=labels.csv")
        assert code == 0
        assert "report.html" in told
        known = {name: label for name, label in labels().items() if label}
        assert known == expected


def test_a_run_that_still_trains_has_a_report(finished, run):
    (finished / "run" / "features.npy").unlink()
    (finished / "run" / "report.html").unlink()
    assert run("report", "run")[0] == 0
    assert (finished / "run" / "report.html").exists()


def test_what_is_wrong_is_a_sentence(finished, run):
    with open("labels.csv", "w", encoding="utf-8") as file:
        file.write("path,label\nfox/1.png,fox\n")
    before = labels()
    for arguments, message in (
        (("photos",), "`keras-ltssl pretrain --output` wrote, with run.json"),
        (("nowhere",), "Received: nowhere"),
        (("run", "--labels=labels.csv"), "1 other path, 'fox/1.png'"),
    ):
        code, _, told = run("report", *arguments)
        assert code == 1
        assert message in told
        assert told.count("\n") == 1
    assert labels() == before
