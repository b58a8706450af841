"""The HTML report of a run or a comparison: one self-contained file."""

from gamutrl.report.page import write_report

__all__ = ["write_report"]
