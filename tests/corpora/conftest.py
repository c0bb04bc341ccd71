from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def beir_folder(tmp_path: Path) -> Path:
    """Three documents, three queries; q1 is a test query, q2 and q3 train."""
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    documents = [
        {"_id": "d1", "title": "Moulds", "text": "Penicillin was found in a mould.", "year": 1928},
        {"_id": "d2", "title": "", "text": "Rust is iron oxide."},
        {"_id": "d3", "title": "Empty", "text": ""},
    ]
    queries = [
        {"_id": f"q{i}", "text": t}
        for i, t in enumerate(["who found penicillin", "what is rust", "moulds"], 1)
    ]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    header = "query-id\tcorpus-id\tscore\n"
    (folder / "qrels" / "test.tsv").write_text(header + "q1\td1\t2\nq1\td2\t0\nq9\td1\t1\n")
    (folder / "qrels" / "train.tsv").write_text(header + "q2\td2\t1\nq3\td1\t1\n")
    return folder
