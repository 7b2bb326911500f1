"""The words of the project: American spelling and one form of docstrings."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

import keras_ltssl

ROOT = Path(__file__).parents[2]
PACKAGE = Path(keras_ltssl.__file__).parent

# Stems of British words, each with its American stem.
SPELLINGS = {
    "analyse": "analyze",
    "artefact": "artifact",
    "behaviour": "behavior",
    "binaris": "binariz",
    "catalogue": "catalog",
    "categoris": "categoriz",
    "centred": "centered",
    "centre": "center",
    "centring": "centering",
    "characteris": "characteriz",
    "colour": "color",
    "customis": "customiz",
    "equalis": "equaliz",
    "favour": "favor",
    "generalis": "generaliz",
    "greyscale": "grayscale",
    "grey": "gray",
    "harmonis": "harmoniz",
    "honour": "honor",
    "initialis": "initializ",
    "judgement": "judgment",
    "labelled": "labeled",
    "labelling": "labeling",
    "licence": "license",
    "maximis": "maximiz",
    "memoris": "memoriz",
    "minimis": "minimiz",
    "modelling": "modeling",
    "neighbour": "neighbor",
    "normalis": "normaliz",
    "optimis": "optimiz",
    "organis": "organiz",
    "parallelis": "paralleliz",
    "penalis": "penaliz",
    "posteris": "posteriz",
    "quantis": "quantiz",
    "randomis": "randomiz",
    "recognis": "recogniz",
    "regularis": "regulariz",
    "serialis": "serializ",
    "solaris": "solariz",
    "specialis": "specializ",
    "standardis": "standardiz",
    "summaris": "summariz",
    "synchronis": "synchroniz",
    "travelling": "traveling",
    "utilis": "utiliz",
    "vectoris": "vectoriz",
    "visualis": "visualiz",
    "whilst": "while",
}
BRITISH = re.compile(rf"(?i)({'|'.join(SPELLINGS)})")
# What keeps its spelling: addresses, names that stored runs mention, and an
# argument of the kernels.
SKIPPED = re.compile(
    r"https?://\S+|labelled_images\.py|\bnormalised\b|\"neighbours\"|parallelism"
)
SUFFIXES = {".cff", ".ipynb", ".md", ".py", ".toml", ".yml", ""}


def texts():
    """Yields the files of the repository that people read, but for this one."""
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split("\n")
    for path in [ROOT / name for name in names] or PACKAGE.rglob("*.py"):
        is_text = path.is_file() and path.suffix in SUFFIXES
        # Tables of stored runs quote them.
        if is_text and path not in (
            Path(__file__),
            ROOT / "docs" / "benchmark.md",
        ):
            yield path


def docstrings():
    """Yields each docstring of the package, with the place where it is."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(
                node, ast.Module | ast.ClassDef | ast.FunctionDef
            ) and (text := ast.get_docstring(node)):
                name = getattr(node, "name", "module")
                yield f"{path.relative_to(PACKAGE)}:{name}", text


def section(text, title):
    """Returns the lines of a section of a docstring, without its indent."""
    found = re.search(rf"(?m)^{title}:\n((?:    .*\n?|\n)+)", text)
    return [line[4:] for line in found[1].split("\n")] if found else []


def test_spelling_is_american():
    wrong = [
        f"{path.relative_to(ROOT)}:{number} {word[0]}"
        for path in texts()
        for number, line in enumerate(
            path.read_text(encoding="utf-8").split("\n"), start=1
        )
        for word in BRITISH.finditer(SKIPPED.sub("", line))
    ]
    assert not wrong


def test_no_summary_says_or_tells():
    wrong = [
        place
        for place, text in docstrings()
        if re.match(r"(Says|Tells|What is wrong)\b", text)
    ]
    assert not wrong


@pytest.mark.parametrize("title", ["Args", "Call arguments", "Attributes"])
def test_entries_of_arguments_begin_with_a_capital(title):
    wrong = [
        f"{place} {line}"
        for place, text in docstrings()
        for line in section(text, title)
        if re.match(r"\*{0,2}\w+: (?!float|int|uint|[b-z]\b)[a-z]", line)
    ]
    assert not wrong


def test_references_are_lists_of_links():
    wrong = [
        place
        for place, text in docstrings()
        if (lines := section(text, "Reference"))
        and not (lines[0].startswith("- ") and "](https://" in "\n".join(lines))
    ]
    assert not wrong
