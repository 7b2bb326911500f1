"""What the report says of a run: of good ones and of those that went wrong."""

import json

import numpy as np
import pytest

import keras_ltssl as lt
from keras_ltssl.report.charts import in_words, ticks
from keras_ltssl.report.label_accuracy import (
    interval,
    mean_interval,
    nearest_label_accuracy,
)


def around(kinds, dim=32):
    """Features of each kind around a direction, none of them a copy."""
    noise = np.random.default_rng(1).normal(size=(len(kinds), dim))
    return np.eye(dim)[kinds] + 0.05 * noise


HEADER = [
    *("epoch", "contrastive_accuracy", "contrastive_chance", "loss"),
    "temperature",
]


def words(run, **arguments):
    path = lt.report.write_report(run.folder, verbose=False, **arguments)
    return path.read_text(encoding="utf-8")


def numbers(run, **arguments):
    words(run, **arguments)
    return json.loads((run.folder / "report.json").read_text())


def test_rare_kinds_come_first(make_run):
    features = around(np.repeat([0, 1, 2], [60, 35, 5]))
    found = numbers(make_run(num_images=100, features=features))
    rarest = {entry["path"] for entry in found["tail"]["rarest"][:5]}
    assert rarest == {f"a/{row:04d}.jpg" for row in range(95, 100)}


def test_the_smallest_group_comes_first(make_run):
    features = around(np.repeat([0, 1, 2], [60, 35, 5]))
    found = numbers(make_run(num_images=100, features=features), num_groups=3)
    assert [g["size"] for g in found["groups"]["groups"]] == [5, 35, 60]


def test_nearest_neighbors_are_those_of_the_largest_cosine(make_run):
    run = make_run()
    one = run.paths[17]
    found = numbers(run, neighbors_of=[one])["neighbors"]["images"]
    units = run.features / np.linalg.norm(run.features, axis=1)[:, None]
    cosines = units @ units[17]
    cosines[17] = -1
    best = np.argsort(-cosines)[:7]
    assert [entry["path"] for entry in found] == [one]
    assert [n["path"] for n in found[0]["neighbors"]] == [
        run.paths[row] for row in best
    ]
    assert found[0]["neighbors"][0]["cosine"] == pytest.approx(
        cosines[best[0]], abs=1e-5
    )


def test_the_section_on_neighbors_says_who_chose_the_images(make_run):
    run = make_run()
    assert "from rare-looking to common-looking" in words(run)
    text = words(run, neighbors_of=[run.paths[0]])
    assert "an image that you chose" in text
    assert "from rare-looking to common-looking" not in text


def test_neighbors_of_an_unknown_image_are_refused(make_run):
    with pytest.raises(ValueError, match=r"`neighbors_of`.*'b\.jpg'"):
        words(make_run(), neighbors_of=["b.jpg"])


def test_copies_are_shown_and_only_the_first_counts(make_run):
    run = make_run()
    run.features[[5, 40, 79]] = run.features[2]
    run.write()
    found = numbers(run)
    copies = [run.paths[row] for row in (2, 5, 40, 79)]
    assert found["duplicates"] == {
        "groups": [copies],
        "num_groups": 1,
        "num_left_out": 3,
    }
    rarest = [entry["path"] for entry in found["tail"]["rarest"]]
    assert copies[0] in rarest
    assert not set(copies[1:]) & set(rarest)
    assert "Nearly the same 1: 4 images" in words(run)


def test_many_copies_are_an_alert(make_run):
    sentence = "of the images are near-duplicates of others"
    run = make_run()
    assert sentence not in words(run)
    run.features[40:] = run.features[:40]
    run.write()
    assert f"50 % {sentence}" in words(run)


def test_an_outlier_is_shown_first_and_taken_out(make_run):
    random = np.random.default_rng(0)
    features = np.eye(16)[0] + 0.05 * random.normal(size=(80, 16))
    features[33] = np.eye(16)[7]
    run = make_run(features=features)
    found = numbers(run)
    assert found["outliers"]["num_outliers"] == 1
    assert found["outliers"]["images"][0]["path"] == run.paths[33]
    rarest = {entry["path"] for entry in found["tail"]["rarest"]}
    assert rarest == {*run.paths} - {run.paths[33]}


def test_copies_of_a_few_images_give_a_sentence(make_run):
    random = np.random.default_rng(0)
    features = np.eye(5)[np.arange(80) % 5] + 1e-3 * random.normal(size=(80, 5))
    text = words(make_run(features=features))
    assert "only 5 images are left" in text
    assert 'id="duplicates"' in text
    assert 'id="tail"' not in text


def test_a_class_of_one_image_is_not_tested():
    features = np.eye(4, dtype="float32")[[0, 0, 1, 1, 2]]
    found = nearest_label_accuracy(features, ["a", "a", "b", "b", "c"])
    assert found.trials.tolist() == [2, 2, 0]
    assert found.accuracy[:2].tolist() == [1.0, 1.0]
    assert np.isnan(found.accuracy[2])


