import builtins
import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest

from keras_ltssl.evaluation import (
    LongTailReport,
    ProbeResult,
    plot_class_accuracy,
    plot_class_similarity,
    plot_embedding,
    plot_tail_diagnosis,
    plot_temperature,
    tail_diagnosis,
)
from keras_ltssl.evaluation import class_similarity as class_similarity_of
from keras_ltssl.evaluation.pictures import (
    class_accuracy,
    class_similarity,
    embedding,
    lines,
)
from keras_ltssl.evaluation.pictures import tail_diagnosis as tail_picture
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


# Every image is of one gray level, its row.
PIXELS = np.broadcast_to(
    np.arange(60, dtype="uint8")[:, None, None, None], (60, 5, 4, 1)
)


def make_diagnosis(labels=True, seed=0, **options):
    kinds = np.repeat([0, 1, 2], [40, 15, 5])
    noise = np.random.default_rng(seed).normal(size=(60, 3))
    return tail_diagnosis(
        np.eye(3)[kinds] + 0.1 * noise,
        kinds if labels else None,
        num_neighbors=5,
        num_clusters=3,
        repeats=3,
        **options,
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


def figure_of(monkeypatch, module, draw):
    """The figure that is saved."""
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(
            module, "save_png", lambda figure, path: seen.append(figure)
        )
        draw()
    return seen[0]


def test_repeats_of_a_run_are_its_mean_with_bars(tmp_path, monkeypatch):
    same = make_report()
    repeats = []
    for shift in (-0.1, 0.0, 0.2):
        accuracy = np.clip(
            same.probes["knn"].draw_accuracy / 2 + 0.2 + shift, 0, 1
        )
        probe = ProbeResult(np.arange(10), accuracy)
        probes = dict.fromkeys(same.probes, probe)
        repeats.append(dataclasses.replace(same, probes=probes))
    other = dataclasses.replace(same, name="other")
    figure = figure_of(
        monkeypatch,
        class_accuracy,
        lambda: plot_class_accuracy([*repeats, other], tmp_path / "a.png"),
    )
    above, below = figure.axes
    (bars,) = above.containers
    order = np.argsort(same.class_counts)[::-1]
    each = 100 * np.stack([r.probes["knn"].class_accuracy for r in repeats])
    segments = np.array(bars[2][0].get_segments())
    np.testing.assert_allclose(
        np.ptp(segments[:, :, 1], axis=1), 2 * each.std(axis=0, ddof=1)[order]
    )
    np.testing.assert_allclose(
        segments[:, :, 1].mean(axis=1), each.mean(axis=0)[order]
    )
    labels = [text.get_text() for text in above.texts]
    assert "tase\n(mean of 3 ± std)" in labels
    assert "other" in labels
    assert below.get_xlabel() == "class, most training images first"


@pytest.mark.parametrize("classes", [10, 60])
def test_repeats_with_other_classes_in_the_tail_are_drawn_by_rank(
    tmp_path, monkeypatch, classes
):
    reports = [
        make_report(classes, name, seed) for name in "ab" for seed in (1, 2)
    ]
    path = tmp_path / "picture.png"
    figure = figure_of(
        monkeypatch, class_accuracy, lambda: plot_class_accuracy(reports, path)
    )
    _, below = figure.axes
    assert below.get_xlabel().startswith("rank of the class")
    class_accuracy.save_png(figure, path)
    assert drawn(path) > 0.02
    with pytest.raises(ValueError, match="Received others in 'b' than in 'a'"):
        plot_class_accuracy(reports[:3], path)


def test_mean_over_repeats_skips_classes_without_test_images():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    mean, spread = lines.over_repeats(values)
    np.testing.assert_allclose(mean, [2.0, 5.0, np.nan])
    np.testing.assert_allclose(spread, [np.sqrt(2), 0, 0])


@pytest.mark.parametrize(("classes", "runs"), [(3, 1), (30, 4)])
def test_class_similarity_is_drawn_for_any_number_of_runs(
    tmp_path, classes, runs
):
    random = np.random.default_rng(0)
    labels = np.arange(4 * classes) % classes
    features = {
        f"$run {run}": random.normal(size=(len(labels), 8))
        for run in range(runs)
    }
    path = plot_class_similarity(
        features if runs > 1 else features["$run 0"],
        labels,
        tmp_path / "new" / "picture.png",
        class_counts=np.arange(classes) + 1,
        class_names=[f"the class ${c}" for c in range(classes)],
    )
    assert drawn(path) > 0.05
    assert os.listdir(path.parent) == ["picture.png"]


def test_classes_stand_head_to_tail_on_one_scale(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2, 3], 5)
    runs = {name: random.normal(size=(20, 6)) for name in "ab"}
    counts = [5, 50, 2, 20]
    figure = figure_of(
        monkeypatch,
        class_similarity,
        lambda: plot_class_similarity(
            runs, labels, tmp_path / "x.png", counts, class_names=list("pqrs")
        ),
    )
    order = [1, 3, 0, 2]
    limits = set()
    for axes, features in zip(figure.axes, runs.values(), strict=False):
        found = class_similarity_of(features, labels, counts)
        (picture,) = axes.get_images()
        np.testing.assert_allclose(
            picture.get_array(), found.cosines[np.ix_(order, order)]
        )
        limits.add(picture.get_clim())
        assert axes.get_xlabel().endswith(f"few {found.nearest_of(0):.2f}")
    assert len(limits) == 1
    first = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert first == ["q (50)", "s (20)", "p (5)", "r (2)"]


