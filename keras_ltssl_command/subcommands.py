"""The subcommands, their flags, and how a command line is read."""

import dataclasses
import re
from collections.abc import Callable, Sequence

from absl import flags


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


def _define_pretrain(values: flags.FlagValues) -> None:
    def text(name: str, default: str | None, meaning: str) -> None:
        flags.DEFINE_string(name, default, meaning, flag_values=values)

    def choice(
        name: str, default: str, options: list[str], meaning: str
    ) -> None:
        flags.DEFINE_enum(name, default, options, meaning, flag_values=values)

    def integer(name: str, default: int, least: int, meaning: str) -> None:
        flags.DEFINE_integer(
            name, default, meaning, lower_bound=least, flag_values=values
        )

    def number(name: str, default: float, meaning: str) -> None:
        flags.DEFINE_float(name, default, meaning, flag_values=values)

    def yes_or_no(name: str, default: bool, meaning: str) -> None:
        flags.DEFINE_bool(name, default, meaning, flag_values=values)

    text("output", "run", "Folder of the run. A run in it goes on.")
    text("image_size", "64", "Size in pixels: 64, or height x width: 48x64.")
    choice("color_mode", "rgb", ["rgb", "grayscale"], "Colors of the images.")
    choice(
        "on_error",
        "skip",
        ["skip", "raise"],
        "Whether to leave out files that cannot be read, or to stop.",
    )
    text(
        "labels",
        None,
        "CSV file with the columns path and label, for some or all images. "
        "Only the report uses them.",
    )
    yes_or_no(
        "folder_labels",
        False,
        "Whether the first subfolder of an image is its label, as in "
        "photos/fox/1.jpg.",
    )
    text(
        "method",
        "plain",
        "plain, focal or tase; with any of ts, gh and bcl, joined by +.",
    )
    choice(
        "framework",
        "simclr",
        ["simclr", "moco", "byol", "sdclr"],
        "What the method plugs into.",
    )
    text(
        "backbone",
        "small_convnet",
        "The encoder: small_convnet; resnet18; a network of keras.applications "
        "such as mobilenetv2; or a preset of keras-hub. All but the first "
        "need a GPU.",
    )
    text(
        "weights",
        "none",
        "What the encoder begins with: none; imagenet, for a network of "
        "keras.applications; preset, for one of keras-hub; or a file of "
        "weights.",
    )
    integer("epochs", 100, 1, "How often each image is seen.")
    integer("batch_size", 128, 2, "Images that are compared with each other.")
    number(
        "temperature",
        0.2,
        "Temperature of the loss. Try 0.1 and 0.4, too: it matters most.",
    )
    number(
        "rand_augment",
        0.25,
        "How much stronger than SimCLR's the views are, from 0 to 1.",
    )
    yes_or_no("horizontal_flip", True, "Whether views may be mirrored.")
    choice("optimizer", "adamw", ["adamw", "sgd"], "The optimizer.")
    number("learning_rate", 0.002, "Its largest learning rate.")
    number("weight_decay", 1e-4, "Its weight decay.")
    choice(
        "precision",
        "float32",
        ["float32", "mixed_float16", "mixed_bfloat16"],
        "Keras' dtype policy. The mixed ones are faster on GPUs.",
    )
    integer("seed", 0, 0, "Seed of everything random.")
    integer("workers", 4, 0, "Threads that read images ahead.")


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
        _define_pretrain,
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
    values = flags_of(name)
    values.set_gnu_getopt(True)
    given = [_with_underscores(argument) for argument in arguments]
    try:
        _, *folders = values([name, *given])
    except flags.IllegalFlagValueError as error:
        raise _bad_value(values, str(error)) from error
    wanted = SUBCOMMANDS[name].folder
    if len(folders) != 1 or not folders[0]:
        received = " ".join(folders) or "none"
        raise ValueError(
            f"`keras-ltssl {name}` must be given one folder, such as "
            f"`keras-ltssl {name} {wanted}`. Received: {received}"
        )
    return folders[0], values


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
