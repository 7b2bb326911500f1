"""The section on the curves of the training."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.report.charts import in_words, line_chart
from keras_ltssl.report.elements import joined, paragraph, tag
from keras_ltssl.report.run_folder import RunFolder
from keras_ltssl.report.section import Section
from keras_ltssl.report.training_alerts import training_alerts
from keras_ltssl.report.words import fact

# Columns of one chart, its title, and how to read it.
_CHARTS = (
    (
        ("loss",),
        "Loss",
        "Lower is better within this run. Runs of another batch size, method "
        "or temperature have another scale.",
    ),
    (
        ("contrastive_accuracy", "contrastive_chance"),
        "Contrastive accuracy",
        "How often the two views of an image find each other. It should rise "
        "well above chance.",
    ),
    (
        ("temperature",),
        "Temperature",
        "Low values tell similar images apart, high values keep groups "
        "together. A schedule goes up and down on purpose.",
    ),
    (
        ("effective_rank",),
        "Effective rank of the features",
        "How many independent directions the features use. Near 1 the "
        "features have collapsed.",
    ),
    (
        ("spread",),
        "Spread",
        "1 is even, and near 0 all images look the same to the model: the "
        "training has collapsed.",
    ),
    (
        ("alignment",),
        "Alignment",
        "Squared distance of the two views of an image. Lower is closer, and 0 "
        "with a spread of 0 is a collapse.",
    ),
    (
        ("uniformity",),
        "Uniformity",
        "0 is a single point. Lower (about -4) fills the space more evenly.",
    ),
    (("learning_rate",), "Learning rate", "Set by you or by the schedule."),
)
# Of a validation set, what is as in training.
_NOT_DRAWN = ("val_contrastive_chance", "val_temperature")


def training_section(run: RunFolder) -> Section:
    """Returns the curves of the training and what is wrong with them."""
    epochs = _epochs(run.history)
    columns = {
        name: values for name, values in run.history.items() if name != "epoch"
    }
    charts, shown = [], set()
    for names, title, explanation in _CHARTS:
        curves = {
            name: columns[name]
            for name in (*names, *(f"val_{name}" for name in names))
            if name in columns and name not in _NOT_DRAWN
        }
        if curves:
            shown |= set(curves)
            named = {
                name.replace("_", " "): values
                for name, values in curves.items()
            }
            charts.append(line_chart(title, explanation, epochs, named))
    charts += [
        line_chart(
            name, "Another column of history.csv.", epochs, {name: values}
        )
        for name, values in columns.items()
        if name not in shown and name not in _NOT_DRAWN
    ]
    body = []
    if not charts:
        body.append(
            paragraph("There is no history.csv, so there is no curve to show.")
        )
    if "temperature" not in columns and "temperature" in run.facts:
        body.append(
            paragraph(
                "The temperature was "
                f"{fact(run.facts['temperature'])} in every epoch."
            )
        )
    body.append(tag("div", *charts, class_="charts"))
    return Section(
        name="training",
        title="Training",
        lead="Each chart is one number over the epochs of the training, left "
        "to right; under it stand its first and its last value.",
        limits="A falling loss does not show that rare images are told apart, "
        "and no curve here replaces a look at the images below.",
        body=joined(body),
        numbers=_numbers(epochs, columns),
        summary=_summary(run, epochs, columns),
        alerts=tuple(training_alerts(run.facts, epochs, columns)),
    )


def _epochs(history: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Returns epochs counted from 1, as Keras prints them."""
    if "epoch" in history and np.isfinite(history["epoch"]).all():
        return history["epoch"] + 1
    length = len(next(iter(history.values()), ()))
    return np.arange(1.0, length + 1)


def _numbers(
    epochs: NDArray[np.float64], columns: dict[str, NDArray[np.float64]]
) -> dict[str, Any]:
    return {
        "epochs": len(epochs),
        "last": {name: float(values[-1]) for name, values in columns.items()},
        "columns": {name: values.tolist() for name, values in columns.items()},
    }


def _summary(
    run: RunFolder,
    epochs: NDArray[np.float64],
    columns: dict[str, NDArray[np.float64]],
) -> str:
    if not len(epochs):
        return ""
    asked = run.facts.get("epochs")
    of = f" of {asked:,}" if isinstance(asked, int) else ""
    text = f"Trained for {epochs[-1]:.0f}{of} epochs."
    if "loss" in columns:
        text += f" {in_words('Loss', epochs, columns['loss'])}"
    return text
