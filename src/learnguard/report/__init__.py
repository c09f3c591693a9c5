"""One computation, many faces: the report of a run as a page, as tables and as JSON."""

from learnguard.report.data import load_report
from learnguard.report.model import ReportData
from learnguard.report.page import content_security_policy, render_html, render_record
from learnguard.report.writing import FORMATS, Format, write_report

__all__ = [
    "FORMATS",
    "Format",
    "ReportData",
    "content_security_policy",
    "load_report",
    "render_html",
    "render_record",
    "write_report",
]
