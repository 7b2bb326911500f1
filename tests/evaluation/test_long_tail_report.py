import json
import types

import keras
import numpy as np
import pytest

from keras_ltssl.evaluation import (
    LongTailReport,
    ProbeResult,
    compare_reports,
    few_shot_probe,
    knn_probe,
    linear_probe,
    long_tail_report,
)


def make_split():
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(4, 6, 6, 1))

    def images(counts):
        labels = np.repeat(np.arange(4), counts)
        noise = 0.7 * rng.normal(size=(len(labels), 6, 6, 1))
        return (patterns[labels] + noise).astype("float32"), labels

    split = types.SimpleNamespace(class_names=["ant", "bee", "cat", "dog"])
    split.x_train, split.y_train = images([40, 4, 20, 9])
    split.x_probe, split.y_probe = images([12] * 4)
    split.x_test, split.y_test = images([10] * 4)
    return split


def make_encoder(pool=True):
    inputs = keras.Input((6, 6, 1))
    outputs = keras.layers.Conv2D(5, 3, activation="relu")(inputs)
    if pool:
        outputs = keras.layers.GlobalAveragePooling2D()(outputs)
    return keras.Model(inputs, outputs)


def make_report(name="run", offset=0.0, draws=2, shots=10, groups="thirds"):
    rng = np.random.default_rng(3)

    def result(draws=1):
        return ProbeResult([0, 1, 2], offset + 0.5 * rng.random((draws, 3)))

    return LongTailReport(
        name=name,
        class_names=("ant", "bee", "cat"),
        class_counts=(500, 5, 50),
        groups=groups,
        shots=shots,
        probes={
            "linear": result(),
            "few_shot": result(draws),
            "knn": result(),
            "knn1": result(),
        },
    )


def test_report_holds_every_probe_of_the_embedded_split():
    split, encoder = make_split(), make_encoder()
    report = long_tail_report(
        encoder, split, name="x", shots=5, draws=2, seed=1, batch_size=16
    )
    train, probe, test = (
        encoder.predict(x, verbose=0, batch_size=16)
        for x in (split.x_train, split.x_probe, split.x_test)
    )
    balanced = probe, split.y_probe, test, split.y_test
    bank = train, split.y_train, test, split.y_test
    assert report.class_counts == (40, 4, 20, 9)
    assert report.class_names == ("ant", "bee", "cat", "dog")
    assert dict(report.probes) == {
        "linear": linear_probe(*balanced),
        "few_shot": few_shot_probe(*balanced, shots=5, draws=2, seed=1),
        "knn": knn_probe(*bank, k=10),
        "knn1": knn_probe(*bank, k=1),
    }
    numbers = report.summary()["knn"]
    accuracy = report.probes["knn"].class_accuracy
    assert numbers["few"] == accuracy[1]
    assert numbers["medium"] == accuracy[3]
    assert numbers["many"] == accuracy[[0, 2]].mean()
    assert numbers["accuracy"] == accuracy.mean()
    assert numbers["balancedness"] == np.std(
        [numbers["many"], numbers["medium"], numbers["few"]]
    )


def test_every_image_set_is_embedded_once_and_progress_says_so():
    split, lines = make_split(), []
    long_tail_report(make_encoder(), split, draws=1, progress=lines.append)
    embedded = [line for line in lines if line.startswith("embedding")]
    assert embedded == [
        "embedding 73 training images",
        "embedding 48 labeled images",
        "embedding 40 test images",
    ]
    assert len(lines) == 6


def test_split_may_hold_features_already():
    split, encoder = make_split(), make_encoder()
    expected = long_tail_report(encoder, split, draws=1)
    for part in ("train", "probe", "test"):
        images = getattr(split, f"x_{part}")
        features = encoder.predict(images, verbose=0, batch_size=256)
        setattr(split, f"x_{part}", features)
    assert long_tail_report(None, split, draws=1) == expected


