"""How fast the machine decides: `python -m bench.fleet.speed [--rows 1000000] [--write]`.

Made-up traces, Poisson arrivals, models by Zipf's law; calls take 1 s in the mean, loads 5 s. Events a CPU second on
one core; reading a file is not in it. `--write` puts the table between its marks in README.md.
"""

import argparse
from collections.abc import Iterator
from time import process_time

import numpy as np

from bench.fleet.compare import README
from bench.fleet.page import rewrite
from pointsman.fleet.simulate import Trace, play
from pointsman.fleet.values import Rules

CASES = (
    # what, share of the rows, models, resident, requests a second, at once a model
    ("40 models, room for 16", 1.0, 40, 16, 1.0, 4),
    ("40 models, room for 8", 1.0, 40, 8, 1.0, 4),
    ("20 models, room for 8, busy", 0.1, 20, 8, 8.0, 4),
    ("one model, asked too much", 0.1, 1, 1, 3.0, 2),
    ("100 models, room for 4, asked too much", 0.05, 100, 4, 5.0, 2),
)
DEADLINE_S = 300.0


def zipf(rows: int, models: int, rate: float, seed: int = 0) -> Trace:
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, models + 1)
    names = [f"model-{number}" for number in rng.choice(models, rows, p=weights / weights.sum())]
    return Trace(
        at_s=rng.exponential(1 / rate, rows).cumsum().tolist(),
        models=names,
        service_s=rng.exponential(1.0, rows).tolist(),
        load_s=[5.0] * rows,
        deadline_s=[DEADLINE_S] * rows,
    )


def table(rows: int) -> Iterator[str]:
    yield "| trace | requests | loads | refused | longest wait s | CPU s | events a CPU second |"
    yield "|---|---|---|---|---|---|---|"
    for name, share, models, resident, rate, parallel in CASES:
        trace = zipf(max(1, int(rows * share)), models, rate)
        began_s = process_time()
        played = play(trace, resident, Rules(), slots=parallel)
        took_s = process_time() - began_s
        cells = f"{played.requests:,} | {played.loads:,} | {played.refused:,} | {played.wait_s.max:.0f} | {took_s:.1f}"
        yield f"| {name} | {cells} | {played.events / took_s:,.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true", help="into README.md")
    given = parser.parse_args()
    lines = []
    for line in table(given.rows):
        print(line, flush=True)
        lines.append(line)
    if given.write:
        rewrite(README, "speed", "\n".join(lines))


if __name__ == "__main__":
    main()
