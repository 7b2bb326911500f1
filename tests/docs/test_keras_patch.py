"""The patch that is offered to Keras."""

import shutil
import subprocess
from pathlib import Path

import keras
import pytest

PATCH = (
    Path(__file__).parents[2] / "docs/design/keras_batch_normalization.patch"
)


@pytest.mark.skipif(
    keras.version() != "3.15.1", reason="The patch is for Keras 3.15.1."
)
@pytest.mark.skipif(not shutil.which("git"), reason="git applies it.")
def test_the_patch_applies_to_keras(tmp_path):
    site = Path(keras.__file__).parents[1]
    names = [
        line.removeprefix("+++ b/")
        for line in PATCH.read_text().splitlines()
        if line.startswith("+++ b/")
    ]
    assert "keras/src/backend/torch/nn.py" in names
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(site / name, tmp_path / name)
    subprocess.run(["git", "apply", PATCH], cwd=tmp_path, check=True)
    for name in names:
        text = (tmp_path / name).read_text()
        assert "fused_batch_normalization" in text or name.endswith("_test.py")
        compile(text, name, "exec")
