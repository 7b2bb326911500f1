"""Files of flags that come with the package, one for each published set."""

from pathlib import Path

_FOLDER = Path(__file__).parent / "protocols"

# Names of the protocols, such as `imagenet_lt`.
PROTOCOLS = tuple(sorted(file.stem for file in _FOLDER.glob("*.flags")))


def protocol_file(name: str) -> Path:
    """Returns the file of a protocol.

    Args:
        name: One of `PROTOCOLS`, or the path of such a file of one's own.

    Raises:
        ValueError: If there is no such file.
    """
    file = _FOLDER / f"{name}.flags" if name in PROTOCOLS else Path(name)
    if not file.is_file():
        raise ValueError(
            f"`--protocol` must be one of {', '.join(PROTOCOLS)}, or a file of "
            f"flags, one a line. Received: --protocol={name}"
        )
    return file
