"""Format, lint, types, layers, dependencies: one line each, then the details of what failed. Exit status 1 where
anything did.

Every check runs, so that one run shows all there is to correct. `make format` corrects the first two.
"""

import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "tests", "bench", "examples", "scripts", "train")
TOOLS = Path(sysconfig.get_path("scripts"))


def checks(folders: list[str]) -> dict[str, list[str]]:
    """Name → command line, of the tools beside this interpreter."""
    return {
        "format": ["ruff", "format", "--check", *folders],
        "lint": ["ruff", "check", "--output-format=concise", *folders],
        "types": ["mypy", "--strict", "--no-error-summary", *folders],
        "layers": ["lint-imports", "--no-logo"],
        "audit": ["python", "scripts/audit.py"],
        "sbom": ["python", "scripts/sbom.py"],
    }


def run(name: str, command: list[str]) -> str:
    """Print the check's one line; return its output where it failed."""
    print(f"  {name:<8}", end="", flush=True)
    began_s = time.perf_counter()
    done = subprocess.run(
        [str(TOOLS / command[0]), *command[1:]],
        cwd=ROOT,
        env=os.environ | {"NO_COLOR": "1", "COLUMNS": "160"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(f"{'ok' if done.returncode == 0 else 'FAILED':<8}{time.perf_counter() - began_s:5.1f} s", flush=True)
    for line in done.stdout.splitlines():
        if line.startswith("note: "):
            print(f"{'':<10}{line}")
    return "" if done.returncode == 0 else f"\n{name}: {' '.join(command)}\n{done.stdout.rstrip()}"


def main() -> int:
    folders = [name for name in FOLDERS if any((ROOT / name).rglob("*.py"))]
    failures = [output for name, command in checks(folders).items() if (output := run(name, command))]
    print(*failures, sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
