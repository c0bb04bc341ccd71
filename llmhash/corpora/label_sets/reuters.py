"""Reuters-21578, ModApte split: Lewis's SGML files, or NLTK's copy of the split.

ModApte takes the stories that have been indexed (`TOPICS="YES"`), for training those of
`LEWISSPLIT="TRAIN"` and for testing those of `"TEST"`. Topics that are not in both are left out, which
leaves 90; documents without any of those are left out too.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

from llmhash.corpora.label_sets.base import Labelled, LabelSource, labelled
from llmhash.corpora.label_sets.files import find, opened, read_lines
from llmhash.corpora.label_sets.names import REUTERS
from llmhash.errors import InputError

# The files are SGML that no XML parser accepts (control characters, bare ampersands, one byte that is not
# ASCII), but their elements are regular.
_STORY = re.compile(r"<REUTERS\b(.*?)>(.*?)</REUTERS>", re.DOTALL | re.IGNORECASE)
_ATTRIBUTE = re.compile(r'([A-Z]+)\s*=\s*"([^"]*)"', re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOT_TEXT = re.compile(r"<(DATELINE|AUTHOR)\b.*?</\1>", re.DOTALL | re.IGNORECASE)


def has_reuters_sgml(folder: Path) -> bool:
    """Whether a folder holds `reut2-*.sgm`."""
    return bool(_sgml_files(folder))


def read_reuters_sgml(folder: Path) -> LabelSource:
    """Read the SGML files.

    Raises:
        InputError: No story of the files belongs to the ModApte split.
    """
    stories: dict[str, list[tuple[str, list[str]]]] = {"train": [], "test": []}
    for path in _sgml_files(folder):
        with opened(path, "latin-1") as file:
            content = file.read()
        for attributes, story in _STORY.findall(content):
            said = {name.upper(): value.upper() for name, value in _ATTRIBUTE.findall(attributes)}
            split = said.get("LEWISSPLIT", "").lower()
            if said.get("TOPICS") == "YES" and split in stories:
                stories[split].append((_text(story), _topics(story)))
    return _modapte(stories, folder)


def has_reuters_nltk(folder: Path) -> bool:
    """Whether a folder holds NLTK's layout: `cats.txt`, `training/` and `test/`."""
    return (folder / "cats.txt").is_file() and (folder / "training").is_dir() and (folder / "test").is_dir()


def read_reuters_nltk(folder: Path) -> LabelSource:
    """Read NLTK's layout; a line of `cats.txt` is a file and its topics (`training/9865 earn grain`).

    Raises:
        InputError: A file that `cats.txt` names is missing.
    """
    stories: dict[str, list[tuple[str, list[str]]]] = {"train": [], "test": []}
    for line in read_lines(folder / "cats.txt"):
        if not line.strip():
            continue
        name, *topics = line.split()
        split = "train" if name.startswith("training/") else "test"
        path = find(folder, name)
        if path is None:
            raise InputError(f"{folder}/cats.txt names {name}, which the folder does not hold.")
        with opened(path, "latin-1") as file:
            title, _, body = html.unescape(file.read()).strip().partition("\n")
        stories[split].append((_joined(title, body), topics))
    return _modapte(stories, folder)


def _sgml_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("reut2-*.sgm"))


def _modapte(stories: dict[str, list[tuple[str, list[str]]]], folder: Path) -> LabelSource:
    topics = {split: {topic for _, names in pairs for topic in names} for split, pairs in stories.items()}
    common = topics["train"] & topics["test"]
    if not common:
        raise InputError(f"{folder}: no topic has both training and test stories; are all files there?")
    splits: dict[str, Labelled] = {
        split: labelled((text, [name for name in names if name in common]) for text, names in pairs)
        for split, pairs in stories.items()
    }
    return LabelSource(REUTERS, splits)


def _topics(story: str) -> list[str]:
    return re.findall(r"<D>(.*?)</D>", _element(story, "TOPICS"), re.IGNORECASE)


def _text(story: str) -> str:
    """Title and body; of stories without a body element (`TYPE="UNPROC"`) all that their text holds."""
    content = _NOT_TEXT.sub(" ", _element(story, "TEXT"))
    title, body = _element(content, "TITLE"), _element(content, "BODY")
    if not body:
        body = re.sub(r"<TITLE\b.*?</TITLE>", " ", content, flags=re.DOTALL | re.IGNORECASE)
    return _joined(html.unescape(title), html.unescape(body))


def _element(content: str, name: str) -> str:
    found = re.search(rf"<{name}\b[^>]*>(.*?)</{name}>", content, re.DOTALL | re.IGNORECASE)
    return str(found[1]) if found else ""


def _joined(title: str, body: str) -> str:
    """A line of title and one of body: blanks and control characters within them are the wire's layout."""
    return "\n".join(line for part in (title, body) if (line := " ".join(_CONTROL.sub(" ", part).split())))
