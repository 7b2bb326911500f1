import builtins
import os
import subprocess
import sys

import numpy as np
import pytest

from keras_ltssl.evaluation import (
    LongTailReport,
    ProbeResult,
    plot_class_accuracy,
    plot_embedding,
    plot_temperature,
)
from keras_ltssl.evaluation.pictures import class_accuracy, embedding
from keras_ltssl.evaluation.pictures.temperature import _correlation

image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")


def make_report(classes=10, name="tase", seed=0):
    rng = np.random.default_rng(seed)
    probe = ProbeResult(np.arange(classes), rng.random((1, classes)))
    counts = rng.permutation(np.geomspace(500, 5, classes).astype(int))
    return LongTailReport(
        name,
        tuple(f"class {c}" for c in range(classes)),
        tuple(counts.tolist()),
        "thirds",
        10,
        dict.fromkeys(("linear", "few_shot", "knn", "knn1"), probe),
    )


def drawn(path):
    """Share of pixels that are not white, after a full decode."""
    with image.open(path) as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("L"))
    assert min(pixels.shape) > 400
    return np.mean(pixels < 250)


@pytest.mark.parametrize("classes", [3, 10, 20, 100])
def test_class_accuracy_is_drawn_for_any_number_of_classes(tmp_path, classes):
    path = tmp_path / "new" / "folder" / "picture.png"
    reports = [
        make_report(classes),
        make_report(classes, name="$im_clr$ with a very long name indeed"),
    ]
    assert plot_class_accuracy(reports, path, probe="knn") == path
    assert drawn(path) > 0.02
    assert os.listdir(path.parent) == ["picture.png"]


def test_labels_at_the_line_ends_do_not_overlap_and_keep_their_order():
    heights = [50.0, 50.5, 99.0, 100.0, 0.0, 50.2]
    placed = class_accuracy._apart(heights, gap=7, low=0, high=100)
    assert np.array_equal(np.argsort(placed), np.argsort(heights))
    assert np.diff(np.sort(placed)).min() >= 7 - 1e-9
    assert placed.min() >= 0
    assert placed.max() <= 100
    apart = [10.0, 90.0, 50.0]
    assert class_accuracy._apart(apart, 7, 0, 100).tolist() == apart


def test_running_mean_is_centred_and_skips_nan():
    values = np.array([1.0, 2.0, np.nan, 4.0, 9.0])
    found = class_accuracy._running_mean(values, 3)
    np.testing.assert_allclose(found, [1.5, 1.5, 3.0, 6.5, 6.5])


def test_temperature_is_drawn_with_and_without_classes(tmp_path):
    history = {"temperature": [0.2, 0.5, 1.0, 0.5], "loss": [4, 3, 2, 1]}
    alone = plot_temperature(history, tmp_path / "alone.png")
    both = plot_temperature(
        history,
        str(tmp_path / "both.png"),
        class_temperature=[0.3, 0.2, 0.1],
        class_counts=[100, 10, 1],
    )
    assert both == tmp_path / "both.png"
    assert drawn(alone) > 0.01
    assert drawn(both) > 0.01


def test_constant_temperature_is_drawn(tmp_path):
    path = plot_temperature(
        {"temperature": [0.2]},
        tmp_path / "flat.png",
        class_temperature=[0.2] * 30,
        class_counts=[7] * 30,
    )
    assert drawn(path) > 0.01


def test_rank_correlation_is_spearmans():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    counts, values = rng.integers(0, 9, 40), rng.integers(0, 9, 40) / 10
    expected = stats.spearmanr(counts, values).statistic
    assert _correlation(counts, values) == f"rank correlation {expected:+.2f}"


@pytest.mark.parametrize(
    ("rows", "dim", "classes"),
    [(2, 5, 2), (12, 1, 3), (60, 1, 3), (60, 8, 7), (80, 70, 40)],
)
def test_embedding_is_drawn_for_any_size(tmp_path, rows, dim, classes):
    rng = np.random.default_rng(0)
    path = plot_embedding(
        rng.normal(size=(rows, dim)),
        np.arange(rows) % classes,
        tmp_path / "map.png",
        class_names=[f"_${c}" for c in range(classes)],
    )
    assert drawn(path) > 0.005


def test_fewer_samples_than_classes_may_be_asked_for(tmp_path):
    path = plot_embedding(
        np.eye(9), np.arange(9), tmp_path / "map.png", max_samples=4
    )
    assert drawn(path) > 0.005


