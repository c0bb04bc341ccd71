"""The embedded corpus: the Python manual that every interpreter carries (`pydoc_data.topics`).

It gives the demo, and a distillation without a network, real prose to work on.
"""

from __future__ import annotations

import re

from llmhash.corpora.documents import Documents

#: The name under which `read_corpus` knows it.
PYTHON_MANUAL = "python-manual"

# Long enough to stand alone, short enough for a retriever's answer.
_LEAST_CHARACTERS = 80
_MOST_CHARACTERS = 260

_UNDERLINE = re.compile(r"^(\S.*)\n([=*\-~^\"'#+.])\2{2,}\s*$", flags=re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.!?;:]) ")
_BLANK_LINES = re.compile(r"\n\s*\n")


def python_manual() -> Documents:
    """About 1,500 passages of the Python language reference, each titled by its topic or heading."""
    from pydoc_data.topics import topics

    ids: list[str] = []
    texts: list[str] = []
    titles: list[str] = []
    bodies: list[str] = []
    seen: set[str] = set()
    for topic in sorted(topics):
        number = 0
        for title, body in _passages(topic, topics[topic]):
            # Topics overlap: a passage stands under each of them, and is kept once.
            if body in seen:
                continue
            seen.add(body)
            ids.append(f"{topic}-{number}")
            titles.append(title)
            bodies.append(body)
            texts.append(f"{title} {body}")
            number += 1
    return Documents(ids, texts, titles, [{"title": title} for title in titles], bodies)


def _passages(topic: str, page: str) -> list[tuple[str, str]]:
    """Passages of one topic page: sentences joined up to a length, each passage under its nearest heading."""
    passages: list[tuple[str, str]] = []
    title, pending = topic, ""
    for block in _BLANK_LINES.split(page.strip()):
        heading = _UNDERLINE.match(block.strip())
        for sentence in [""] if heading else _SENTENCE_END.split(" ".join(block.split())):
            if heading or (pending and len(pending) + len(sentence) > _MOST_CHARACTERS):
                if len(pending) >= _LEAST_CHARACTERS:
                    passages.append((title, pending))
                pending = ""
            pending = f"{pending} {sentence}".strip()
        if heading:
            title = heading.group(1).strip().strip('"')
    if len(pending) >= _LEAST_CHARACTERS:
        passages.append((title, pending))
    return passages
