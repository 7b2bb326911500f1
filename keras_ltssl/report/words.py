"""Numbers as words of the report."""

from typing import Any

from keras_ltssl.report.charts import number


def count(amount: int, one: str, more: str | None = None) -> str:
    """Returns `1 image`, `2 images`, `12,000 images`."""
    return f"{amount:,} {one if amount == 1 else more or one + 's'}"


def percent(share: float) -> str:
    """Returns `0.034` as `3.4 %` and `0.34` as `34 %`."""
    value = 100 * share
    if 0 < value < 0.1:
        return "< 0.1 %"
    return f"{value:.1f} %" if 0 < value < 9.95 else f"{value:.0f} %"


def duration(seconds: float) -> str:
    """Returns a time in the two largest units that it has."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    if minutes:
        return f"{minutes} min {whole % 60} s"
    return f"{whole} s"


def fact(value: Any) -> str:
    """Returns a value of `run.json` as a reader would write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return ", ".join(map(fact, value))
    return str(value)
