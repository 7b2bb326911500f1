"""What the picture of a choice of OOD images shows, and what it refuses."""

import os

import numpy as np
import pytest

import keras_ltssl as lt
from keras_ltssl.evaluation.pictures import ood_choice as picture
from keras_ltssl.samplers import OODChoice

image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")


def make_choice(budgets, scores, samples=60, seed=0):
    random = np.random.default_rng(seed)
    clusters = len(budgets)
    used = np.flatnonzero(np.isfinite(scores))
    return OODChoice(
        indices=random.permutation(100)[: sum(budgets)],
        labels=used[np.arange(samples) % len(used)],
        cosines=random.random(samples),
        centers=random.normal(size=(clusters, 3)),
        cluster_scores=np.array(scores, "float64"),
        budgets=np.array(budgets),
    )


def images(count, shape, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, size=(count, *shape), dtype=np.uint8)


def decoded(path):
    with image.open(path) as file:
        assert file.format == "PNG"
        return np.asarray(file.convert("RGB"))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_real_choice_is_drawn(tmp_path, channels):
    random = np.random.default_rng(0)
    choice = lt.samplers.choose_colt(
        random.normal(size=(60, 4)),
        random.normal(size=(100, 4)),
        random.random(60),
        budget=70,
        num_clusters=4,
    )
    path = lt.evaluation.plot_ood_choice(
        choice,
        images(60, (9, 7, channels)),
        images(100, (5, 12, channels)),
        tmp_path / "new" / "choice.png",
    )
    assert path == tmp_path / "new" / "choice.png"
    assert np.mean(decoded(path) < 250) > 0.1
    assert os.listdir(path.parent) == ["choice.png"]


def drawn(monkeypatch, tmp_path, choice, **options):
    """What each panel of the picture got, and its figure."""
    seen = {}
    grid, bars, save = (
        picture._draw_images,
        picture._draw_bars,
        picture.save_png,
    )
    monkeypatch.setattr(
        picture,
        "_draw_images",
        lambda axes, rows, cells, title: (
            seen.update({title: rows}),
            grid(axes, rows, cells, title),
        ),
    )
    monkeypatch.setattr(
        picture,
        "_draw_bars",
        lambda axes, values, title, form: (
            seen.update({title: values}),
            bars(axes, values, title, form),
        ),
    )
    monkeypatch.setattr(
        picture,
        "save_png",
        lambda figure, path: (seen.update(figure=figure), save(figure, path)),
    )
    # Every image is of one gray level, its row.
    numbered = np.arange(100, dtype="uint8")[:, None, None, None]
    lt.evaluation.plot_ood_choice(
        choice,
        np.broadcast_to(numbered, (100, 4, 4, 1)),
        np.broadcast_to(numbered, (100, 6, 6, 1)),
        tmp_path / "choice.png",
        **options,
    )
    return seen


def test_rows_go_from_tail_to_head_with_their_own_images(monkeypatch, tmp_path):
    choice = make_choice([3, 0, 20, 9], [0.5, 0.9, 0.1, 0.3])
    seen = drawn(monkeypatch, tmp_path, choice, images_per_cluster=5)
    order = [2, 3, 0, 1]
    assert seen["mean tailness\n(low: tail-like)"].tolist() == [
        0.1,
        0.3,
        0.5,
        0.9,
    ]
    assert seen["OOD images\nchosen"].tolist() == [20, 9, 3, 0]
    known = seen["ID images nearest to the center"]
    taken = seen["OOD images chosen, nearest first"]
    for row, cluster in enumerate(order):
        assert [int(pixels[0, 0]) for pixels in known[row]] == (
            choice.id_rows(cluster)[:5].tolist()
        )
        assert [int(pixels[0, 0]) for pixels in taken[row]] == (
            choice.pool_rows(cluster)[:5].tolist()
        )
    # A cluster with fewer images than columns, and one with none.
    assert [len(row) for row in taken] == [5, 5, 3, 0]
    (title,) = (text for text in seen["figure"].texts)
    assert title.get_text().startswith("Choice of 32 OOD images: 4 clusters")


