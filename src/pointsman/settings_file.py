"""A YAML text as a plain tree, with the place of every key, and environment variables laid over it.

Knows: YAML, lines, variables. Does not know: which keys exist or what they mean (`settings`).

YAML 1.2's few plain scalars, not YAML 1.1's many: only `true` and `false` are booleans, so `no` is Norwegian
and `on` is a word; a number with a leading zero, an underscore or a colon is text; there are no dates. Keys are always
text. Anchors, aliases and merge keys (`<<`) work; tags do not. Two equal keys are a problem, never a silent loss.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from pointsman.errors import ConfigError

ENV_PREFIX = "POINTSMAN_"
RESERVED_ENV = frozenset({"POINTSMAN_CONFIG"})
# Kubernetes announces a Service called `pointsman` to every pod beside it under our prefix; these are not overrides.
KUBERNETES_ENV = re.compile(r"POINTSMAN_(SERVICE_(HOST|PORT)|PORT)(_|$)")
MAX_DEPTH = 20
MAX_NODES = 20_000

KeyPath = tuple[str | int, ...]

_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,99})")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TEXT_TAG = "tag:yaml.org,2002:str"
_PLAIN_TAGS = frozenset({_TEXT_TAG, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
_REMEDIES = (
    ("'\\t'", "indent with spaces, not tabs"),
    ("mapping values are not allowed", "quote a value that contains `: `, or correct the indentation"),
    ("<block end>", "align this line with its neighbours"),
    ("another document", "keep one document and remove the second `---`"),
    ("alias", "define the anchor `&name` before `*name`"),
    ("special characters", "remove the control character"),
)


class Document:
    """What a text said: `tree`, the place of each key, and what was wrong with the text itself."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.tree: dict[str, Any] = {}
        self.places: dict[KeyPath, str] = {(): where}
        self.problems: list[str] = []

    def place(self, path: KeyPath) -> str:
        """`FILE:LINE` or `environment NAME`, of the key or of its nearest ancestor that was written down."""
        return next(self.places[path[:length]] for length in range(len(path), -1, -1) if path[:length] in self.places)

    def problem(self, path: KeyPath, said: str) -> str:
        """One line: place, dotted path, what is wrong and what to do."""
        return f"{self.place(path)}: {dotted(path)}: {said}"

    def __repr__(self) -> str:
        return f"Document({self.where}, {len(self.places)} keys, {len(self.problems)} problems)"


def read(text: str, where: str, environ: Mapping[str, str]) -> Document:
    """The text's tree, variables laid over it. Raises ConfigError where the text has no tree at all."""
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError((_not_yaml(error, where),)) from None
    except RecursionError:
        raise ConfigError((f"{where}: is nested too deeply; no setting needs that",)) from None
    except (ValueError, OverflowError) as error:  # PyYAML lets these out on escapes such as "\\UFFFFFFFF"
        raise ConfigError((f"{where}: is not valid YAML: {error}; correct the escape or the number",)) from None
    if not isinstance(root, yaml.MappingNode):
        found = "nothing" if root is None else "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
        raise ConfigError(
            (f"{where}: must be a mapping with at least `models:`, but holds {found}; start from pointsman.yaml",)
        )
    document = Document(where)
    document.tree = _Reader(document).mapping(root, ())
    _lay_over(document, environ)
    return document


