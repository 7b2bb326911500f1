"""Each room of the package imports only from the rooms below it."""

import ast
from pathlib import Path

import pytest

import keras_ltssl

PACKAGE = Path(keras_ltssl.__file__).parent

# What every room may use: no room is below these.
GROUND = {"types", "validation", "sample_ids", "learning_limits", "version"}

# The rooms that each room may import from, beside itself and the ground.
BELOW = {
    "arrays": set(),
    "backend": set(),
    "schedules": set(),
    "initializers": set(),
    "views": {"backend"},
    "datasets": {"arrays"},
    "samplers": {"arrays"},
    "evaluation": {"arrays", "samplers", "datasets", "backend"},
    "report": {"arrays", "datasets", "samplers", "evaluation"},
    "state": {"backend", "initializers"},
    "losses.kernels": {"backend", "state"},
    "losses": {"losses.kernels", "state", "backend", "schedules"},
    "layers": {"state", "views"},
    "models": {"losses", "state", "views", "layers", "backend", "datasets"},
    "callbacks": {
        *("models", "losses", "state", "backend", "schedules"),
        *("datasets", "samplers", "evaluation", "arrays"),
    },
    "command": {
        *("callbacks", "models", "losses", "schedules", "layers"),
        *("datasets", "samplers", "evaluation", "arrays", "report"),
    },
    # It only calls `keras_ltssl_command`, which is beside the package.
    "__main__": set(),
}


def room_of(module):
    """Returns the room of a module, a name such as `losses.nt_xent`."""
    first, *rest = module.split(".")
    if first == "losses" and rest[:1] == ["kernels"]:
        return "losses.kernels"
    return first


def imports_of(path):
    """Yields the modules of this package that a file imports, as names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module in ("keras_ltssl", "keras_ltssl.losses"):
                names = [f"{node.module}.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("keras_ltssl."):
                yield name.removeprefix("keras_ltssl.")


MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"
}


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_from_the_rooms_below_it(module):
    room = room_of(module)
    allowed = {room} | GROUND | BELOW.get(room, set())
    upward = [
        name
        for name in imports_of(MODULES[module])
        if room_of(name) not in allowed
    ]
    assert not upward


def test_rooms_form_no_circle():
    def below(room, above=()):
        assert room not in above, " -> ".join([*above, room])
        for lower in BELOW[room]:
            below(lower, (*above, room))

    for room in BELOW:
        below(room)


def test_every_room_has_its_floor():
    assert {room_of(module) for module in MODULES} == set(BELOW) | GROUND


def test_only_one_room_asks_which_backend_runs():
    asking = {
        room_of(module)
        for module, path in MODULES.items()
        if "backend.backend()" in path.read_text()
    }
    assert asking <= {"backend"}
