"""The text that `--help` prints."""

import textwrap

from absl import flags

from keras_ltssl_command.subcommands import SUBCOMMANDS, flags_of

_WIDTH = 79


def overview() -> str:
    """Returns what `keras-ltssl --help` prints."""
    lines = [
        "Learns from unlabeled photos, and finds what is rare among them.",
        "",
    ]
    for name, subcommand in SUBCOMMANDS.items():
        lines += [
            f"  keras-ltssl {name} {subcommand.folder}",
            f"      {subcommand.summary}",
        ]
    lines += ["", f"Flags: keras-ltssl {'|'.join(SUBCOMMANDS)} --help"]
    return "\n".join(lines)


def help_of(name: str) -> str:
    """Returns what `--help` prints after a subcommand."""
    subcommand = SUBCOMMANDS[name]
    values = flags_of(name)
    usage = f"keras-ltssl {name} {subcommand.folder}"
    lines = [
        f"{usage} [flags]" if len(values) else usage,
        "",
        *textwrap.wrap(f"{subcommand.summary} {subcommand.details}", _WIDTH),
    ]
    if len(values):
        lines += ["", "Flags, with their defaults:"]
    for flag in (values[each] for each in values):
        lines.append(f"  {_example(flag)}")
        meaning = str(flag.help)
        options = getattr(flag.parser, "enum_values", None)
        if options:
            # absl puts the options in front, as in "<a|b>: ...".
            meaning = meaning.partition(">: ")[2]
            meaning = f"{meaning} One of {', '.join(options)}."
        lines += textwrap.wrap(
            meaning, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6
        )
    return "\n".join(lines)


def _example(flag: flags.Flag) -> str:  # type: ignore[type-arg]
    """Returns a flag with its default, as one would enter it."""
    if flag.boolean:
        return f"--[no]{flag.name} (default: {'yes' if flag.default else 'no'})"
    if flag.default is None:
        return f"--{flag.name}=... (default: none)"
    return f"--{flag.name}={flag.default}"
