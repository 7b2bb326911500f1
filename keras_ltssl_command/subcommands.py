"""The subcommands, their flags, and how a command line is read."""

import dataclasses
import re
from collections.abc import Callable, Sequence

from absl import flags

from keras_ltssl_command.pretrain_flags import define_pretrain
from keras_ltssl_command.protocol_files import protocol_file


@dataclasses.dataclass(frozen=True)
class Subcommand:
    """What a user may enter after `keras-ltssl`.

    Attributes:
        folder: Name of the folder that comes first.
        summary: What it does, in one sentence.
        details: What else a user should know.
        define: Function that defines the flags in a `FlagValues`.
    """

    folder: str
    summary: str
    details: str
    define: Callable[[flags.FlagValues], None]


def _define_report(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "labels",
        None,
        "CSV file with the columns path and label, for some or all images. "
        "They are added to those that the run knows.",
        flag_values=values,
    )


def _define_suggest(values: flags.FlagValues) -> None:
    flags.DEFINE_integer(
        "budget",
        100,
        "How many images to label.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "seed",
        0,
        "Seed of the choice among very many images.",
        lower_bound=0,
        flag_values=values,
    )


SUBCOMMANDS = {
    "pretrain": Subcommand(
        "photos",
        "Trains an encoder on a folder of photos, without labels.",
        "It reads all images in the folder and in its subfolders, trains, and "
        "writes to --output the encoder (encoder.keras), its features of each "
        "image (features.npy, in the order of images.csv) and a report to "
        "open in a browser (report.html). A run that was stopped goes on if "
        "you enter the same command again.",
        define_pretrain,
    ),
    "report": Subcommand(
        "run",
        "Writes report.html: what is in the photos, and what looks rare.",
        "`pretrain` does so at its end. While a run still trains, the report "
        "shows how it goes.",
        _define_report,
    ),
    "suggest": Subcommand(
        "run",
        "Chooses the images to label next: all kinds, and rare ones soon.",
        "It writes to_label.csv and to_label.jpg to the folder of the run. "
        "Fill in the column label, and pass the file to `keras-ltssl report "
        "run --labels run/to_label.csv`. The next choice then leaves out what "
        "has a label.",
        _define_suggest,
    ),
}


def flags_of(name: str) -> flags.FlagValues:
    """Returns the flags of a subcommand, with their defaults."""
    values = flags.FlagValues()  # type: ignore[no-untyped-call]
    SUBCOMMANDS[name].define(values)
    return values


def parse(name: str, arguments: Sequence[str]) -> tuple[str, flags.FlagValues]:
    """Returns the folder and the flags of a command line.

    Args:
        name: Name of the subcommand.
        arguments: What follows it. Flags may come before the folder or after
            it.

    Raises:
        ValueError: If there is not exactly one folder.
        flags.Error: If a flag is unknown or has a bad value.
    """
    given = [_with_underscores(argument) for argument in arguments]
    values, folders = _read(name, given)
    protocol = getattr(values, "protocol", None)
    if protocol is not None:
        # Its flags come first, so that those of the command line count.
        file = protocol_file(protocol)
        values, folders = _read(name, [f"--flagfile={file}", *given])
    wanted = SUBCOMMANDS[name].folder
    if len(folders) != 1 or not folders[0]:
        received = " ".join(folders) or "none"
        raise ValueError(
            f"`keras-ltssl {name}` must be given one folder, such as "
            f"`keras-ltssl {name} {wanted}`. Received: {received}"
        )
    return folders[0], values


def _read(
    name: str, arguments: Sequence[str]
) -> tuple[flags.FlagValues, list[str]]:
    """Returns the flags, and what is no flag."""
    values = flags_of(name)
    values.set_gnu_getopt(True)
    try:
        _, *folders = values([name, *arguments])
    except flags.IllegalFlagValueError as error:
        raise _bad_value(values, str(error)) from error
    return values, folders


def _with_underscores(argument: str) -> str:
    """Returns an argument with `--batch-size` written as `--batch_size`."""
    if not argument.startswith("--"):
        return argument
    flag, equals, value = argument.partition("=")
    return f"--{flag[2:].replace('-', '_')}{equals}{value}"


def _bad_value(values: flags.FlagValues, reason: str) -> Exception:
    """Returns the error of a flag, with what was expected and what came."""
    found = re.match(r"flag --(\w+)=(.*?): ", reason)
    if found is None or found[1] not in values:
        return ValueError(reason)
    name, value = found.groups()
    parser = values[name].parser
    options = getattr(parser, "enum_values", None)
    expected = parser.syntactic_help
    if options:
        expected = f"one of {', '.join(options)}"
    elif expected.startswith("integer"):
        expected = f"an {expected}"
    return ValueError(
        f"`--{name}` must be {expected}. Received: --{name}={value}"
    )