def test_an_unlabeled_image_gives_no_label_and_is_not_tested():
    angles = np.array([0.0, 0.1, 0.2, 3.0])
    features = np.stack([np.cos(angles), np.sin(angles)], 1).astype("float32")
    found = nearest_label_accuracy(features, ["a", "", "a", "b"])
    assert found.tested.tolist() == [0, 2]
    assert found.nearest.tolist() == [2, 0]


def test_intervals_are_those_of_wilson():
    # statsmodels.stats.proportion.proportion_confint(8, 10, method="wilson")
    assert interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-3)
    assert interval(0, 10)[0] == 0
    assert interval(10, 10)[1] == 1


def test_a_mean_over_classes_that_were_all_right_is_not_certain():
    low, high = mean_interval(np.array([3, 2]), np.array([3, 2]))
    assert low < 0.9
    assert high == 1


def test_rare_classes_are_told_what_they_are_taken_for(make_run):
    # Each "lynx" lies among the cats.
    kinds = np.repeat([0, 1, 2], [40, 30, 3])
    features = around(np.array([0, 1, 0])[kinds])
    run = make_run(num_images=73, features=features)
    run.labels = [("cat", "dog", "lynx")[k] for k in kinds]
    run.write()
    found = numbers(run)["labels"]
    lynx = found["classes"][2]
    assert lynx["label"] == "lynx"
    assert lynx["group"] == "few"
    assert lynx["taken_for"]["cat"] >= 2
    assert found["groups"]["many"]["accuracy"] > 0.8
    assert found["groups"]["few"]["accuracy"] < 0.5
    assert "What rare labels are taken for" in words(run)


def test_a_labeled_outlier_counts_for_its_label(make_run):
    random = np.random.default_rng(0)
    features = np.eye(16)[0] + 0.05 * random.normal(size=(80, 16))
    features[33] = np.eye(16)[7]
    run = make_run(features=features)
    run.labels = ["fox", "deer"] * 40
    run.labels[33] = "lynx"
    run.write()
    found = numbers(run)
    assert found["outliers"]["num_outliers"] == 1
    assert {c["label"]: c["images"] for c in found["labels"]["classes"]} == {
        "deer": 39,
        "fox": 40,
        "lynx": 1,
    }
    assert "one image: cannot be tested" in words(run)


def test_two_labels_have_no_groups_but_an_accuracy(make_run):
    run = make_run()
    run.labels = ["a", "b"] * 40
    run.write()
    found = numbers(run)["labels"]
    assert found["groups"] == {}
    assert len(found["classes"]) == 2


def test_a_training_that_is_not_finished_has_its_curves_and_a_sentence(
    make_run,
):
    run = make_run(features=None, epochs=10)
    text = words(run)
    assert "The training is not finished: 3 epochs of 10." in text
    assert "There are no features yet" in text
    assert 'id="tail"' not in text
    assert 'class="curve"' in text


def test_a_loss_that_is_no_number_is_an_alert(make_run):
    rows = [["epoch", "loss"], [0, 5.0], [1, "nan"], [2, "nan"]]
    text = words(make_run(features=None, history=rows))
    assert "The loss was not a finite number in epoch 2." in text


def test_accuracy_at_chance_is_an_alert(make_run):
    at_chance = [[e, 0.012, 0.01, 5.0, 0.1] for e in range(3)]
    learned = [[e, 0.5, 0.01, 5.0, 0.1] for e in range(3)]
    sentence = "The two views of an image do not find each other"
    assert sentence in words(make_run(history=[HEADER, *at_chance]))
    assert sentence not in words(make_run(history=[HEADER, *learned]))


def test_byol_at_chance_is_no_alert_as_it_may_learn_so(make_run):
    at_chance = [[e, 0.012, 0.01, 5.0, 0.1] for e in range(3)]
    run = make_run(history=[HEADER, *at_chance], framework="byol")
    assert "do not find each other" not in words(run)


def test_a_small_spread_is_an_alert(make_run):
    rows = [["epoch", "spread"], *[[e, 0.01] for e in range(3)]]
    assert "The training has collapsed" in words(make_run(history=rows))
    rows[-1][1] = 0.5
    assert "The training has collapsed" not in words(make_run(history=rows))


def test_a_validation_set_is_drawn_into_the_chart_of_the_training(make_run):
    rows = [
        ["epoch", "loss", "temperature", "val_loss", "val_temperature"],
        [0, 5.0, 0.1, 6.0, 0.1],
        [1, 4.0, 0.1, 5.0, 0.1],
    ]
    text = words(make_run(history=rows))
    assert text.count('class="chart"') == 2
    assert "val loss: 6 in epoch 1, 5 in epoch 2." in text
    assert 'stroke-dasharray="6 4"' in text


