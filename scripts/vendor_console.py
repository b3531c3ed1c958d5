"""Fetch what the console's page uses of others, check it, put it under `static/vendor`.

    python scripts/vendor_console.py

Needs npm. What is written is in git, so nobody else needs this. A version changes here, with its digest. The licences
go along; THIRD_PARTY.md says what came from where. Two things are rewritten: bare imports become relative ones (a page
with a strict policy has no import map), and links to source maps go (they are not shipped).
"""

import hashlib
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

VENDOR = Path(__file__).resolve().parent.parent / "src/pointsman/edge/console/static/vendor"
BARE = re.compile(r'from"(preact)"')
SOURCE_MAP = re.compile(r"\n//# sourceMappingURL=.*")
TEXT = """# Third party

What others wrote of the console's page, as `scripts/vendor_console.py` fetched it: do not edit, run that again.
"""


class Package(NamedTuple):
    name: str
    version: str
    sha256: str
    licence: str
    files: tuple[tuple[str, str], ...]


PACKAGES = (
    Package(
        "preact",
        "11.2.0",
        "3c4456766bd32b6b534d52bf4e9c2a29b33e7eedf6e96ed479300ba1a7888ebf",
        "MIT",
        (("dist/preact.mjs", "preact.js"), ("hooks/dist/hooks.mjs", "hooks.js"), ("LICENSE", "preact.LICENSE")),
    ),
    Package(
        "htm",
        "3.1.1",
        "2425b9bee11409177bcabc7f32e319926fc6690c1701c0b257c88bdff2d5ba90",
        "Apache-2.0",
        (("dist/htm.module.js", "htm.js"), ("LICENSE", "htm.LICENSE")),
    ),
    Package(
        "uplot",
        "1.6.32",
        "4b8a8191e425658e3ea8c8c1314b0fc679c861ee3a1af2b20c7b16ba50b5133d",
        "MIT",
        (("dist/uPlot.iife.min.js", "uplot.js"), ("dist/uPlot.min.css", "uplot.css"), ("LICENSE", "uplot.LICENSE")),
    ),
)


def main() -> None:
    VENDOR.mkdir(parents=True, exist_ok=True)
    rows = ["| file | package | licence | sha256 of the file here |", "|---|---|---|---|"]
    for package in PACKAGES:
        for name, text in fetched(package):
            (VENDOR / name).write_bytes(text)
            digest = hashlib.sha256(text).hexdigest()
            rows.append(f"| `{name}` | {package.name} {package.version} | {package.licence} | `{digest}` |")
    (VENDOR / "THIRD_PARTY.md").write_text(TEXT + "\n" + "\n".join(rows) + "\n", encoding="utf-8")


def fetched(package: Package) -> list[tuple[str, bytes]]:
    """Name here and contents of every file wanted. Exits where the archive is not the one that was looked at."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"{package.name}@{package.version}"
        subprocess.run(["npm", "pack", "--silent", wanted], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        archive = next(Path(folder).glob("*.tgz"))
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if digest != package.sha256:
            raise SystemExit(f"{wanted}: the archive's digest is {digest}, not {package.sha256}")
        with tarfile.open(archive) as tar:
            return [(ours, rewritten(ours, contents(tar, theirs))) for theirs, ours in package.files]


def contents(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(f"package/{name}")
    if file is None:
        raise SystemExit(f"there is no {name}")
    return file.read()


def rewritten(name: str, text: bytes) -> bytes:
    if not name.endswith(".js"):
        return text
    return SOURCE_MAP.sub("", BARE.sub(r'from"./\1.js"', text.decode())).encode()


if __name__ == "__main__":
    main()
