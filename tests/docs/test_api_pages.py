import importlib
import re
from pathlib import Path

import pytest

import keras_ltssl

PAGES = Path(__file__).parents[2] / "docs" / "api"
SUBPACKAGES = [name for name in keras_ltssl.__all__ if name != "__version__"]


def _names_on_page(subpackage):
    page = (PAGES / f"{subpackage}.md").read_text(encoding="utf-8")
    return re.findall(rf"(?m)^::: keras_ltssl\.{subpackage}\.(\w+)$", page)


@pytest.mark.parametrize("subpackage", SUBPACKAGES)
def test_every_public_name_is_on_the_page_of_its_subpackage(subpackage):
    public = importlib.import_module(f"keras_ltssl.{subpackage}").__all__

    assert sorted(_names_on_page(subpackage)) == sorted(public)


@pytest.mark.parametrize("subpackage", SUBPACKAGES)
def test_every_page_is_in_the_navigation_and_in_the_overview(subpackage):
    navigation = (PAGES.parents[1] / "mkdocs.yml").read_text(encoding="utf-8")
    overview = (PAGES / "index.md").read_text(encoding="utf-8")

    assert f": api/{subpackage}.md" in navigation
    assert f"({subpackage}.md)" in overview
