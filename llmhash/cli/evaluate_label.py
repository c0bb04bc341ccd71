"""`llmhash eval label`: hashers by the label protocol of the literature."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from llmhash.cli.console import note, stdout
from llmhash.cli.options import Device, JsonFile
from llmhash.errors import InputError

if TYPE_CHECKING:
    from llmhash.corpora.labels import LabelSet
    from llmhash.evaluation.label import LabelledCodes
    from llmhash.hasher import Hasher

_Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="Label set: a folder, a .csv or .jsonl file, hub:OWNER/NAME, or the name of a known set.",
    ),
]
_Protocol = Annotated[
    Literal["official", "survey"],
    typer.Option("--protocol", help="official: the set's own split; survey: pooled and cut 8:1:1."),
]


def label(
    hashers: Annotated[list[Path], typer.Argument(help="One or more hashers, to stand side by side.")],
    data: _Data,
    protocol: _Protocol = "official",
    split: Annotated[
        Literal["test", "validation"], typer.Option("--split", help="The documents that are the queries.")
    ] = "test",
    k: Annotated[int, typer.Option("--k", min=1, help="Where rankings are cut.")] = 100,
    query_side: Annotated[
        Literal["document", "query"],
        typer.Option(
            "--query-side", help="How queries are encoded: as the documents they are, or as queries."
        ),
    ] = "document",
    seed: Annotated[int, typer.Option("--seed", help="Of the split, where it is drawn.")] = 0,
    json_file: JsonFile = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            help="Draw into this folder: precision-recall curves, precision over bits, codes on a plane.",
        ),
    ] = None,
    plot_format: Annotated[
        Literal["svg", "png"], typer.Option("--plot-format", help="Of the pictures.")
    ] = "svg",
    device: Device = None,
) -> None:
    """Measure hashers on labelled texts: training documents are searched, a shared label is relevant."""
    from llmhash.corpora.labels import read_label_set
    from llmhash.evaluation.label import LabelledCodes, label_report
    from llmhash.evaluation.label_table import print_label_report
    from llmhash.evaluation.report import to_json
    from llmhash.hasher import Hasher

    label_set = read_label_set(data, protocol=protocol, seed=seed)
    loaded = [Hasher.load(folder, device=device) for folder in hashers]
    methods = [
        LabelledCodes.from_hasher(
            hasher, label_set, split=split, query_side=query_side, name=name, progress=True
        )
        for hasher, name in zip(loaded, _names(hashers, loaded), strict=True)
    ]
    report = label_report(methods, label_set, split=split, k=k)
    print_label_report(report, stdout)
    if json_file is not None:
        json_file.write_text(to_json(report), encoding="utf-8")
        _say_written(json_file)
    if plot is not None:
        _draw(report, methods, label_set, plot, plot_format)


def _names(folders: Sequence[Path], hashers: Sequence[Hasher]) -> list[str]:
    """The recipes' names; the folder's beside it where two hashers of one width share a recipe's."""
    names = [str(hasher.recipe["name"]) for hasher in hashers]
    used = Counter((name, hasher.bits) for name, hasher in zip(names, hashers, strict=True))
    return [
        name if used[name, hasher.bits] == 1 else f"{name} ({folder})"
        for name, hasher, folder in zip(names, hashers, folders, strict=True)
    ]


def _draw(
    report: Mapping[str, Any],
    methods: Sequence[LabelledCodes],
    label_set: LabelSet,
    folder: Path,
    suffix: str,
) -> None:
    """Draw all pictures of a report."""
    from llmhash.evaluation.pictures import draw_code_map, draw_precision_over_bits, draw_precision_recall

    folder.mkdir(parents=True, exist_ok=True)
    title = f"{report['data']} ({report['split']}, {report['protocol']})"
    metric = f"precision@{report['k']}"
    curves = {}
    series: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for row in report["rows"]:
        curve = row["curves"]["micro"]
        curves[f"{row['method']}, {row['bits']} bits"] = (curve["recall"], curve["precision"])
        series[row["method"]][row["bits"]] = row[metric]
    floats = {f"{row['encoder']} (float)": row[metric] for row in report["floats"]}
    target = folder / f"precision-recall.{suffix}"
    draw_precision_recall(curves, target, title=title)
    _say_written(target)
    target = folder / f"precision-bits.{suffix}"
    draw_precision_over_bits(series, target, floats=floats, metric=metric, title=title)
    _say_written(target)
    # A document of several labels gets the colour of its first.
    labels = [own[0] if own else "no label" for own in getattr(label_set, report["split"]).labels]
    for method in methods:
        name = f"{method.name}, {method.queries.bits} bits"
        target = folder / f"codes-{re.sub(r'[^0-9A-Za-z]+', '-', name)}.{suffix}"
        try:
            draw_code_map(method.queries, labels, target, title=f"{title}: {name}")
        except InputError as error:  # Too few distinct codes for a map; the others may have enough.
            note(f"{name}: {error}")
        else:
            _say_written(target)


def _say_written(path: Path) -> None:
    stdout.print(f"wrote {path}", highlight=False, soft_wrap=True)
