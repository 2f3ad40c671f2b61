"""YAML files as trees whose every value knows its line.

Scalars follow the core schema of YAML 1.2: `5e-4` and `1e7` are numbers, `on` and `no` are text,
`012` is twelve. Besides, `1_000` is a thousand, and a number with an exponent that is whole is an
integer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from clbench.errors import Mistake, SuiteError

Value: TypeAlias = "bool | int | float | str | list[Node] | dict[str, Node] | None"

MAX_NODES = 100_000
"""Values in a file, aliases counted as often as they are used."""
MAX_DEPTH = 50
"""Levels of nesting."""
MAX_DIGITS = 100
"""Characters of a number; what is longer is text."""


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a file.

    Attributes:
        value: A scalar, a list of nodes, or a mapping of text to nodes.
        line: 1-based line of its key, or of itself in a list.
        where: Dotted path, such as ``methods.si.learner``; of an alias, that of its anchor.
    """

    value: Value
    line: int
    where: str

    def plain(self) -> Any:
        """The value without lines."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def at(self, path: tuple[str | int, ...]) -> Node:
        """The node that a path leads to; steps that lead nowhere are left out."""
        node = self
        for step in path:
            if isinstance(node.value, dict) and step in node.value:
                node = node.value[str(step)]
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
        return node


def describe(value: Any) -> str:
    """A value as errors name it: "the text 'abc'", "the number 3", "a list"."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text '{value if len(value) <= 60 else value[:60] + '...'}'"
    return "a list" if isinstance(value, list) else "a mapping"


