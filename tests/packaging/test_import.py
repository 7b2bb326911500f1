"""What `import keras_ltssl` brings along, and where it comes from."""

import ast
import importlib
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_ltssl

# Beyond what Keras itself imports, which is no business of ours.
NEW_MODULES = """
import json, sys
import keras
before = {name.partition(".")[0] for name in sys.modules}
import keras_ltssl
after = {name.partition(".")[0] for name in sys.modules}
print(json.dumps(sorted(after - before)))
"""
OPTIONAL = {"matplotlib", "PIL", "mlxtend", "faiss", "grain", "keras_cv"}
BACKENDS = {"tensorflow", "torch", "jax"}
# Imported by a function, and only where that backend is the one in use.
OF_ONE_BACKEND = {
    "jax_processes": "jax",
    "tensorflow_workers": "tensorflow",
} | dict.fromkeys(
    (
        "torch_checks",
        "torch_copies",
        "torch_graph",
        "torch_image_layers",
        "torch_layers",
        "torch_modules",
        "torch_normalization",
        "torch_processes",
        "torch_randomness",
        "torch_steps",
        "torch_tensors",
        "torch_transfer",
        "torch_values",
    ),
    "torch",
)


@pytest.mark.every_backend
def test_no_extra_and_no_second_backend_is_imported():
    output = subprocess.run(
        [sys.executable, "-c", NEW_MODULES],
        check=True,
        capture_output=True,
        text=True,
        env=dict(os.environ),
    ).stdout
    new = set(json.loads(output.splitlines()[-1]))
    assert "keras_ltssl" in new
    assert not new & (OPTIONAL | BACKENDS)


def imported_at_once(source):
    """Packages that a module imports when it is imported itself."""
    waiting, packages = list(ast.parse(source).body), set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            packages |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            packages.add((node.module or "").partition(".")[0])
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)
    return packages


def test_no_module_imports_an_extra_or_a_backend_at_once():
    # Keras may have imported them already, which hides them from the above.
    for path in Path(keras_ltssl.__file__).parent.rglob("*.py"):
        packages = imported_at_once(path.read_text(encoding="utf-8"))
        allowed = {OF_ONE_BACKEND.get(path.stem)}
        assert not packages & (OPTIONAL | BACKENDS) - allowed, path


@pytest.mark.every_backend
def test_every_module_can_be_imported():
    names = [
        module.name
        for module in pkgutil.walk_packages(
            keras_ltssl.__path__, prefix="keras_ltssl."
        )
    ]
    assert len(names) > 80
    for name in names:
        backend = OF_ONE_BACKEND.get(name.rpartition(".")[2])
        if backend in (None, keras.backend.backend()):
            importlib.import_module(name)


def test_type_checkers_are_told_of_the_annotations():
    assert (Path(keras_ltssl.__file__).parent / "py.typed").exists()


@pytest.mark.skipif(
    "EXPECT_INSTALLED" not in os.environ, reason="not the job of the wheel"
)
def test_the_package_under_test_is_the_installed_one():
    folder = Path(keras_ltssl.__file__).parent
    assert folder.parent.name == "site-packages"
    assert folder.is_relative_to(sys.prefix)
    assert folder.parent == Path(keras.__file__).parents[1]
