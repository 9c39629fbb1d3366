"""What came out of runs, to look at: accuracy tables, confusion matrices, learning curves, on one HTML page."""

from .attention import Drawn, draw_attention
from .page import Report, write_report
from .reading import Curve, Outcome, newest_runs, read_outcomes
from .tables import most_confused, per_class_accuracy

__all__ = [
    "Curve",
    "Drawn",
    "Outcome",
    "Report",
    "draw_attention",
    "most_confused",
    "newest_runs",
    "per_class_accuracy",
    "read_outcomes",
    "write_report",
]
