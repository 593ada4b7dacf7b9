"""Writes the pages of the site that are made of the code: scripts/docs_pages.py FOLDER

The reference from the docstrings, with each method's own options in its signature; the errors and
the words of diagnosis from where they are told; and the changelog and the house rules as pages.
scripts/docs calls it. Knows the library as `help()` does: by its public names.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import griffe

import gradcam_hooks as gh
from gradcam_hooks import errors, public
from gradcam_hooks.apps.batch.cards import Card, Heat, Panel
from gradcam_hooks.apps.batch.records import Record
from gradcam_hooks.explainers import named
from gradcam_hooks.results import diagnosis
from gradcam_hooks.results.facts import Facts
from gradcam_hooks.runs import samplers

ROOT = Path(__file__).resolve().parent.parent

_HEADS = {
    "functions": "What is called: one line for a map, a figure of several, a report of many.",
    "methods": (
        "A class for each method, with its own options by name; those of every method stand under "
        "[Explainer](objects.md#explainer). What each computes, its paper and its price: "
        "[the methods](../methods.md)."
    ),
    "targets": "What can be explained besides a class number, a label or a function of the output.",
    "samplers": "Versions of an image that a formula of activation and gradient is averaged over.",
    "objects": "What is returned, and what is passed where a number or a word is not enough.",
    "errors": (
        "Every error that is raised on purpose is a `gradcam_hooks.GradCamHooksError` and one of "
        "Python's own besides. Its message says what was expected, what came, the nearest name "
        "and the next step. The command prints the message alone and ends with status 2; "
        "`gradcam-hooks --debug ...` shows where it was raised. A fault that nobody foresaw is "
        "status 70: please tell of it."
    ),
}
_TITLES = {**{name: name.capitalize() for name in _HEADS}, "errors": "Errors and their ways out"}


def place(name: str) -> str:
    """The page that a public name stands on."""
    thing = getattr(gh, name)
    if name in named.__all__:
        return "methods"
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return "errors"
    if inspect.isclass(thing) and thing.__module__.startswith("gradcam_hooks.targets"):
        return "targets"
    if inspect.isclass(thing) and thing.__module__ == samplers.__name__:
        return "samplers"
    return "functions" if inspect.isfunction(thing) else "objects"


def pages() -> dict[str, str]:
    """Each page by its file's name."""
    names: dict[str, list[str]] = {page: [] for page in _HEADS}
    for name in public.__all__:
        names[place(name)].append(name)
    names["errors"] = sorted(errors.__all__, key=lambda name: name != "GradCamHooksError")
    made = {}
    for page, told in names.items():
        parts = [f"# {_TITLES[page]}\n\n{_HEADS[page]}\n", *map(_entry, told)]
        parts += [_diagnoses()] if page == "errors" else []
        made[f"{page}.md"] = "\n".join(parts)
    made["fields.md"] = _fields()
    for source, title in {"CHANGELOG.md": "changes", "CONTRIBUTING.md": "contributing"}.items():
        made[f"{title}.md"] = _moved((ROOT / source).read_text(encoding="utf-8"))
    return made


def _fields() -> str:
    """What stands in the files of a run, field by field."""
    told = [
        f"## {cls.__name__}\n\n{_text(inspect.getdoc(cls) or '')}"
        for cls in (Record, Card, Panel, Facts, Heat)
    ]
    head = (
        "# Fields of the files\n\nA line of `results.jsonl` is a Record; a file of `maps/` a Card, "
        "which holds Panels. How they are read: [the files of a run](../formats.md).\n"
    )
    return "\n".join([head, *told])


def _moved(text: str) -> str:
    """A document of the root as a page: links into docs/ lead there, others are words."""
    text = re.sub(r"\]\(docs/([\w./#-]+)\)", r"](../\1)", text)
    return re.sub(r"\[([^]]+)\]\((?!\.\./|https?:|#)[^)]*\)", r"`\1`", text)


def _entry(name: str) -> str:
    """A public name: its signature, its text, and of a class its methods and properties."""
    thing = getattr(gh, name)
    lines = [f"## {name}", ""]
    if isinstance(thing, Mapping):
        return "\n".join([*lines, f"{len(thing)} entries by name.", ""])
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return "\n".join([*lines, _code(f"gh.{name} = {thing!r}".replace("'", '"')), ""])
    bases = [base.__name__ for base in getattr(thing, "__bases__", ()) if base is not object]
    if place(name) == "errors":
        lines += [f"Caught as {' or '.join(f'`{base}`' for base in [name, *bases])}.", ""]
    else:
        lines += [_code(_signature(f"gh.{name}", thing, name)), ""]
    lines += [_text(inspect.getdoc(thing) or "")]
    if inspect.isclass(thing) and place(name) != "errors" and name not in named.__all__:
        lines += [_member(name, *one) for one in _members(thing)]
    return "\n".join(lines)


def _member(owner: str, name: str, member: object) -> str:
    """A method or a property of a class."""
    text = _text(inspect.getdoc(member) or "")
    if name == "__call__":
        head, call = f"{owner}, called", _code(_signature(owner.lower(), member, ""))
    else:
        head, call = f"{owner}.{name}", _code(_signature(f".{name}", member, ""))
    parts = [text] if isinstance(member, property) else [call, text]
    return "\n\n".join([f"### {head}", *parts])