def plain(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def dotted(path: KeyPath) -> str:
    """`models[2].source.url`."""
    out = ""
    for step in path:
        out += f"[{step}]" if isinstance(step, int) else f".{shown(step)}" if out else shown(step)
    return out or "settings"


def shown(text: str) -> str:
    """The text on one line, control characters escaped."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


class _Loader(yaml.SafeLoader):
    """Leaves every untagged scalar as text: `plain` decides, and for variables too."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # PyYAML's own class-level table, emptied


class _Reader:
    """Nodes → tree. Bounded in depth and count, so that an alias to itself or a bomb of aliases ends in an error."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.nodes = 0

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._bound(node, path, len(path))
        self._check(node, path)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*path, index)) for index, item in enumerate(node.value)]
        return plain(node.value) if _is_plain(node) else node.value

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        """Its own keys first; then what `<<` brings, where no own key stands."""
        out: dict[str, Any] = {}
        for key, value in _pairs(node):
            if self._check(key, path) and key.value in out:
                first = self.document.places[*path, key.value]
                self._report(key, (*path, key.value), f"stands twice (first at {first}); keep one")
            elif isinstance(key, yaml.ScalarNode):
                out[key.value] = self._member(key, value, path)
            else:
                self._report(key, path, "has a list or a mapping for a key; write `key: value`")
        for key, value in self._merged(node, path, 0):
            if self._check(key, path) and key.value not in out:
                out[key.value] = self._member(key, value, path)
        return out

    def _member(self, key: yaml.Node, value: yaml.Node, path: KeyPath) -> Any:
        self.document.places.setdefault((*path, key.value), self._at(key))
        return self.value(value, (*path, key.value))

    def _item(self, node: yaml.Node, path: KeyPath) -> Any:
        self.document.places.setdefault(path, self._at(node))
        return self.value(node, path)

    def _merged(self, node: yaml.MappingNode, path: KeyPath, depth: int) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        for key, value in node.value:
            if not _is_merge(key):
                continue
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                self._bound(source, path, depth)
                if isinstance(source, yaml.MappingNode):
                    yield from _pairs(source)
                    yield from self._merged(source, path, depth + 1)
                else:
                    self._report(source, path, "`<<` takes mappings only; point it at the `&name` of a mapping")

    def _bound(self, node: yaml.Node, path: KeyPath, depth: int) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            said = "is nested or repeated too deeply; write it out without aliases"
            raise ConfigError((f"{self._at(node)}: {dotted(path[:3])}: {said}",))

    def _check(self, node: yaml.Node, path: KeyPath) -> bool:
        """Report what no value may be: tagged, half a character, or a key that is no word. True for a good scalar."""
        if node.tag not in _PLAIN_TAGS:
            self._report(node, path, f"has the tag `{shown(node.tag)}`; remove it")
        if not isinstance(node, yaml.ScalarNode):
            return False
        if not _is_text(node.value):
            self._report(node, path, "holds half a character (a surrogate escape); write the character itself")
            node.value = shown(node.value)
        return True

    def _report(self, node: yaml.Node, path: KeyPath, said: str) -> None:
        self.document.problems.append(f"{self._at(node)}: {dotted(path)}: {said}")

    def _at(self, node: yaml.Node) -> str:
        return f"{self.document.where}:{node.start_mark.line + 1}"


def _pairs(node: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    return ((key, value) for key, value in node.value if not _is_merge(key))


def _is_merge(key: yaml.Node) -> bool:
    return bool(key.value == "<<") and _is_plain(key)


def _is_plain(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None


def _is_text(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _not_yaml(error: yaml.YAMLError, where: str) -> str:
    mark = getattr(error, "problem_mark", None)
    at = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    remedy = next((remedy for sign, remedy in _REMEDIES if sign in what), "check indentation and quotes there")
    return f"{where}{at}: is not valid YAML: {what}; {remedy}"


def overrides(environ: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """(variable, path, value) of each POINTSMAN_SECTION__KEY. An empty variable counts as unset."""
    for name, value in sorted(environ.items()):
        if name.startswith(ENV_PREFIX) and value and name not in RESERVED_ENV and not KUBERNETES_ENV.match(name):
            yield name, tuple(name.removeprefix(ENV_PREFIX).lower().split("__")), value


def _lay_over(document: Document, environ: Mapping[str, str]) -> None:
    """Write the variables into the tree. They reach sections and their plain values, never into lists."""
    for name, path, value in overrides(environ):
        section = _section(document, path, name)
        if not _is_text(name + value):
            document.problems.append(f"environment {shown(name)}: is not UTF-8 text; correct its encoding")
        elif section is None:
            said = f"leads into something that is not a section; name {ENV_PREFIX}SECTION__KEY"
            document.problems.append(f"environment {name}: {said}")
        else:
            is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            section[path[-1]] = value[1:-1] if is_quoted else plain(value)
            document.places[path] = f"environment {name}"


def _section(document: Document, path: tuple[str, ...], name: str) -> dict[str, Any] | None:
    """The mapping that holds `path`'s last key, made where absent; None where a list or a value stands in the way."""
    here = document.tree
    for depth, step in enumerate(path[:-1], 1):
        if here.get(step) is None:
            here[step] = {}
            document.places[path[:depth]] = f"environment {name}"
        here = here[step]
        if not isinstance(here, dict):
            return None
    return here
