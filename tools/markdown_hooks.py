"""What the pages need beyond Markdown: links to the API, docstrings as pages.

MkDocs loads this file as a hook, which sees every page, and Griffe as an
extension, which sees every docstring.
"""

import ast
import re
import textwrap
from pathlib import Path
from typing import Any

import griffe

PACKAGE = Path(__file__).parent.parent / "keras_ltssl"
# Sections that Griffe does not know, or takes for something else.
SECTIONS = (
    "Call arguments",
    "Call returns",
    "Indexing returns",
    "Input shape",
    "Output shape",
    "Reference",
    "Returns",
)
CODE = re.compile(r"`(?:lt\.)?((?:\w+\.)?\w+)(\([^`]*\))?`")
ARXIV = re.compile(r"\barXiv:(\d{4}\.\d{5})")


def public_names() -> dict[str, str]:
    """Returns where each name of the API is, with and without subpackage."""
    identifiers = {}
    for init in sorted(PACKAGE.glob("*/__init__.py")):
        tree = ast.parse(init.read_text(encoding="utf-8"))
        sources = {
            alias.name: node.module
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for node in tree.body:
            if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
                for name in ast.literal_eval(node.value):
                    identifier = f"{sources[name]}.{name}"
                    identifiers[name] = identifier
                    identifiers[f"{init.parent.name}.{name}"] = identifier
    return identifiers


NAMES = public_names()


def with_links(
    text: str, own_name: str = "", code: tuple[str, ...] = ("    ", ">>>")
) -> str:
    """Makes links of the API's names in backticks, and of arXiv numbers.

    Lines that begin with one of `code` stay as they are.
    """

    def link(match: re.Match[str]) -> str:
        name = match[1]
        if name not in NAMES or name.rpartition(".")[2] == own_name:
            return match[0]
        return f"[{match[0]}][{NAMES[name]}]"

    lines, fenced = [], False
    for line in text.split("\n"):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        if not (fenced or line.startswith(("#", *code))):
            # A wrapped ">= 0" is no quotation.
            line = re.sub(r"^( *)>(?=[= ])", r"\1\>", line)
            line = CODE.sub(link, line)
            if "](" not in line:
                line = ARXIV.sub(r"[\g<0>](https://arxiv.org/abs/\1)", line)
        lines.append(line)
    return "\n".join(lines)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Hook of MkDocs: the Markdown of a page, before it is rendered."""
    # A function may have the name of its module (`losses.nt_xent`), so pages of
    # the API name what is public and this line where it is defined.
    markdown = re.sub(
        r"(?m)^::: keras_ltssl\.(\w+\.\w+)$",
        lambda match: f"::: {NAMES[match[1]]}",
        markdown,
    )
    return with_links(markdown)


def as_markdown(docstring: str, own_name: str = "") -> str:
    """Returns a docstring whose every section Griffe or Markdown renders."""
    result, block = [], []
    title = None
    lines = docstring.split("\n")
    for index, line in enumerate(lines):
        begins = re.fullmatch(r"([A-Z][a-z]+(?: [a-z]+)?):", line)
        follows = lines[index + 1] if index + 1 < len(lines) else ""
        if begins and (begins[1] == "Example" or follows.startswith("    ")):
            result += _section(title, block, own_name)
            title, block = begins[1], []
        elif (
            title not in (None, "Example")
            and line
            and not line.startswith("    ")
        ):
            result += _section(title, block, own_name)
            title, block = None, [line]
        else:
            block.append(line)
    return "\n".join(result + _section(title, block, own_name))


def _section(title: str | None, block: list[str], own_name: str) -> list[str]:
    text = "\n".join(block)
    if title is None:
        return with_links(text, own_name).split("\n")
    if title == "Example":
        # Griffe renders prompts and what they print, once they are indented.
        body = textwrap.indent(text.strip("\n"), "    ")
        return ["Examples:", *body.split("\n"), ""]
    # What is indented further goes on with an item.
    body = with_links(textwrap.dedent(text).strip("\n"), own_name, code=())
    if title not in SECTIONS:
        return [f"{title}:", *textwrap.indent(body, "    ").split("\n"), ""]
    if title == "Call arguments":
        body = re.sub(r"(?m)^(\*{0,2}\w+): ", r"`\1`: ", body)
    # One item for each line that is not indented and begins a new one.
    items: list[str] = []
    for line in body.split("\n"):
        starts = title == "Call arguments" and line.startswith("`")
        if starts or line.startswith("- ") or not items:
            items.append(f"- {line.removeprefix('- ')}")
        else:
            items.append(f"    {line.strip()}" if line else line)
    heading = f'<span class="doc-section-title">{title}:</span>'
    return [heading, "", *items, ""]


class DocstringsAsMarkdown(griffe.Extension):
    """Extension of Griffe: changes docstrings before they are parsed."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrites the docstring of one module, class or function."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value, obj.name)
