"""The command `keras-ltssl`: what it does before Keras is imported.

It stands beside the package and not in it, since importing anything in
`keras_ltssl` imports Keras and its backend. That takes seconds, which `--help`
and a misspelled flag need not wait for. And without a backend it fails, where
this chooses one that is installed.
"""

import importlib
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from absl import flags

from keras_ltssl_command.backends import choose_backend
from keras_ltssl_command.help_text import help_of, overview
from keras_ltssl_command.subcommands import SUBCOMMANDS, parse


def main() -> None:
    """Runs the command of the command line, and ends the process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs the command; what is wrong becomes a sentence, not a traceback.

    Args:
        arguments: Those of the command line, without the program.

    Returns:
        The exit code: 0, or 1 after an error.
    """
    first, *others = [*arguments, ""]
    if first in ("", "help", "-h", "--help", "-help", "--helpfull"):
        print(overview())
        return 0 if first else 1
    if first not in SUBCOMMANDS:
        return _fail(
            f"The first word must be one of {', '.join(SUBCOMMANDS)}. "
            f"Received: {first}"
        )
    if any(word in ("-h", "--help", "-help", "--helpfull") for word in others):
        print(help_of(first))
        return 0
    try:
        folder, values = parse(first, others[:-1])
        choose_backend()
        module = importlib.import_module(f"keras_ltssl.command.{first}")
        with warnings.catch_warnings():
            warnings.filterwarnings("default", category=UserWarning)
            warnings.showwarning = _show_warning
            getattr(module, first)(folder, values)
    except (ValueError, OSError, ImportError, flags.Error) as error:
        return _fail(str(error))
    return 0


def _fail(reason: str) -> int:
    print(f"keras-ltssl: {reason}", file=sys.stderr, flush=True)
    return 1


def _show_warning(message: Any, *others: Any, **options: Any) -> None:
    """Prints a warning without the place in the code that it comes from."""
    print(message, file=sys.stderr, flush=True)
