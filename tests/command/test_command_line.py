"""What the command says without Keras: help, and flags that are wrong."""

import json
import re
import subprocess
import sys

import pytest

from keras_ltssl_command import backends, run, subcommands

LIGHT = """
import sys
import keras_ltssl_command
keras_ltssl_command.run(sys.argv[1:])
heavy = {"keras", "numpy", "keras_ltssl"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["pretrain", "--help"], ["pretrain", "x", "--epochs=0"]],
)
def test_help_and_a_bad_flag_do_not_wait_for_keras(arguments):
    subprocess.run([sys.executable, "-c", LIGHT, *arguments], check=True)


@pytest.mark.parametrize("name", subcommands.SUBCOMMANDS)
def test_help_names_every_flag_and_fits_a_terminal(name, capsys):
    assert run([name, "--help"]) == 0
    text = capsys.readouterr().out
    for flag in subcommands.flags_of(name):
        assert flag in text
    assert max(map(len, text.splitlines())) < 80


def test_the_overview_names_every_subcommand(capsys):
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(
        f"keras-ltssl {name}" in text for name in subcommands.SUBCOMMANDS
    )
    assert run([]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["pretran"],
            "must be one of pretrain, report, suggest. Received",
        ),
        (["pretrain"], "must be given one folder, .* Received: none"),
        (["pretrain", "a", "b"], "must be given one folder, .* Received: a b"),
        (["pretrain", "a", "--epoch=3"], "Unknown .*'epoch'.*epochs"),
        (["pretrain", "a", "--epochs=0"], "`--epochs` must be .* --epochs=0"),
        (
            ["pretrain", "a", "--batch-size", "x"],
            "`--batch_size` must be an integer.* Received: --batch_size=x",
        ),
        (
            ["pretrain", "a", "--framework=swav"],
            "one of simclr, moco, byol, sdclr. Received: --framework=swav",
        ),
        (["suggest", "run", "--budget=0"], "`--budget` must be .*--budget=0"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(arguments, message, capsys):
    assert run(arguments) == 1
    captured = capsys.readouterr()
    assert not captured.out
    (line,) = captured.err.splitlines()
    assert re.search(message, line), line


@pytest.fixture
def no_choice(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    return tmp_path


def installed(monkeypatch, *names):
    monkeypatch.setattr(
        backends.importlib.util,
        "find_spec",
        lambda name: object() if name in names else None,
    )


def chosen(monkeypatch):
    backends.choose_backend()
    return backends.os.environ["KERAS_BACKEND"]


def test_the_backend_that_is_installed_is_taken(no_choice, monkeypatch):
    # Keras writes this file by itself.
    settings = json.dumps({"backend": "tensorflow"})
    (no_choice / "keras.json").write_text(settings)
    installed(monkeypatch, "torch")
    assert chosen(monkeypatch) == "torch"


def test_the_backend_of_keras_json_comes_first(no_choice, monkeypatch):
    (no_choice / "keras.json").write_text(json.dumps({"backend": "jax"}))
    installed(monkeypatch, "tensorflow", "jax")
    assert chosen(monkeypatch) == "jax"


def test_the_backend_of_the_environment_stays(no_choice, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    installed(monkeypatch, "tensorflow", "torch")
    assert chosen(monkeypatch) == "torch"


def test_a_backend_that_is_missing_is_named(no_choice, monkeypatch):
    installed(monkeypatch)
    with pytest.raises(ImportError, match="needs TensorFlow, PyTorch or JAX"):
        backends.choose_backend()
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    installed(monkeypatch, "torch")
    with pytest.raises(ImportError, match="KERAS_BACKEND=jax, with torch"):
        backends.choose_backend()
