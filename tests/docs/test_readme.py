"""The code of the README runs as it is written, on a folder of photos."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

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
