"""The code of the README runs as it is written, on a folder of photos."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

import keras_ltssl_command

README = Path(__file__).parents[2] / "README.md"
ROOT = README.parent
# Photos of each class, cut from two real ones.
CLASSES = {"flower": 20, "temple": 12, "sky": 6}


@pytest.fixture
def photos(tmp_path):
    """A folder `photos/CLASS/NUMBER.jpg`."""
    image = pytest.importorskip("PIL.Image")
    temple, flower = load_sample_images().images
    sources = {"flower": flower, "temple": temple[200:], "sky": temple[:140]}
    random = np.random.default_rng(0)
    for name, count in CLASSES.items():
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        height, width, _ = sources[name].shape
        for number in range(count):
            top = random.integers(height - 120)
            left = random.integers(width - 160)
            part = sources[name][top : top + 120, left : left + 160]
            image.fromarray(part).save(folder / f"{number}.jpg")
    return tmp_path


@pytest.mark.every_backend
def test_the_commands_run_on_a_folder_of_photos(photos, monkeypatch):
    shell = re.findall(
        r"(?m)^keras-ltssl .*$", README.read_text(encoding="utf-8")
    )
    assert shell == [
        "keras-ltssl pretrain photos/ --output run",
        "keras-ltssl suggest run --budget 100",
    ]
    monkeypatch.chdir(photos)
    for line in shell:
        # As written, but for the length, and for how few photos there are.
        line = line.replace("--output", "--epochs 2 --output")
        _, *arguments = line.replace("100", "10").split()
        assert keras_ltssl_command.run(arguments) == 0, line

    features = np.load("run/features.npy")
    assert len(features) == sum(CLASSES.values())
    assert np.isfinite(features).all()
    assert "<html" in Path("run/report.html").read_text(encoding="utf-8")
    assert len(Path("run/to_label.csv").read_text().splitlines()) == 11
    assert Path("run/to_label.jpg").exists()


def test_first_use_runs_on_a_folder_of_photos(photos, monkeypatch, capsys):
    blocks = re.findall(
        r"(?ms)^```python\n(.*?)^```$", README.read_text(encoding="utf-8")
    )
    code = "\n".join(blocks)
    assert "epochs=100" in code
    monkeypatch.chdir(photos)
    names = {}
    exec(code.replace("epochs=100", "epochs=2"), names)

    assert len(blocks) == 2
    assert len(names["photos"].images) == sum(CLASSES.values())
    assert np.isfinite(names["features"]).all()
    assert (photos / "encoder.keras").exists()
    assert "GroupAccuracy(many=" in capsys.readouterr().out
    counts = np.bincount(names["labels"])
    classes = names["labeled"].class_names
    assert dict(zip(classes, counts, strict=True)) == CLASSES
    assert len(names["photos"].paths) == sum(CLASSES.values())


def test_links_lead_to_files():
    targets = re.findall(r"\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]

    assert len(local) > 10
    for target in local:
        assert (ROOT / target.split("#")[0]).exists(), target