def test_collapsed_embedding_is_drawn(tmp_path):
    path = plot_embedding(
        np.ones((50, 4)), np.arange(50) % 3, tmp_path / "map.png"
    )
    assert drawn(path) > 0.005


def test_map_keeps_clusters_apart_and_is_a_function_of_the_seed():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    features = 20 * np.eye(3)[labels] + rng.normal(size=(90, 3))
    plane, method = embedding._plane(features, seed=0)
    assert method == "t-SNE"
    middles = np.stack([plane[labels == c].mean(axis=0) for c in range(3)])
    nearest = np.linalg.norm(plane[:, None] - middles, axis=2).argmin(axis=1)
    assert np.array_equal(nearest, labels)
    again, _ = embedding._plane(features, seed=0)
    np.testing.assert_array_equal(plane, again)


def test_random_subset_keeps_rare_classes_whole():
    labels = np.repeat([0, 1, 2], [1000, 5, 60])
    chosen = embedding._choose(
        labels, np.bincount(labels), 100, np.random.default_rng(0)
    )
    assert len(set(chosen)) == 100
    assert np.bincount(labels[chosen]).tolist() in ([48, 5, 47], [47, 5, 48])


def test_unfinished_file_never_replaces_a_picture(tmp_path, monkeypatch):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path = tmp_path / "picture.png"
    plot_temperature({"temperature": [0.2, 0.3]}, path)
    before = path.read_bytes()

    def disk_full(self, file):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(FigureCanvasAgg, "print_png", disk_full)
    with pytest.raises(OSError, match="no space"):
        plot_temperature({"temperature": [0.9, 0.1]}, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["picture.png"]


def test_missing_matplotlib_names_the_extra(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    path = tmp_path / "x.png"
    for draw in (
        lambda: plot_temperature({"temperature": [1]}, path),
        lambda: plot_class_accuracy([make_report()], path),
        lambda: plot_embedding(np.eye(4), np.arange(4), path),
    ):
        with pytest.raises(ImportError, match=r"keras-ltssl\[plots\]"):
            draw()


def test_evaluation_is_imported_without_matplotlib():
    code = (
        "import sys;"
        "sys.modules['matplotlib'] = None;"  # its import raises ImportError
        "import keras_ltssl.evaluation"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda p: plot_temperature({"loss": [1]}, p), "Received: .*loss"),
        (lambda p: plot_temperature({"temperature": []}, p), "empty"),
        (
            lambda p: plot_temperature({"temperature": [np.nan]}, p),
            "must be finite",
        ),
        (
            lambda p: plot_temperature(
                {"temperature": [1]}, p, class_counts=[1, 2]
            ),
            "go together",
        ),
        (
            lambda p: plot_temperature(
                {"temperature": [1]}, p, [0.1, 0.2, 0.3], [1, 2]
            ),
            r"\(3,\) and \(2,\)",
        ),
        (
            lambda p: plot_temperature({"temperature": [1]}, p, [0.1], [0]),
            "positive",
        ),
        (lambda p: plot_class_accuracy([], p), "1 to 6 reports"),
        (lambda p: plot_class_accuracy([make_report()] * 7, p), "1 to 6"),
        (
            lambda p: plot_class_accuracy([make_report()], p, probe="svm"),
            "probe='svm'",
        ),
        (
            lambda p: plot_class_accuracy(
                [make_report(), make_report(seed=1, name="other")], p
            ),
            "same class names.*'other'",
        ),
        (
            lambda p: plot_embedding(np.eye(3), np.arange(2), p),
            "2 labels for 3 rows",
        ),
        (
            lambda p: plot_embedding(np.eye(3) * np.nan, np.arange(3), p),
            "`features` must be finite",
        ),
        (
            lambda p: plot_embedding(np.eye(1), np.arange(1), p),
            "at least 2 rows",
        ),
        (
            lambda p: plot_embedding(np.eye(3), np.arange(3), p, ["a"]),
            "1 names for 3 classes",
        ),
        (
            lambda p: plot_embedding(np.eye(3), np.arange(3), p, max_samples=0),
            "max_samples=0",
        ),
        (
            lambda p: plot_temperature(
                {"temperature": [1]}, p.with_suffix(".pdf")
            ),
            "end in .png",
        ),
    ],
)
def test_bad_input_is_named_and_leaves_no_file(tmp_path, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(tmp_path / "picture.png")
    assert not os.listdir(tmp_path)