def test_numbers_and_sizes_are_written(monkeypatch, tmp_path):
    choice = make_choice([3, 0, 20], [0.5, np.nan, 0.125])
    seen = drawn(monkeypatch, tmp_path, choice, score_name="density")
    assert "mean density\n(low: tail-like)" in seen
    scores, _, pool, budgets = seen["figure"].axes
    assert [t.get_text() for t in scores.texts] == ["0.125", "0.500", "none"]
    assert [t.get_text() for t in budgets.texts] == ["20", "3", "0"]
    assert [t.get_text() for t in pool.texts] == ["none"]
    assert [t.get_text() for t in scores.get_yticklabels()] == [
        "cluster 2\n30 ID images",
        "cluster 0\n30 ID images",
        "cluster 1\n0 ID images",
    ]


def test_negative_and_equal_scores_have_their_numbers_in_the_picture(
    monkeypatch, tmp_path
):
    for scores in (
        [-0.125, 0.111],
        [-0.00123, -0.00111],
        [0.0, 0.0],
        [0.00481, 0.00482],
    ):
        with monkeypatch.context() as patch:
            seen = drawn(patch, tmp_path, make_choice([5, 0], scores))
        axes = seen["figure"].axes[0]
        low, high = axes.get_xlim()
        assert low < high
        box = axes.get_window_extent()
        for text in axes.texts:
            extent = text.get_window_extent()
            assert box.x0 - 1 <= extent.x0
            assert extent.x1 <= box.x1 + 1


def test_of_many_clusters_some_are_drawn(monkeypatch, tmp_path):
    choice = make_choice([1] * 50, np.arange(50) / 50)
    seen = drawn(monkeypatch, tmp_path, choice, images_per_cluster=1)
    shown = seen["mean tailness\n(low: tail-like)"]
    assert len(shown) == 20
    assert shown[0] == 0
    assert shown[-1] == 0.98
    (title,) = (text for text in seen["figure"].texts)
    assert "20 of 50 clusters" in title.get_text()


def test_images_keep_their_shape_and_do_not_touch(monkeypatch, tmp_path):
    choice = make_choice([10, 10], [0.1, 0.2])
    seen = drawn(monkeypatch, tmp_path, choice)
    for axes in seen["figure"].axes[1:3]:
        boxes = [i.get_window_extent() for i in axes.get_images()]
        assert len(boxes) == 12
        for box in boxes:
            assert box.width == pytest.approx(box.height, rel=0.01)
        assert boxes[0].x1 < boxes[1].x0
        assert boxes[0].y0 > boxes[6].y1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images_per_cluster": 0}, "images_per_cluster=0"),
        ({"images_per_cluster": 21}, "images_per_cluster=21"),
        ({"images_per_cluster": 2.5}, "images_per_cluster=2.5"),
        ({"id_images": images(59, (4, 4, 1))}, "`id_images` .*59"),
        ({"pool_images": images(9, (4, 4, 1))}, "`pool_images` .*: 9"),
        ({"id_images": images(60, (4, 4))}, r"`id_images` .*shape=\(4, 4\)"),
        ({"pool_images": images(100, (4, 4, 2))}, r"`pool_images` .*4, 4, 2"),
        ({"pool_images": np.ones((100, 4, 4, 1))}, "dtype=float64"),
        ({"path": "choice.pdf"}, "end in .png"),
    ],
)
def test_bad_input_is_named_and_leaves_no_file(tmp_path, changes, message):
    arguments = {
        "choice": make_choice([5, 90], [0.1, 0.2]),
        "id_images": images(60, (4, 4, 1)),
        "pool_images": images(100, (4, 4, 1)),
        "path": tmp_path / "choice.png",
    }
    with pytest.raises(ValueError, match=message):
        lt.evaluation.plot_ood_choice(**{**arguments, **changes})
    assert not os.listdir(tmp_path)
