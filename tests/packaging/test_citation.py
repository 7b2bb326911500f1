"""The citation file goes with the package."""

import re
from pathlib import Path

import keras_ltssl

CITATION = Path(__file__).parents[2] / "CITATION.cff"


def test_version_and_papers_are_those_of_the_package():
    text = CITATION.read_text(encoding="utf-8")
    (version,) = re.findall(r"(?m)^version: (.+)$", text)
    assert version == keras_ltssl.__version__
    assert text.count("  - type: ") - text.count("      - type: ") == 4
    for paper in ("2410.22883", "2303.13664", "2310.17622", "2306.04934"):
        assert f"https://arxiv.org/abs/{paper}" in text
