"""The short script of each method runs on its bundled data."""

from pathlib import Path

import keras
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = (
    "boosted_memory",
    "byol",
    "colt",
    "further_losses",
    "geometric_harmonization",
    "mak",
    "moco",
    "sdclr",
    "simclr",
    "sogclr",
    "tase",
    "temperature_schedule",
)
# Elsewhere compiling takes up to half a minute for each script.
RUN_COMPILED = ("tase",)
# Two epochs instead of 30; what happens on the way happens at once.
SHORTER = {
    "epochs=30": "epochs=2",
    "start=10": "start=1",
    "warmup_epochs=15": "warmup_epochs=1",
    "ramp_epochs=2": "ramp_epochs=0",
    "warmup_steps=20": "warmup_steps=1",
}


def code_of(script):
    return (EXAMPLES / f"{script}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_has_at_most_40_lines(script):
    assert len(code_of(script).splitlines()) <= 40


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_trains_and_reports(script, tmp_path, monkeypatch, capsys):
    if keras.backend.backend() != "torch" and script not in RUN_COMPILED:
        pytest.skip("runs on PyTorch, where nothing has to be compiled")
    code = code_of(script)
    assert "epochs=30" in code
    for long, short in SHORTER.items():
        code = code.replace(long, short)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, script, "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out

    assert "few-shot" in printed
    assert "nan" not in printed
