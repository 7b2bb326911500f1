"""The report of a run, as one page to open in a browser."""

from keras_ltssl.report.write_report import write_report

__all__ = ["write_report"]