def test_many_files_that_were_left_out_are_an_alert(make_run):
    some = [{"path": f"{i}.png", "reason": "it is no image"} for i in range(8)]
    sentence = "9.1 % of the files were left out: 8 of 88."
    assert sentence in words(make_run(skipped=some))
    assert "of the files were left out:" not in words(
        make_run(skipped=some[:1])
    )


def test_a_long_list_of_files_left_out_is_capped(make_run):
    many = [
        {"path": f"x{i:04d}.png", "reason": "it is no image"}
        for i in range(500)
    ]
    text = words(make_run(skipped=many))
    assert "the first 100 of 500" in text
    assert "x0099.png" in text
    assert "x0100.png" not in text


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (np.ones((80, 8)), "the encoder has collapsed"),
        (np.full((80, 8), np.nan), "the training has diverged"),
        (np.zeros((80, 8)), "the encoder has collapsed"),
    ],
)
def test_features_of_no_use_give_a_sentence(make_run, features, sentence):
    text = words(make_run(features=features))
    assert sentence in text
    assert 'id="tail"' not in text


@pytest.mark.parametrize("num_images", [0, 1, 2, 7])
def test_too_few_images_give_a_sentence(make_run, num_images):
    assert "nothing can be said of groups" in words(make_run(num_images))


@pytest.mark.parametrize("num_images", [8, 9, 30])
def test_a_small_folder_has_all_sections(make_run, num_images):
    features = around(np.zeros(num_images, int))
    text = words(make_run(num_images, features=features, labeled=True))
    for name in ("tail", "groups", "neighbors"):
        assert f'id="{name}"' in text


def test_a_history_with_a_cut_row_and_no_rows_is_read(make_run):
    rows = [["epoch", "loss"], [0, 5.0], [1]]
    found = numbers(make_run(history=rows))["training"]
    assert found["columns"]["loss"] == [5.0]
    assert numbers(make_run(history=[["epoch", "loss"]]))["training"] == {
        "epochs": 0,
        "last": {},
        "columns": {},
    }


def test_unknown_columns_of_the_history_are_shown(make_run):
    rows = [["epoch", "loss", "<my> metric"], [0, 5.0, 1.0], [1, 4.0, 2.0]]
    assert "&lt;my&gt; metric" in words(make_run(history=rows))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("run.json", "{", "is not JSON"),
        ("run.json", "[]", "must hold a JSON object"),
        ("run.json", "{}", "must name the folder of the photos"),
        ("images.csv", "a,b\n", "must begin with the row path,label"),
        ("images.csv", "path,label\na.jpg\n", "two cells in each row"),
        ("images.csv", "path,label\na.jpg,\n", "for each of the 1 images"),
        ("images.csv", "path,label\n" + 200_000 * "a", "is damaged"),
        ("features.npy", "no array", "is damaged"),
    ],
)
def test_a_damaged_file_is_named(make_run, file, content, message):
    run = make_run()
    (run.folder / file).write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        words(run)
    named = "features.npy" if "each of the 1" in message else file
    assert named in str(error.value)


@pytest.mark.parametrize("file", ["run.json", "images.csv"])
def test_a_folder_that_is_no_run_is_refused(make_run, file):
    run = make_run()
    (run.folder / file).unlink()
    with pytest.raises(ValueError, match=rf"`folder`.*{file}"):
        words(run)


def test_a_report_that_fails_leaves_the_old_one(make_run):
    run = make_run()
    old = words(run)
    (run.folder / "features.npy").write_text("no array")
    with pytest.raises(ValueError, match="damaged"):
        words(run)
    assert (run.folder / "report.html").read_text() == old
    assert not list(run.folder.glob("*.unfinished"))


def test_ticks_are_round_and_inside():
    for low, high in ((0.0, 1.0), (-3.7, -0.2), (1e-5, 9e-5), (3, 40_000)):
        found = ticks(low, high)
        assert 2 <= len(found) <= 6
        assert low <= found[0] < found[-1] <= high
    assert ticks(0.0, 1.0) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_a_curve_in_words_has_first_and_last_value():
    epochs = np.arange(1.0, 4.0)
    values = np.array([np.nan, 2.0, 1.0])
    assert in_words("loss", epochs, values) == (
        "loss: 2 in epoch 2, 1 in epoch 3. Known in 2 of 3 epochs."
    )
    assert in_words("", epochs, values * np.nan) == "no finite value."


def test_of_many_labels_the_rarest_and_the_most_frequent_are_shown(make_run):
    kinds = np.repeat(np.arange(60), np.arange(2, 62))
    run = make_run(num_images=len(kinds), features=around(kinds, 64))
    run.labels = [f"kind{k:02d}" for k in kinds]
    run.write()
    text = words(run)
    assert "The 30 rarest and the 10 most frequent of 60 labels" in text
    for kind, is_shown in ((0, 1), (29, 1), (30, 0), (49, 0), (50, 1), (59, 1)):
        assert (f"<bdi>kind{kind:02d}</bdi>" in text) == is_shown
    found = json.loads((run.folder / "report.json").read_text())
    assert len(found["labels"]["classes"]) == 60
