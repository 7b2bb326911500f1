"""The section on the files that were found and left out."""

from collections import Counter

from keras_ltssl.report.elements import (
    Html,
    bullets,
    details,
    file_name,
    joined,
    paragraph,
    table,
    tag,
)
from keras_ltssl.report.run_folder import RunFolder
from keras_ltssl.report.section import Section
from keras_ltssl.report.words import count, duration, fact, percent

# Files that are listed by name, at most.
LISTED = 100
# A larger share of files that were left out is an alert.
MANY_SKIPPED = 0.05

_FACTS = {
    "method": "Method",
    "framework": "Framework",
    "backbone": "Encoder",
    "temperature": "Temperature",
    "image_size": "Size in the encoder",
    "color_mode": "Colors",
    "epochs": "Epochs asked for",
    "batch_size": "Batch size",
    "rand_augment": "RandAugment",
    "dtype_policy": "Precision",
    "seed": "Seed",
    "backend": "Backend",
    "keras": "Keras",
    "keras_ltssl": "keras_ltssl",
}


def data_section(run: RunFolder) -> Section:
    """Returns what the training used, left out, and how it was set."""
    used, skipped = len(run.paths), run.skipped
    found = run.facts.get("num_files")
    if not isinstance(found, int) or found < used + len(skipped):
        found = used + len(skipped)
    labeled = sum(label != "" for label in run.labels)
    reasons = Counter(reason for _, reason in skipped)
    lead = (
        "These are the photos that the training used and the files that it "
        "left out; compare the counts with what you expect in your folder."
    )
    known = [
        ("Folder", file_name(str(run.directory))),
        ("Image files found", fact(found)),
        ("Images used", fact(used)),
        ("Files left out", fact(len(skipped))),
        ("Images with a label", fact(labeled)),
    ]
    settings = [
        (title, fact(run.facts[key]))
        for key, title in _FACTS.items()
        if run.facts.get(key) is not None
    ]
    seconds = run.facts.get("seconds")
    if isinstance(seconds, int | float):
        settings.append(("Training took", duration(seconds)))
    body = [_pairs(known)]
    if settings:
        body.append(details("Settings of the training", _pairs(settings)))
    if skipped:
        body += [
            tag("h3", "Left out"),
            table(
                "Why files were left out",
                ["Reason", "Files"],
                [
                    [why, fact(number)]
                    for why, number in reasons.most_common(20)
                ],
            ),
            details(
                f"Names of the files left out ({_capped(len(skipped))})",
                bullets(
                    [
                        joined([file_name(path), f": {reason}"])
                        for path, reason in skipped[:LISTED]
                    ]
                ),
            ),
        ]
    else:
        body.append(paragraph("No file was left out."))
    share = len(skipped) / found if found else 0.0
    alerts: tuple[str, ...] = ()
    if share > MANY_SKIPPED:
        alerts = (
            f"{percent(share)} of the files were left out: "
            f"{len(skipped):,} of {found:,}. See Photos for the reasons.",
        )
    return Section(
        name="photos",
        title="Photos",
        lead=lead,
        limits="It counts files. Whether they are the right photos, and "
        "whether a label is right, only you can see.",
        body=joined(body),
        numbers={
            "directory": str(run.directory),
            "num_files": found,
            "num_images": used,
            "num_skipped": len(skipped),
            "num_labeled": labeled,
            "reasons": dict(reasons),
        },
        summary=f"{count(used, 'image')} used, "
        f"{count(len(skipped), 'file')} left out.",
        alerts=alerts,
    )


def _pairs(known: list[tuple[str, str]]) -> Html:
    return tag(
        "dl",
        *(
            joined([tag("dt", title), tag("dd", value)])
            for title, value in known
        ),
    )


def _capped(amount: int) -> str:
    if amount <= LISTED:
        return f"all {amount}"
    return f"the first {LISTED} of {amount:,}"