_INT = re.compile(r"[-+]?[0-9][0-9_]*")
_OCTAL, _HEX = re.compile(r"0o[0-7]+"), re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def _scalar(text: str) -> bool | int | float | str | None:
    """The value of a plain (unquoted) scalar."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if len(text) > MAX_DIGITS:
        return text
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text.replace("_", ""))
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEX.fullmatch(text):
        return int(text[2:], 16)
    if _FLOAT.fullmatch(text):
        number = float(text.replace("_", ""))
        is_whole = "e" in text.lower() and number.is_integer() and abs(number) < 2**53
        return int(number) if is_whole else number
    if _SPECIAL.fullmatch(text):
        return float(text.lower().replace(".", ""))
    return text


class _Reader:
    """Turns composed YAML into nodes, and collects mistakes instead of stopping at the first."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self._count = 0
        self._places: dict[int, tuple[int, str]] = {}  # where what an alias repeats was written

    def node(self, composed: yaml.Node, where: str, line: int, depth: int = 0) -> Node:
        self._count += 1
        if self._count > MAX_NODES or depth > MAX_DEPTH:
            what = f"more than {MAX_NODES} values" if depth <= MAX_DEPTH else "nested too deeply"
            raise _TooLargeError(line, f"{what}; is an alias repeated many times?")
        line, where = self._places.setdefault(id(composed), (line, where))
        if composed.tag not in _PLAIN_TAGS:
            self.mistakes.append(Mistake(line, where, f"the tag '{composed.tag}' is not known"))
        value: Value
        if isinstance(composed, yaml.ScalarNode):
            text = self._text(composed, where)
            value = text if composed.style else _scalar(text)
        elif isinstance(composed, yaml.SequenceNode):
            value = [
                self.node(item, f"{where}[{i}]", _line(item), depth + 1)
                for i, item in enumerate(composed.value)
            ]
        else:
            assert isinstance(composed, yaml.MappingNode)  # there are no other kinds
            value = self._mapping(composed, where, depth)
        return Node(value, line, where)

    def _mapping(self, composed: yaml.MappingNode, where: str, depth: int) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key_node, value_node in composed.value:
            line = _line(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self.mistakes.append(
                    Mistake(line, where, "a key must be text, not a list or mapping")
                )
                continue
            key = self._text(key_node, where)
            if key == "<<" and not key_node.style:
                merged = self._merged(value_node, where, line, depth) | merged
                continue
            if key in own:
                what = f"the key '{key}' is already on line {own[key].line}"
                self.mistakes.append(Mistake(line, f"{where}.{key}".lstrip("."), what))
                continue
            own[key] = self.node(value_node, f"{where}.{key}".lstrip("."), line, depth + 1)
        return merged | own

    def _merged(self, composed: yaml.Node, where: str, line: int, depth: int) -> dict[str, Node]:
        sources = composed.value if isinstance(composed, yaml.SequenceNode) else [composed]
        merged: dict[str, Node] = {}
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                self.mistakes.append(Mistake(line, where, "'<<' takes a mapping or a list of them"))
                continue
            value = self.node(source, where, line, depth + 1).value
            assert isinstance(value, dict)  # made of a mapping
            merged = value | merged
        return merged

    def _text(self, composed: yaml.ScalarNode, where: str) -> str:
        text: str = composed.value
        if any("\ud800" <= character <= "\udfff" for character in text):
            what = "an escape such as '\\ud800' is half a character; write the character itself"
            self.mistakes.append(Mistake(_line(composed), where, what))
            return text.encode(errors="replace").decode()
        return text


class _Composer(yaml.SafeLoader):
    """Composes without guessing types, so that a tag is one that the file gives."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (as in the base class)


_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}


class _TooLargeError(Exception):
    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


def _line(composed: yaml.Node) -> int:
    return int(composed.start_mark.line) + 1


def read(path: Path) -> tuple[Node, list[Mistake]]:
    """The tree of a file, whose root is a mapping, and the mistakes found while reading it.

    Raises:
        SuiteError: There is no tree: the file is not there, empty, not UTF-8, or not YAML.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise SuiteError(path, [Mistake(None, "", "there is no such file")]) from None
    except IsADirectoryError:
        raise SuiteError(path, [Mistake(None, "", "expected a file, found a folder")]) from None
    except OSError as error:
        raise SuiteError(path, [Mistake(None, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        what = f"not UTF-8 (byte 0x{error.object[error.start]:02x})"
        raise SuiteError(path, [Mistake(line, "", what)]) from None
    reader = _Reader()
    try:
        composed = _compose(text)
        if composed is None:
            raise SuiteError(path, [Mistake(None, "", "the file is empty")])
        root = reader.node(composed, "", _line(composed))
    except yaml.reader.ReaderError as error:
        what = f"not YAML: the character {chr(error.character)!r} is not allowed"
        line = text[: error.position].count("\n") + 1
        raise SuiteError(path, [Mistake(line, "", what)]) from None
    except yaml.YAMLError as error:
        raise SuiteError(path, [_syntax(error, text)]) from None
    except _TooLargeError as error:
        raise SuiteError(path, [Mistake(error.line, "", str(error))]) from None
    except RecursionError:
        raise SuiteError(path, [Mistake(None, "", "nested too deeply")]) from None
    if not isinstance(root.value, dict):
        what = f"expected a mapping of keys to values, found {describe(root.value)}"
        raise SuiteError(path, [Mistake(root.line, "", what)])
    return root, reader.mistakes


def _compose(text: str) -> yaml.Node | None:
    composer = _Composer(text)
    try:
        found: yaml.Node | None = composer.get_single_node()
    except (ValueError, OverflowError):  # PyYAML lets chr() fail on an escape such as "\UFFFFFFFF"
        mark = composer.get_mark()
        raise yaml.MarkedYAMLError(
            problem="an escape stands for no character", problem_mark=mark
        ) from None
    return found


def _syntax(error: yaml.YAMLError, text: str) -> Mistake:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    line = mark.line + 1 if mark else None
    if isinstance(error, yaml.MarkedYAMLError) and mark:
        line, problem = _in_plain_words(error, _BREAK.split(text), mark) or (line, problem)
    return Mistake(line, "", f"not YAML: {problem}")


_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # as marks count lines
_UNSPACED = re.compile(r"\s*(?:- )?([\w.-]+:)[^\s:]\S*\s*(?:#.*)?")


def _in_plain_words(
    error: yaml.MarkedYAMLError, lines: list[str], mark: yaml.Mark
) -> tuple[int, str] | None:
    """Line and wording of the mistakes that people make most; None for any other."""
    problem, start = str(error.problem), error.context_mark
    here = lines[mark.line] if mark.line < len(lines) else ""
    above = next((i for i in range(mark.line - 1, -1, -1) if _has_content(lines[i])), None)
    if problem.startswith("found character '\\t'"):
        return mark.line + 1, "a tab where spaces are expected"
    if problem.startswith("found character "):
        return mark.line + 1, f"a text that begins with '{here[mark.column]}' needs quotes"
    if error.context == "while scanning a block scalar" and start:
        first = lines[start.line][start.column]
        return start.line + 1, f"a text that begins with '{first}' needs quotes"
    if error.context == "while scanning a simple key" and start:
        return start.line + 1, _unspaced(lines[start.line]) or "expected ':' after a key"
    does_not_fit = problem == "expected <block end>, but found '<block mapping start>'"
    if problem == "mapping values are not allowed here" or does_not_fit:
        if re.search(r":\s", here[: mark.column]):
            return mark.line + 1, "a text in which ': ' occurs needs quotes"
        if above is not None and (unspaced := _unspaced(lines[above])):
            return above + 1, unspaced
        if above is not None and not does_not_fit and _has_value(lines[above], below=here):
            return (
                mark.line + 1,
                f"indented deeper than line {above + 1}, which has a value already",
            )
    if does_not_fit and start:
        return mark.line + 1, _misplaced(lines, mark.line, start)
    return None


def _unspaced(line: str) -> str | None:
    found = _UNSPACED.fullmatch(line)
    return f"a space is missing after '{found[1]}'" if found else None


def _has_value(line: str, below: str) -> bool:
    return bool(re.search(r":\s+\S", line)) and _indent(below) > _indent(line)


def _misplaced(lines: list[str], index: int, block: yaml.Mark) -> str:
    """A line whose indentation is that of no block around it."""
    indent = _indent(lines[index])
    earlier = [i for i in range(index) if _has_content(lines[i])]
    outer = next((i for i in reversed(earlier) if _indent(lines[i]) < indent), None)
    inner = next((i for i in earlier if outer is not None and i > outer), None)
    is_between = inner is not None and _indent(lines[inner]) > indent
    if outer is None or inner is None or not is_between or _indent(lines[outer]) != block.column:
        since = f"its block since line {block.line + 1} by {block.column}"
        return f"indented by {indent} spaces, and {since}"
    places = (f"line {i + 1} (by {_indent(lines[i])})" for i in (outer, inner))
    return f"indented by {indent} spaces, which fits neither {' nor '.join(places)}"


def _has_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def walk(node: Node) -> Iterator[Node]:
    """A node and all nodes below it."""
    yield node
    if isinstance(node.value, dict):
        for child in node.value.values():
            yield from walk(child)
    elif isinstance(node.value, list):
        for child in node.value:
            yield from walk(child)


def named(node: Node) -> Node:
    """``fine-tuning`` as ``{name: fine-tuning}``."""
    if isinstance(node.value, dict):
        return node
    return Node({"name": Node(node.value, node.line, node.where)}, node.line, node.where)


def merge(base: Node | None, over: Node | None) -> Node | None:
    """`over` laid upon `base`, mappings key by key; another ``name`` drops all of the old one."""
    if base is None or over is None:
        return base if over is None else over
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    names = [node.value.get("name") for node in (base, over) if isinstance(node.value, dict)]
    if names[0] and names[1] and names[0].value != names[1].value:
        return over
    merged = dict(base.value)
    for key, child in over.value.items():
        found = merge(merged.get(key), child)
        assert found is not None  # the child is given
        merged[key] = found
    return Node(merged, over.line, over.where)