@pytest.mark.every_backend
def test_bfloat16_features_are_taken():
    inputs = keras.Input((6, 6, 1))
    outputs = keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16")(inputs)
    outputs = keras.layers.Flatten(dtype="mixed_bfloat16")(outputs)
    encoder = keras.Model(inputs, outputs)
    report = long_tail_report(encoder, make_split(), draws=1)
    assert report.summary()["linear"]["accuracy"] > 0.5


@pytest.mark.parametrize("groups", ["thirds", "thresholds"])
def test_json_round_trip_keeps_every_number(groups):
    report = make_report(groups=groups)
    assert LongTailReport.from_json(report.to_json()) == report


def test_json_is_strict_and_nan_is_null():
    probes = dict.fromkeys(
        ("linear", "few_shot", "knn", "knn1"),
        ProbeResult([0, 1, 2], [[0.5, np.nan, 1.0]]),
    )
    report = LongTailReport(
        "é", ("a", "b", "c"), (200, 150, 3), "thresholds", 10, probes
    )
    text = report.to_json()

    def no_constants(name):
        raise AssertionError(name)

    content = json.loads(text, parse_constant=no_constants)
    assert content["summary"]["knn"]["medium"] is None
    assert content["probes"]["knn"]["draw_accuracy"] == [[0.5, None, 1.0]]
    assert LongTailReport.from_json(text) == report


def test_text_fits_100_columns_and_shows_percent():
    report = make_report(name="a rather long name " * 5)
    text = report.to_text()
    assert max(map(len, text.splitlines())) <= 100
    few = report.probes["knn"].class_accuracy[1]
    row = next(line for line in text.splitlines() if line.startswith("10-NN"))
    assert row.split()[-2] == f"{100 * few:.1f}"
    assert text.isascii()


def test_classes_are_listed_from_head_to_tail():
    text = make_report().to_text()
    assert text.index("\nant ") < text.index("\ncat ") < text.index("\nbee ")


def test_many_classes_are_cut_in_the_middle():
    accuracy = ProbeResult(np.arange(100), np.full((1, 100), 0.5))
    report = LongTailReport(
        "x",
        tuple(f"class {c}" for c in range(100)),
        tuple(range(100, 0, -1)),
        "thirds",
        10,
        dict.fromkeys(("linear", "few_shot", "knn", "knn1"), accuracy),
    )
    for text in (report.to_text(), report.to_markdown()):
        assert "... 80 more" in text
        assert "class 9 " in text
        assert "class 90 " in text
        assert "class 10 " not in text
    assert "class 10 " in report.to_text(max_classes=100)
    assert "class 0 " in report.to_text(max_classes=1)


def test_empty_group_is_a_dash():
    text = make_report(groups="thresholds").to_text()
    assert "-" in text
    report = LongTailReport(
        "x",
        ("a", "b"),
        (500, 3),
        "thresholds",
        10,
        dict.fromkeys(
            ("linear", "few_shot", "knn", "knn1"),
            ProbeResult([0, 1], [[0.5, 0.25]]),
        ),
    )
    row = next(
        line for line in report.to_text().splitlines() if "1-NN, " in line
    )
    assert row.split()[-5:] == ["37.5", "50.0", "-", "25.0", "12.5"]


def test_markdown_has_tables_of_equal_rows_and_escapes_bars():
    report = make_report(name="a|b")
    for text in (
        report.to_markdown(),
        compare_reports([report], format="markdown"),
    ):
        assert r"a\|b" in text
        for block in text.split("\n\n"):
            cells = {
                line.replace(r"\|", "").count("|")
                for line in block.splitlines()
                if line.startswith("|")
            }
            assert len(cells) <= 1


def test_comparison_has_a_row_for_each_run_and_fits_100_columns():
    reports = [make_report("simclr"), make_report("tase " * 9, 0.5)]
    text = compare_reports(reports)
    assert max(map(len, text.splitlines())) <= 100
    rows = [line for line in text.splitlines() if line.startswith("simclr")]
    numbers = [
        f"{100 * value:.1f}"
        for probe in ("linear", "few_shot", "knn", "knn1")
        for value in reports[0].summary()[probe].values()
    ]
    shown = " ".join(rows).replace("simclr", "").replace("|", "").split()
    assert shown == numbers


