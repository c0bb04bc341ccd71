"""Measuring what codes keep of their teacher: retrieval metrics, intervals, peers, reports."""

from llmhash.evaluation.bench import CANDIDATES, SCORINGS
from llmhash.evaluation.compare import compare, evaluate_head, held_out_report
from llmhash.evaluation.report import markdown, print_report, to_csv, to_json, write_report
from llmhash.evaluation.retrieval import METRICS, RetrievalTask, evaluate
from llmhash.evaluation.summary import Report, TrainedOn

__all__ = [
    "CANDIDATES",
    "METRICS",
    "SCORINGS",
    "Report",
    "RetrievalTask",
    "TrainedOn",
    "compare",
    "evaluate",
    "evaluate_head",
    "held_out_report",
    "markdown",
    "print_report",
    "to_csv",
    "to_json",
    "write_report",
]
