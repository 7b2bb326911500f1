"""The code of the documentation compiles, and runs on a little data.

What a page shows runs from top to bottom, as it is printed but for numbers that
only make it slow, which `SMALL` replaces. A comment `<!-- shown, not run -->`
before a block excepts it: it needs files, or devices, or repeats a run.
"""

import ast
import re
import textwrap
import types
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_ltssl as lt

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
BLOCK = re.compile(
    r"(?ms)^(?P<indent> *)(?P<shown><!-- shown, not run -->\n\s*)?"
    r"```(?:python|\{ *\.python[^\n]*)\n(?P<code>.*?)^ *```$"
)
SMALL = {
    "batch_size": 16,
    "budget": 8,
    "epochs": 2,
    "image_size": 8,
    "input_shape": (8, 8, 3),
    "interval": 1,
    "num_prototypes": 4,
    "num_targets": 4,
    "passes": 1,
    "queue_size": 32,
    "start": 1,
    "warmup_epochs": 1,
    "warmup_steps": 1,
}
# All pages run on PyTorch, which compiles nothing. Elsewhere compiling takes
# seconds for each training, so only these run there.
RUN_COMPILED = {
    "tensorflow": (
        "index.md",
        "guides/geometric_harmonization.md",
        "guides/tase.md",
        "guides/your_own_data.md",
    ),
    "jax": ("index.md", "guides/your_own_data.md"),
}


def _blocks(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        (textwrap.dedent(match["code"]), match["shown"] is None)
        for match in BLOCK.finditer(text)
    ]


class _MakeSmall(ast.NodeTransformer):
    def visit_keyword(self, node):
        self.generic_visit(node)
        if node.arg in SMALL:
            try:
                ast.literal_eval(node.value)
            except ValueError:  # A name, which is small already.
                return node
            node.value = ast.parse(repr(SMALL[node.arg]), mode="eval").body
        return node


def _little_data():
    """Returns what pages take for granted, under the names they give it."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), [40, 16, 8])
    images = random.integers(0, 256, (64, 8, 8, 3)).astype("uint8")
    encoder = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(8),
        ]
    )
    few = np.repeat(np.arange(3), 12)
    return {
        "keras": keras,
        "np": np,
        "lt": lt,
        "encoder": encoder,
        "model": types.SimpleNamespace(encoder=encoder),
        "history": {"temperature": [0.2, 0.1]},
        "images": images,
        "ids": np.arange(64),
        "labels": labels,
        "scores": labels[::-1] / 3.0,
        "pool": random.integers(0, 256, (24, 8, 8, 3)).astype("uint8"),
        "split": lt.datasets.LongTailSplit(
            images,
            labels,
            images[:36],
            few,
            images[28:],
            few,
            class_names=("cat", "dog", "emu"),
        ),
    }


def test_blocks_are_found_and_few_are_only_shown():
    runs = [run for page in PAGES for _, run in _blocks(page)]

    assert sum(runs) > 25
    assert sum(runs) > 2 * (len(runs) - sum(runs))


@pytest.mark.parametrize("page", PAGES)
def test_every_python_block_compiles(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = _blocks(page)

    assert len(blocks) == len(re.findall(r"(?m)^ *```\{? *\.?python", text))
    for code, _ in blocks:
        compile(code, page, "exec")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(run for _, run in _blocks(page))]
)
def test_what_a_page_shows_runs(page, tmp_path, monkeypatch):
    if page not in RUN_COMPILED.get(keras.backend.backend(), PAGES):
        pytest.skip("runs on PyTorch, where nothing has to be compiled")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    names = _little_data()
    for code, run in _blocks(page):
        if run:
            small = _MakeSmall().visit(ast.parse(code))
            exec(compile(ast.fix_missing_locations(small), page, "exec"), names)
