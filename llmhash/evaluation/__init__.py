"""Measuring what codes keep of their teacher, and what they tell of labels: metrics, peers, reports."""

from llmhash.evaluation.bench import CANDIDATES, SCORINGS
from llmhash.evaluation.compare import compare, evaluate_head, held_out_report
from llmhash.evaluation.health import CodeHealth, code_health
from llmhash.evaluation.label import LabelledCodes, label_report
from llmhash.evaluation.report import markdown, print_report, to_csv, to_json, write_report
from llmhash.evaluation.retrieval import METRICS, RetrievalTask, evaluate
from llmhash.evaluation.summary import Report, TrainedOn

__all__ = [
    "CANDIDATES",
    "METRICS",
    "SCORINGS",
    "CodeHealth",
    "LabelledCodes",
    "Report",
    "RetrievalTask",
    "TrainedOn",
    "code_health",
    "compare",
    "evaluate",
    "evaluate_head",
    "held_out_report",
    "label_report",
    "markdown",
    "print_report",
    "to_csv",
    "to_json",
    "write_report",
]
