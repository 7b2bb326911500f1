"""The Kaggle notebook: one with its script, without outputs, and it runs."""

import csv
import json
import re
from pathlib import Path

import keras
import pytest

jupytext = pytest.importorskip("jupytext")
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPT = EXAMPLES / "keras_ltssl_kaggle.py"
METADATA = json.loads((EXAMPLES / "kernel-metadata.json").read_text())
NOTEBOOK = EXAMPLES / METADATA["code_file"]


def content(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_notebook_and_script_agree():
    made = jupytext.read(SCRIPT)
    stored = nbformat.read(NOTEBOOK, as_version=4)
    assert content(stored) == content(made), "Run `make notebook`."
    assert stored.metadata["kernelspec"] == made.metadata["kernelspec"]


def test_the_stored_notebook_is_valid_and_holds_no_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_the_backend_is_set_before_keras_is_imported():
    script = SCRIPT.read_text()
    set_at = script.index('os.environ.setdefault("KERAS_BACKEND"')
    assert set_at < script.index("import keras\n")


def test_the_metadata_is_what_kaggle_takes():
    # Kaggle makes the slug of the title, and it must be the one in the id.
    user, slug = METADATA["id"].split("/")
    assert user
    assert slug == re.sub("[^a-z0-9]+", "-", METADATA["title"].lower())
    assert 5 <= len(METADATA["title"]) <= 50
    assert NOTEBOOK.suffix == ".ipynb"
    assert METADATA["language"] == "python"
    assert METADATA["kernel_type"] == "notebook"
    for name in ("is_private", "enable_gpu", "enable_tpu", "enable_internet"):
        assert isinstance(METADATA[name], bool)
    for name in ("dataset", "competition", "kernel", "model"):
        assert METADATA[f"{name}_sources"] == []
    assert METADATA["keywords"] == []


# pyzmq and asyncio close what a kernel leaves open when they are collected.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_it_runs_from_start_to_end(tmp_path, monkeypatch):
    monkeypatch.setenv("EPOCHS", "1")
    monkeypatch.setenv("BUDGET", "40")
    monkeypatch.setenv("PRECISION", "float32")
    monkeypatch.delenv("PHOTOS", raising=False)
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    run = nbclient.NotebookClient(
        notebook,
        timeout=600,
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()  # An exception in a cell is one here.

    outputs = [
        output
        for cell in run.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    text = "".join(output.get("text", "") for output in outputs)
    for line in (
        f"{keras.backend.backend()} backend, float32",
        "1389 photos of 10 classes",
        "untrained",
        "SimCLR",
        "BCL",
        "Tail diagnosis of 1,389 samples",
        "classes found: chosen   at random",
        "random labels, plain",
        "chosen labels, plain",
        "chosen labels, adjusted",
    ):
        assert line in text
    # Each method learns something else, and the two losses differ.
    rows = re.findall(r"(?m)^(untrained|SimCLR|BCL) +(all .*)$", text)
    assert len({accuracies for _, accuracies in rows}) == 3
    plain, adjusted = re.findall(r"(?m)^chosen labels, \S+ +(all .*)$", text)
    assert plain != adjusted
    kinds = [kind for o in outputs for kind in o.get("data", {})]
    assert kinds.count("image/png") == 3
    assert kinds.count("image/jpeg") == 1
    with open(tmp_path / "to_label.csv", newline="") as file:
        to_label = list(csv.DictReader(file))
    assert len(to_label) == 40
    assert all((tmp_path / "photos" / row["path"]).exists() for row in to_label)
    classifier = keras.models.load_model(
        tmp_path / "classifier.keras", compile=False
    )
    assert classifier.output_shape == (None, 10)