def _members(cls: type) -> Iterator[tuple[str, object]]:
    """The public methods and properties that a class defines itself, with a text of their own."""
    for name, member in vars(cls).items():
        plain = inspect.unwrap(member) if callable(member) else member
        told = inspect.isfunction(plain) or isinstance(plain, property)
        if told and inspect.getdoc(plain) and (not name.startswith("_") or name == "__call__"):
            yield name, plain


def _signature(start: str, thing: object, name: str) -> str:
    """The call, an argument a line where there are many; of a method its own options alone."""
    if not callable(thing):
        return start
    found = [one for one in inspect.signature(thing).parameters.values() if one.name != "self"]
    row = next((row for row in gh.METHODS.values() if row.cls == name), None)
    if row is not None:
        own = [one for one in found if one.name in row.options]
        found = [*found[:2], *own, inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)]
    words, keyword = [], False
    for one in found:
        if one.kind is one.KEYWORD_ONLY and not keyword:
            words.append("*")
        keyword |= one.kind in (one.KEYWORD_ONLY, one.VAR_POSITIONAL)
        words.append(_argument(one))
    short = f"{start}({', '.join(words)})"
    if len(short) <= 88:
        return short
    return f"{start}(\n" + "".join(f"    {word},\n" for word in words) + ")"


def _argument(one: inspect.Parameter) -> str:
    stars = "**" if one.kind is one.VAR_KEYWORD else "*" if one.kind is one.VAR_POSITIONAL else ""
    if one.default is one.empty:
        return f"{stars}{one.name}"
    default = f"{one.default!r}".replace("'", '"')
    return f"{one.name}={'...' if ' object at 0x' in default or '<' in default else default}"


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


_SECTIONS: Mapping[str, str] = {
    "parameters": "Arguments",
    "other parameters": "Arguments",
    "attributes": "Attributes",
    "returns": "Returns",
    "raises": "Raises",
}


_GIVEN = ("activation", "gradient", "run")
"""What the explainer hands to a method, and nobody passes."""


def _text(doc: str) -> str:
    """A docstring as Markdown: arguments as a list, examples as code, public names as links."""
    lines = []
    parsed = griffe.parse_google(
        griffe.Docstring(doc),
        warnings=False,
        returns_multiple_items=False,
        returns_named_value=False,
    )
    for part in parsed:
        kind = part.kind.value
        if kind == "text":
            lines += [_prose(part.value), ""]
        elif kind == "examples":
            lines += [_prose("\n\n".join(str(value) for _, value in part.value)), ""]
        elif kind in _SECTIONS:
            told = [one for one in part.value if getattr(one, "name", "") not in _GIVEN]
            lines += [f"**{_SECTIONS[kind]}**", "", *map(_item, told), ""] if told else []
        else:
            raise ValueError(f"a section {kind!r} of a docstring has no place on a page: {doc}")
    return "\n".join(lines)


def _item(one: object) -> str:
    """An argument, what comes back, or an error of one that a function raises."""
    told = _linked(" ".join(str(getattr(one, "description", "")).split()).replace("``", "`"))
    if name := getattr(one, "name", ""):
        return f"- `{name}`: {told}"
    kinds = re.findall(r"\w+", str(getattr(one, "annotation", None) or ""))
    return f"- {', '.join(_linked(f'`{kind}`') for kind in kinds)}: {told}" if kinds else told


def _prose(text: str) -> str:
    """Paragraphs; examples of a session and indented ones as code."""
    made = []
    for paragraph in re.split(r"\n\n(?=\S|    )", text):
        if paragraph.lstrip().startswith(">>>"):
            made.append(f"```pycon\n{paragraph}\n```")
        elif paragraph.startswith("    "):
            made.append(f"```python\n{inspect.cleandoc(paragraph)}\n```")
        else:
            before, session, rest = paragraph.partition("\n>>> ")
            made.append(_linked(before.replace("``", "`")).replace("::", ":"))
            made += [f"```pycon\n>>> {rest}\n```"] if session else []
    return "\n\n".join(made)


def _linked(text: str) -> str:
    """Public names in backticks lead to where they are told."""
    return re.sub(r"(?<!\[)`(\w+)`(?!\])", _link, text)


def _link(found: re.Match[str]) -> str:
    name = found[1]
    known = name in public.__all__
    return f"[`{name}`]({place(name)}.md#{name.lower()})" if known else found[0]


def _diagnoses() -> str:
    rows = [
        f"| `{word}` | {' '.join((message or 'nothing is wrong with it').split())} |"
        for word, message in diagnosis.MESSAGES.items()
    ]
    return "\n".join(
        [
            "## A word beside each map",
            "",
            "A map that tells nothing is no error: it comes with a word, `result.diagnosis`, and a "
            "message, `result.diagnosis[0].message`.",
            "",
            "| word | what it means, and what to do |",
            "| --- | --- |",
            *rows,
            "",
        ]
    )


def main(folder: Path) -> None:
    """Write all pages into the folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