def test_reports_of_the_same_name_are_averaged_number_by_number():
    reports = [make_report("tase", 0.0), make_report("tase", 0.5)]
    text = compare_reports([*reports, make_report("simclr")])
    row = next(line for line in text.splitlines() if line.startswith("tase"))
    mean = np.mean([r.summary()["linear"]["few"] for r in reports])
    assert row.startswith("tase (mean of 2)")
    assert row.split("|")[1].split()[3] == f"{100 * mean:.1f}"


@pytest.mark.parametrize(
    ("reports", "style", "message"),
    [
        ([], "text", "at least one"),
        ([make_report()], "html", "format='html'"),
        ([make_report(), make_report(shots=5)], "text", "same groups, shots"),
        ([make_report(), make_report(draws=5)], "text", "same groups, shots"),
        (
            [make_report(), make_report(groups="thresholds")],
            "text",
            "same groups, shots",
        ),
    ],
)
def test_reports_that_do_not_compare_are_refused(reports, style, message):
    with pytest.raises(ValueError, match=message):
        compare_reports(reports, format=style)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be the JSON"),
        ("[1]", "Received: list"),
        ('{"format": "other", "version": 1}', "'other'"),
        (
            '{"format": "keras_ltssl.long_tail_report", "version": 1}',
            "lacks a part.*name",
        ),
    ],
)
def test_text_that_is_no_report_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        LongTailReport.from_json(text)


def test_report_with_parts_that_do_not_fit_is_refused():
    report = make_report()
    arguments = {
        "name": "x",
        "class_names": report.class_names,
        "class_counts": report.class_counts,
        "groups": "thirds",
        "shots": 10,
        "probes": report.probes,
    }
    for change, message in (
        ({"class_names": ("a", "b")}, "2 names, 3 counts"),
        ({"probes": {"knn": report.probes["knn"]}}, "Received: .*'knn'"),
        ({"groups": "halves"}, "halves"),
    ):
        with pytest.raises(ValueError, match=message):
            LongTailReport(**(arguments | change))


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("y_train", np.arange(3), "`y_train`.*3 labels for 73 rows"),
        ("y_probe", np.arange(48.0), "`y_probe` must be integers"),
        ("y_test", np.repeat([0, 1, 2, 5], 10), "occur in `y_train`.*5"),
        ("y_test", np.repeat([0, 1], 20), "`y_train`.*occur in `y_test`.*2, 3"),
        ("y_probe", np.repeat([0, 1], 24), "occur in `y_probe`.*2, 3"),
        ("class_names", ["a"], "1 names for 4 classes"),
    ],
)
def test_bad_split_is_refused_before_anything_is_embedded(part, value, message):
    split = make_split()
    setattr(split, part, value)
    lines = []
    with pytest.raises(ValueError, match=message):
        long_tail_report(make_encoder(), split, progress=lines.append)
    assert not lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shots": 13}, "shots=13, and a class with 12"),
        ({"shots": 0}, "shots=0"),
        ({"draws": 0}, "draws=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"groups": "halves"}, "halves"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_embedded(
    arguments, message
):
    lines = []
    with pytest.raises(ValueError, match=message):
        long_tail_report(
            make_encoder(), make_split(), progress=lines.append, **arguments
        )
    assert not lines


def test_bad_encoder_is_refused():
    with pytest.raises(ValueError, match=r"keras.Model.*Received: int"):
        long_tail_report(3, make_split())
    with pytest.raises(ValueError, match="pool its feature map"):
        long_tail_report(make_encoder(pool=False), make_split())
    with pytest.raises(ValueError, match="pool feature maps"):
        long_tail_report(None, make_split())


def test_diverged_encoder_is_refused():
    encoder = make_encoder()
    # TensorFlow's ReLU turns NaN into 0: the bias of a last layer does not.
    features = keras.layers.Dense(2)(encoder.output)
    encoder = keras.Model(encoder.input, features)
    encoder.set_weights([w * np.nan for w in encoder.get_weights()])
    with pytest.raises(ValueError, match="must be finite"):
        long_tail_report(encoder, make_split())
