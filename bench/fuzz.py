"""The fuzzers of the tests, for as long as there is time: `python -m bench.fuzz --minutes 10`.

Request bodies, forms and damaged HTTP (`tests/edge/test_request_fuzz.py`), streams of upstreams
(`tests/dispatch/test_stream_fuzz.py`), and the whole API along its OpenAPI document
(`tests/edge/test_openapi_fuzz.py`), in rounds, each with another seed and more examples than the tests have time for.
Exits 1 at the first finding, which Hypothesis has shrunk and prints with the seed that shows it again.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {
    "tests/dispatch/test_stream_fuzz.py": 2000,
    "tests/edge/test_request_fuzz.py": 500,
    "tests/edge/test_openapi_fuzz.py": 30,
}
"""With examples for each test in a round."""


def fuzzed(target: str, examples: int, seed: int) -> subprocess.CompletedProcess[str]:
    """One round of one file."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        f"--hypothesis-seed={seed}",
        target,
    ]
    variables = {"FUZZ_EXAMPLES": str(examples), "FUZZ_SEED": str(seed)}
    return subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    until_s, seed = time.monotonic() + 60 * args.minutes, args.seed
    while True:
        for target, examples in TARGETS.items():
            began_s = time.monotonic()
            done = fuzzed(target, examples, seed)
            print(
                f"{target} seed {seed}: {done.stdout.splitlines()[-1]} ({time.monotonic() - began_s:.0f} s)", flush=True
            )
            if done.returncode:
                print(done.stdout[-8000:], done.stderr[-2000:])
                return 1
        seed += 1
        if time.monotonic() > until_s:
            return 0


if __name__ == "__main__":
    sys.exit(main())
