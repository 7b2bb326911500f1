"""Links of the pages outside of the site lead to files and to sections.

MkDocs checks the links between the pages of the site.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (
    "BUILD_NOTES.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "benchmarks/RESULTS.md",
)


def anchor(title):
    """Returns the anchor that GitHub gives a section."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def anchors(page):
    text = page.read_text(encoding="utf-8")
    return {anchor(title) for title in re.findall(r"(?m)^#+ (.*)$", text)}


@pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="source archives leave files out"
)
@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files_and_sections(name):
    page = ROOT / name
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, section = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not section or section in anchors(target), link


def test_every_section_of_the_results_is_in_their_contents():
    text = (ROOT / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
    _, contents, *sections = re.split(r"(?m)^(?=## )", text)

    titles = re.findall(r"(?m)^##+ (.*)$", "".join(sections))
    assert len(titles) > 20
    assert re.findall(r"\[(.*)\]\(#", contents) == titles
