"""Public traces as rows that the simulation reads. Each folder lies under the directory given on the command line.

gentd26   production image requests (Alibaba, SoCC'25): times, base models and execution times are the trace's own; each
          model gets one load time, drawn with a seed from the measured base-model loads. Rows without a model are left
          out: nobody could have routed them.
azure     arrivals and lengths of Azure's 2023 conversation trace, 19,366 in one hour; it names no models, so request i
          asks for the i-th model of gentd26. 100 tokens a second; loads scaled to a tenth of gentd26's.
servegen  one day of the 40 busiest clients of `language/m-mid`, each taken for a model: in each ten minutes as many
          requests as its rate gives, with gamma gaps of its measured variation; rates scaled to 0.3 requests a second
          in all. Calls take 4 s, loads 10 s.
"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from msgspec.structs import replace

from pointsman.fleet.simulate import Trace

SEED = 0
WINDOW_S = 600
DAY_S = 86_400


def gentd26(data: Path) -> Trace:
    table = pq.read_table(data / "traces_gentd26/requests.parquet")
    named = [row for row in table.to_pylist() if row["checkpoint_model_version_id"] is not None]
    at = np.array([row["gmt_create"] for row in named], dtype="datetime64[s]").astype("int64")
    models = [row["checkpoint_model_version_id"] for row in named]
    loads = _loads_s(data, models)
    return Trace(
        at_s=[float(second - at[0]) for second in at],
        models=models,
        service_s=[row["exec_time_seconds"] for row in named],
        load_s=[loads[model] for model in models],
    )


def azure(data: Path) -> Trace:
    table = pq.read_table(data / "traces_azure2023/conv.parquet").sort_by("TIMESTAMP")
    at = np.asarray(table["TIMESTAMP"]).astype("datetime64[ns]").astype("int64") / 1e9
    other = gentd26(data)
    models = [other.models[i % len(other.models)] for i in range(len(at))]
    loads = _loads_s(data, models)
    return Trace(
        at_s=(at - at[0]).tolist(),
        models=models,
        service_s=(np.asarray(table["GeneratedTokens"]) / 100).tolist(),
        load_s=[loads[model] / 10 for model in models],
    )


def servegen(data: Path) -> Trace:
    rng = np.random.default_rng(SEED)
    table = pq.read_table(data / "traces_servegen/client_rates.parquet")
    rows = [
        row
        for row in table.to_pylist()
        if row["category"] == "language" and row["model"] == "m-mid" and row["t"] < DAY_S
    ]
    totals: dict[int, float] = {}
    for row in rows:
        totals[row["client"]] = totals.get(row["client"], 0.0) + row["rate"]
    busiest = set(sorted(totals, key=lambda client: -totals[client])[:40])
    scale = 0.3 * DAY_S / WINDOW_S / sum(totals[client] for client in busiest)
    asked: list[tuple[float, str]] = []
    for row in rows:
        if row["client"] not in busiest:
            continue
        count = rng.poisson(row["rate"] * scale * WINDOW_S)
        shape = 1 / min(max(row["cv"], 0.1), 5.0) ** 2  # beyond, gaps vanish beside the longest in double precision
        gaps_s = rng.gamma(shape, size=count + 1).cumsum() + 1e-12
        asked += [(row["t"] + WINDOW_S * at, f"client-{row['client']}") for at in (gaps_s / gaps_s[-1])[:-1].tolist()]
    asked.sort()
    n = len(asked)
    return Trace(
        at_s=[at_s for at_s, _ in asked], models=[who for _, who in asked], service_s=[4.0] * n, load_s=[10.0] * n
    )


TRACES = {"gentd26": gentd26, "azure": azure, "servegen": servegen}


def part(trace: Trace, first: int, end: int) -> Trace:
    """Some of its rows, in a row."""
    return Trace(
        at_s=trace.at_s[first:end],
        models=trace.models[first:end],
        service_s=trace.service_s[first:end],
        load_s=trace.load_s[first:end],
    )


def with_deadline(trace: Trace, deadline_s: float) -> Trace:
    """The same rows, whose callers leave after so long."""
    return replace(trace, deadline_s=[deadline_s] * len(trace.at_s))


def abcabc(rounds: int, *, every_s: float, patience_s: float, service_s: float = 1.0, load_s: float = 2.0) -> Trace:
    """Three models in turn: what a swapper with room for two fears most."""
    models = ["A", "B", "C"] * rounds
    n = len(models)
    return Trace(
        at_s=[i * every_s for i in range(n)],
        models=models,
        service_s=[service_s] * n,
        load_s=[load_s] * n,
        deadline_s=[patience_s] * n,
    )


def _loads_s(data: Path, models: list[str]) -> dict[str, float]:
    measured = np.asarray(pq.read_table(data / "traces_gentd26/basemodel_load_seconds.parquet")["value"]) / 1000
    names = sorted(set(models))
    drawn = np.random.default_rng(SEED).choice(measured, len(names))
    return dict(zip(names, drawn.tolist(), strict=True))
