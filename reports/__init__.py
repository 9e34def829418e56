"""Result rows in; tables, fits, figures and one scaling report out.

The room reads files only: the rows and schedules of a results folder. It knows neither the
optimisation model nor the solvers.
"""

from reports.changes import compare_results, write_changes
from reports.page import write_report
from reports.rows import ReportError, read_results

__all__ = ["ReportError", "compare_results", "read_results", "write_changes", "write_report"]
