"""Result rows in; tables, fits, figures and one scaling report out.

The room reads files only: the rows and schedules of a results folder. It knows neither the
optimisation model nor the solvers.
"""

from reports.page import write_report
from reports.rows import ReportError

__all__ = ["ReportError", "write_report"]