def test_total_collapse_is_drawn(tmp_path):
    path = plot_class_similarity(
        np.ones((12, 4)), np.arange(12) % 4, tmp_path / "x.png"
    )
    assert drawn(path) > 0.01


@pytest.mark.parametrize(
    ("labels", "estimate"),
    [(True, "given"), (False, "share")],
)
def test_a_diagnosis_is_drawn(tmp_path, labels, estimate):
    scores = np.random.default_rng(0).random(60)
    diagnosis = make_diagnosis(
        labels, estimate=scores if estimate == "given" else estimate
    )
    path = plot_tail_diagnosis(diagnosis, PIXELS, tmp_path / "x.png")
    assert drawn(path) > 0.02


def test_images_stand_from_head_to_tail(tmp_path, monkeypatch):
    diagnosis = make_diagnosis()
    figure = figure_of(
        monkeypatch,
        tail_picture,
        lambda: plot_tail_diagnosis(diagnosis, PIXELS, tmp_path / "x.png", 2),
    )
    strip = figure.axes[-1]
    shown = [int(image.get_array()[0, 0]) for image in strip.get_images()]
    ranks = diagnosis.percentiles[shown]
    assert len(shown) == 28
    assert np.all(np.diff(ranks) <= 0)
    assert (ranks[0], ranks[-1]) == (ranks.max(), diagnosis.percentiles.min())
    assert strip.texts[0].get_text().startswith("98% ±")


def test_few_samples_are_drawn_in_fewer_columns(tmp_path):
    diagnosis = tail_diagnosis(
        np.random.default_rng(0).normal(size=(5, 3)),
        num_neighbors=2,
        num_clusters=2,
        repeats=2,
    )
    for images_per_column in (3, 9):
        path = plot_tail_diagnosis(
            diagnosis, PIXELS[:5], tmp_path / "x.png", images_per_column
        )
        assert drawn(path) > 0.01


def test_labels_at_the_line_ends_do_not_overlap_and_keep_their_order():
    heights = [50.0, 50.5, 99.0, 100.0, 0.0, 50.2]
    placed = lines.apart(heights, gap=7, low=0, high=100)
    assert np.array_equal(np.argsort(placed), np.argsort(heights))
    assert np.diff(np.sort(placed)).min() >= 7 - 1e-9
    assert placed.min() >= 0
    assert placed.max() <= 100
    apart = [10.0, 90.0, 50.0]
    assert lines.apart(apart, 7, 0, 100).tolist() == apart


def test_running_mean_is_centered_and_skips_nan():
    values = np.array([1.0, 2.0, np.nan, 4.0, 9.0])
    found = lines.running_mean(values, 3)
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
    chosen = embedding._choose(labels, 100, np.random.default_rng(0))
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
        lambda: plot_class_similarity(np.eye(4), np.arange(4), path),
        lambda: plot_tail_diagnosis(make_diagnosis(), PIXELS, path),
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
        (lambda p: plot_temperature({"temperature": []}, p), "at least one"),
        (
            lambda p: plot_temperature({"temperature": [np.nan]}, p),
            "must have finite numbers",
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
        (lambda p: plot_class_accuracy([], p), "at least one. Received"),
        (
            lambda p: plot_class_accuracy(
                [make_report(name=f"run {run}") for run in range(7)], p
            ),
            "1 to 6 names. Received: 7",
        ),
        (
            lambda p: plot_class_accuracy([make_report(9), make_report(10)], p),
            "the same class counts in whatever order",
        ),
        (lambda p: plot_class_similarity({}, [1], p), "1 to 6 runs"),
        (
            lambda p: plot_class_similarity(np.eye(4), np.arange(4), p, [1]),
            "`class_counts`",
        ),
        (
            lambda p: plot_class_similarity(
                {"a": np.eye(4), "b": np.eye(5)}, np.arange(4), p
            ),
            "4 labels for 5 rows",
        ),
        (
            lambda p: plot_class_similarity(
                np.eye(4), np.arange(4), p, class_names=list("abc")
            ),
            "3 names for 4 classes",
        ),
        (
            lambda p: plot_tail_diagnosis(make_diagnosis(), PIXELS[:59], p),
            "60. Received: 59",
        ),
        (
            lambda p: plot_tail_diagnosis(
                make_diagnosis(), np.ones((60, 4, 4, 1)), p
            ),
            "dtype=float64",
        ),
        (
            lambda p: plot_tail_diagnosis(
                make_diagnosis(), PIXELS, p, images_per_column=0
            ),
            "images_per_column=0",
        ),
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
