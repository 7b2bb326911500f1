r"""Packs raw runs of the long-tail benchmark into the table of the repository.

    python benchmarks/long_tail/run.py --protocol mnist
    python benchmarks/long_tail/pack.py
    python benchmarks/long_tail/table.py

What is packed already stays; a run is never there twice. The raw runs stay
where they are.
"""

from pathlib import Path

from absl import app, flags
from stored import PACKED, merged, read_folder, read_packed, write_packed

flags.DEFINE_string(
    "results", "runs/long_tail/results", "Folder of the raw runs."
)
flags.DEFINE_string("packed", str(PACKED), "Table to merge them into.")
flags.DEFINE_bool(
    "replace", False, "Take the raw run where another one is packed."
)
FLAGS = flags.FLAGS


def main(_):
    packed = Path(FLAGS.packed)
    before = read_packed(packed)
    added = [
        row
        for folder in sorted(Path(FLAGS.results).iterdir())
        if folder.is_dir()
        for row in read_folder(folder)
    ]
    rows = merged(before, added, FLAGS.replace)
    write_packed(packed, rows)
    print(f"{packed}: {len(rows)} runs, {len(rows) - len(before)} of them new")


if __name__ == "__main__":
    app.run(main)
