"""What we depend on, checked: the locks, the licences of what is installed, and known vulnerabilities.

    python scripts/audit.py [--offline] [--locks requirements]

Exit status 1, and a line each, where a lock names anything but a version with its hashes, where a package is here that
must not be, where a licence is not on the list or not known, and where the advisory service knows of a vulnerability.
That the service cannot be asked, or knows none of our packages, is told in a line that begins with `note:` and fails
nothing.
"""

import argparse
import json
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
EVERYTHING = "dev.lock"
"""It holds every package of local.lock too."""
AUDIT_S = 60.0
PIN = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[A-Za-z0-9.+!]+)(?: ; (?P<marker>[^;@]+?))?"
    r"(?P<hashes>( --hash=sha256:[0-9a-f]{64})+)"
)
FORBIDDEN = {"litellm": "two of its releases were compromised in 2026, and we need nothing of it"}
ALLOWED = frozenset(
    "0BSD Apache-2.0 BSD-2-Clause BSD-3-Clause BSL-1.0 CC0-1.0 CNRI-Python ISC LLVM-exception MIT MIT-0 MIT-CMU "
    "MPL-2.0 PSF-2.0 Python-2.0 Unlicense Zlib".split()
)
EXCEPTED = {
    "espeakng-loader": "declares none, espeak-ng inside is GPL-3.0-or-later: loaded by the speech worker alone",
    "piper-tts": "GPL-3.0-or-later: imported by the speech worker alone",
    "psycopg": "LGPL-3.0-only: a library of its own, imported where `postgres` is configured",
    "psycopg-binary": "LGPL-3.0-only: as psycopg",
}
"""docs/dependencies.md says what that means."""
SAID = {
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache2": "Apache-2.0",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "isc license": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}
"""What packages write where the standard wants an SPDX expression."""


class Pin(NamedTuple):
    """One requirement of a lock."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]


def requirements_of(lock: str) -> Iterator[str]:
    """The requirements and options of a lock, each on one line, without comments."""
    for line in re.sub(r" *\\\n *", " ", lock).splitlines():
        if said := line.partition("#")[0].strip() if not line.startswith("#") else "":
            yield said


def pin_of(requirement: str) -> Pin | None:
    """None where it is anything but `name==version` with hashes."""
    found = PIN.fullmatch(requirement)
    if found is None:
        return None
    hashes = tuple(part.partition("sha256:")[2] for part in found["hashes"].split())
    return Pin(found["name"], found["version"], found["marker"] or "", hashes)


def problems_of_lock(lock: str) -> list[str]:
    """What is wrong with the text of a lock."""
    pins = [(said, pin_of(said)) for said in requirements_of(lock)]
    found = [f"`{said[:100]}` is not a version with its sha256 hashes" for said, pin in pins if pin is None]
    found += [f"{pin.name}: {FORBIDDEN[pin.name]}" for _, pin in pins if pin and pin.name in FORBIDDEN]
    return found if pins else ["is empty"]


# ---------------------------------------------------------------- licences


class Package(NamedTuple):
    """What an installed package says of its licence: an SPDX expression, or free words."""

    name: str
    expression: str
    words: tuple[str, ...]

    @classmethod
    def of(cls, installed: Distribution) -> "Package":
        metadata = installed.metadata
        marks = [text for text in metadata.get_all("Classifier") or () if text.startswith("License :: ")]
        words = [mark.rpartition(" :: ")[2] for mark in marks if not mark.endswith("OSI Approved")]
        free = "".join(metadata.get_all("License") or ()).strip().splitlines()[:1]
        name = re.sub(r"[-_.]+", "-", installed.name).lower()
        return cls(name, "".join(metadata.get_all("License-Expression") or ()), tuple(words or free))


def licence_of(package: Package) -> str:
    """As an SPDX expression; empty where it is not known. Of several words any may be meant, so all count."""
    if package.expression:
        return package.expression
    return " AND ".join(f"({SAID.get(word.strip().lower(), word)})" for word in package.words)


def is_allowed(expression: str) -> bool:
    """Every licence in it; or, where it leaves a plain choice, one of them."""
    names = re.findall(r"[\w.+-]+", expression)
    licences = {name for name in names if name not in {"AND", "OR", "WITH"}}
    is_choice = not {"AND", "WITH"} & set(names)
    return bool(licences) and (licences <= ALLOWED or (is_choice and "OR" in names and bool(licences & ALLOWED)))


def licence_problems(packages: Iterable[Package]) -> list[str]:
    """Packages whose licence is not on the list, or not known."""
    return [
        f"{package.name}: licence {licence_of(package) or 'unknown'!s} is not on the list"
        for package in packages
        if package.name not in EXCEPTED and not is_allowed(licence_of(package))
    ]


# ---------------------------------------------------------------- advisories


def asked(lines: list[str]) -> list[dict[str, object]] | None:
    """What the advisory service says of these requirements; None where it cannot be asked."""
    tool = str(Path(sysconfig.get_path("scripts")) / "pip-audit")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        command = [tool, "--disable-pip", "--require-hashes", "--timeout", "5", "--progress-spinner", "off"]
        try:
            done = subprocess.run(
                [*command, "-f", "json", "-r", file.name], capture_output=True, timeout=AUDIT_S, check=False
            )
            told: list[dict[str, object]] = json.loads(done.stdout)["dependencies"]
        except (subprocess.TimeoutExpired, OSError, ValueError, KeyError):
            return None
    return told


def vulnerabilities(told: list[dict[str, object]]) -> list[str]:
    """A line for each known one."""
    found = []
    for package in told:
        flaws = package.get("vulns")
        for flaw in flaws if isinstance(flaws, list) else ():
            remedy = ", ".join(flaw.get("fix_versions") or ()) or "none yet"
            found.append(f"{package['name']} {package['version']}: {flaw['id']}; mended in {remedy}")
    return found


def advisories(lock: str) -> tuple[list[str], str]:
    """Known vulnerabilities of a lock, and a note on who was not asked. One package is tried first: a service that does
    not answer is not asked a hundred times."""
    lines = list(requirements_of(lock))
    first = asked(lines[:1])
    if first is None or all("skip_reason" in one for one in first):
        return [], "note: the advisory service cannot be asked from here; known vulnerabilities were not looked up"
    told = asked(lines)
    if told is None:
        return [], "note: the advisory service did not answer in time; known vulnerabilities were not looked up"
    skipped = sum("skip_reason" in one for one in told)
    return vulnerabilities(told), f"note: {skipped} packages are unknown to the advisory service" if skipped else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offline", action="store_true", help="ask no advisory service")
    parser.add_argument("--locks", type=Path, default=LOCKS, help="folder of the locks")
    args = parser.parse_args()
    locks = {lock.name: lock.read_text(encoding="utf-8") for lock in sorted(args.locks.glob("*.lock"))}
    found = [f"{name}: {said}" for name, text in locks.items() for said in problems_of_lock(text)]
    found += licence_problems(Package.of(installed) for installed in distributions())
    if not args.offline:
        known, note = advisories(locks[EVERYTHING])
        found += known
        print(note, end="\n" if note else "")
    print(*found, sep="\n", end="\n" if found else "")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
