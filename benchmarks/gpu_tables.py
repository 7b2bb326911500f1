"""The tables of RESULTS.md from the files that `gpu.py` stored."""

DTYPES = ("bfloat16", "float32")


def tables(stored):
    """Returns the Markdown of files, a list of dicts, one for each backend."""
    lines = []
    for name in ("resnet18", "resnet50"):
        found = [each for each in stored if each.get(name)]
        columns = {
            f"{each['backend']}, {dtype}": each[name][dtype]
            for each in found
            for dtype in DTYPES
            if dtype in each[name]
        }
        if columns:
            part = found[0][name]
            size = f"{part['image']} x {part['image']}"
            lines += table_of(
                f"{name}, batch {part['batch']}, {size}, ms a step", columns
            )
    for each in stored:
        if each.get("losses"):
            title = f"Losses on {each['backend']}, ms (MiB)"
            lines += table_of(title, each["losses"])
        if each.get("views"):
            lines += table_of(f"Views on {each['backend']}, ms", each["views"])
        if each.get("methods"):
            title = f"A step of ResNet-18 on {each['backend']}"
            lines += table_of(title, {"ms": each["methods"]})
        if each.get("feed"):
            columns = {"ms a step": each["feed"]}
            title = f"Feeding ResNet-18 on {each['backend']}"
            lines += table_of(title, columns)
    return "\n".join(lines)


def table_of(title, columns):
    """Returns the lines of a table of columns, each a dict by row."""
    rows = dict.fromkeys(name for column in columns.values() for name in column)
    return [
        f"| {title} | {' | '.join(columns)} |",
        f"|---{'|---' * len(columns)}|",
        *(
            f"| {row} | "
            + " | ".join(cell(column, row) for column in columns.values())
            + " |"
            for row in rows
            if row not in ("times the loop", "waits", "batch", "image")
        ),
        "",
    ]


def cell(column, row):
    value = column.get(row)
    if value is None:
        return "–"
    if isinstance(value, dict):
        if "failed" in value:
            return "failed"
        memory = f" ({value['mib']})" if "mib" in value else ""
        return f"{as_number(value['ms'])}{memory}"
    times = column.get("times the loop", {}).get(row)
    return as_number(value) + (f", {times:.2f} times" if times else "")


def as_number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
