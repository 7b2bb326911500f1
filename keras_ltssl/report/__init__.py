"""The report of a run as one page to open in a browser, and its pictures."""

from keras_ltssl.report.pictures import contact_sheet
from keras_ltssl.report.write_report import write_report

__all__ = ["contact_sheet", "write_report"]
