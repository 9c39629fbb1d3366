"""What came out of runs, to look at, on one HTML page; and attention laid over frames.

reading (files, curves) → judging (figures), looks (videos) → tables, charts, facts, pictures
→ page (templates: page.html, macros.html)
"""

from typing import TYPE_CHECKING

from avr.core import lazy

if TYPE_CHECKING:
    from .attention import Drawn, draw_attention
    from .curves import Curve
    from .judging import most_confused, per_class_accuracy
    from .listing import RunLine, list_runs, read_line
    from .page import Report, write_report
    from .predictions import write_predictions
    from .reading import Outcome, newest_runs, read_outcomes
else:
    __getattr__, __dir__ = lazy(__name__)  # drawing attention needs torch, a page does not

__all__ = [
    "Curve",
    "Drawn",
    "Outcome",
    "Report",
    "RunLine",
    "draw_attention",
    "list_runs",
    "most_confused",
    "newest_runs",
    "per_class_accuracy",
    "read_line",
    "read_outcomes",
    "write_predictions",
    "write_report",
]
