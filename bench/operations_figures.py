"""The same figures from every place that tells them: the world's own truth, `/stats`, `/metrics`, the log, the store,
the console.

A figure's name is its own and, after a colon, whose it is (`requests:small`). A place leaves out what it does not tell.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bench.operations_world import BASELINE, MODELS, TREATMENT, TRIED, Happened
from pointsman.ledger.store.base import Query, Store
from pointsman.types_record import attempts_in

Figures = dict[str, float]
MTOK = 1e6
UNKNOWN = "unknown"
SUMS = {
    "baseline_cost_total": "baseline cost",
    "cache_saved_tokens_total": "saved tokens",
    "cost_total": "cost",
    "feedback_total": "verdicts told:recorded and changed",
    "latency_seconds_count": "answers",
}


def truth_of(world: Happened) -> Figures:
    """From what was asked and what the models saw."""
    found: Counter[str] = Counter()
    cost = baseline = 0.0
    for request_id, ask in world.asks.items():
        calls, answered = world.calls.get(request_id, []), world.answered_by(request_id)
        found.update(["requests", f"requests:{world.counted_under(request_id)}", f"of key:{ask.key}"])
        status = "success" if answered else "refused" if calls else "client_error"  # 503 of all is 503
        found.update([f"ended:{status}", f"http:{200 if answered else 503 if calls else 404}"])
        found.update(f"calls:{call.model}" for call in calls)
        found["failed calls"] += sum(not call.is_good for call in calls)
        if answered and calls and calls[0].model != answered:
            found.update(["fallbacks", f"fallbacks:{calls[0].model}→{answered}"])
        found["cache hits"] += ask.is_repeat
        if ask.model == TRIED:
            found[f"arm:{'treatment' if calls[0].model == TREATMENT else 'control'}"] += 1
        if answered:
            prompt, completion = MODELS[answered].tokens(ask.question)
            saved = "saved " if ask.is_repeat else ""
            found.update({f"{saved}prompt tokens": prompt, f"{saved}completion tokens": completion})
            found["saved tokens"] += (prompt + completion) * ask.is_repeat
            found["streams"] += ask.stream
            baseline += (prompt + completion) * MODELS[BASELINE].price / MTOK
            cost += 0.0 if ask.is_repeat else (prompt + completion) * MODELS[answered].price / MTOK
    verdicts = list(world.verdicts.values())
    told = {f"verdicts told:{what}": count for what, count in world.told.items()}
    money = {"cost": cost, "baseline cost": baseline, "savings %": 100 * (1 - cost / baseline)}
    return {**found, **told, **money, "verdicts": len(verdicts), "sum of verdicts": sum(verdicts)}


def heard_by_callers(world: Happened) -> Figures:
    """What callers saw of it themselves."""
    return dict(Counter(f"http:{status}" for status in world.http_status.values()))


def stats(page: Mapping[str, Any]) -> Figures:
    found: Figures = {
        "requests": page["total_requests"],
        "fallbacks": page["fallbacks"],
        "cache hits": page["cache"]["hit"],
        "saved tokens": page["cache"]["saved_tokens"],
        "prompt tokens": page["tokens"]["prompt"],
        "completion tokens": page["tokens"]["completion"],
        "cost": page["cost"]["total"],
        "baseline cost": page["cost"]["baseline"],
        "savings %": page["estimated_cost_savings_pct"],
        "verdicts": page["feedback"]["count"],
        "sum of verdicts": (page["feedback"]["mean"] or 0.0) * page["feedback"]["count"],
    }
    found |= {f"requests:{name}": group["count"] for name, group in page["model_distribution"].items()}
    found |= {f"ended:{name}": count for name, count in page["by_status"].items()}
    found |= {f"task:{name}": group["count"] for name, group in page["intents"].items()}
    found |= {f"language:{name}": group["count"] for name, group in page["languages"].items()}
    return found | {f"of key:{name}": group["count"] for name, group in page["keys"].items()}


def metrics(text: str) -> Figures:
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            _add_sample(found, sample.name.removeprefix("agent_router_"), sample.labels, sample.value)
    return dict(found)


def _add_sample(found: Counter[str], name: str, labels: Mapping[str, str], value: Any) -> None:
    match name:
        case "requests_total":
            found.update({f"requests:{labels['model']}": value, f"ended:{labels['status']}": value})
            found.update({f"task:{labels['intent']}": value, "requests": value})
        case "model_requests_total":
            found[f"calls:{labels['model']}"] += value
        case "fallback_requests_total":
            found.update({"fallbacks": value, f"fallbacks:{labels['from_model']}→{labels['to_model']}": value})
        case "cache_requests_total" if labels["result"] == "hit":
            found["cache hits"] += value
        case "tokens_total":
            found[f"{labels['direction']} tokens"] += value
        case "savings_ratio":
            found["savings %"] += 100 * value
        case "ledger_rows_total":
            found[f"rows {labels['result']}"] += value
        case _ if name in SUMS:
            found[SUMS[name]] += value


def log_lines(path: Path, of: Iterable[str]) -> Figures:
    """One line a request."""
    found: Counter[str] = Counter()
    wanted, cost = set(of), 0.0
    for raw in path.read_text("utf-8").splitlines():
        line = json.loads(raw) if raw.startswith("{") else {}
        if line.get("event") != "request" or line["request_id"] not in wanted:
            continue
        found.update(["requests", f"requests:{_model(line)}", f"ended:{line['status']}", f"of key:{line['tenant']}"])
        found.update([f"http:{line['http_status']}", f"language:{line['language'] or UNKNOWN}"])
        found.update(f"calls:{one['model']}" for one in line["attempts"])
        found["failed calls"] += sum(bool(one["error"]) for one in line["attempts"])
        if line["fallback_from"]:
            found.update(["fallbacks", f"fallbacks:{line['fallback_from']}→{line['model']}"])
        found["cache hits"] += line["cache"] == "hit"
        found["streams"] += line["stream"]
        found["prompt tokens"] += line["prompt_tokens"]
        found["completion tokens"] += line["completion_tokens"]
        cost += line["cost"]
        if line["asked_model"] == TRIED:
            found[f"arm:{line['arm']}"] += 1
    return {**found, "cost": cost}


def _model(line: Mapping[str, Any]) -> str:
    return line["model"] or (line["attempts"][-1]["model"] if line["attempts"] else UNKNOWN)


def store(books: Store, of: Iterable[str]) -> Figures:
    """One row a request."""
    found: Counter[str] = Counter()
    wanted, cost, baseline, said = set(of), 0.0, 0.0, 0.0
    for row in books.read(Query()):
        if row.request_id not in wanted:
            continue
        model = row.model_id if row.model_id in MODELS else UNKNOWN
        found.update(["requests", f"requests:{model}", f"ended:{row.status}", f"of key:{row.tenant}"])
        found.update([f"http:{row.http_status}", f"task:{row.task or UNKNOWN}", f"language:{row.language or UNKNOWN}"])
        found.update(f"calls:{one.model_id}" for one in attempts_in(row))
        found["failed calls"] += sum(bool(one.error) for one in attempts_in(row))
        if row.fallback_from:
            found.update(["fallbacks", f"fallbacks:{row.fallback_from}→{row.model_id}"])
        found["cache hits"] += row.cache == "hit"
        found["streams"] += row.stream
        tokens = {"prompt tokens": row.prompt_tokens, "completion tokens": row.completion_tokens}
        saved = {"saved prompt tokens": row.saved_prompt_tokens, "saved completion tokens": row.saved_completion_tokens}
        found.update(tokens | saved)
        found["saved tokens"] += row.saved_prompt_tokens + row.saved_completion_tokens
        cost, baseline = cost + row.cost, baseline + row.baseline_cost
        if row.asked_model == TRIED:
            found[f"arm:{row.arm}"] += 1
        found["verdicts"] += row.feedback is not None
        said += row.feedback or 0.0
    return {**found, "cost": cost, "baseline cost": baseline, "sum of verdicts": said}


def console(series: Mapping[str, Any]) -> Figures:
    """The last hour, as it is drawn."""
    found: Counter[str] = Counter()
    for bucket in series["buckets"]:
        found["fallbacks"] += bucket["fallbacks"]
        found["cache hits"] += bucket["hits"]
        flat = bucket["counts"]
        for at, count in zip(flat[::2], flat[1::2], strict=True):
            model, task, language, status = series["keys"][at]
            found.update({"requests": count, f"requests:{model or UNKNOWN}": count, f"ended:{status}": count})
            found.update({f"task:{task}": count, f"language:{language or UNKNOWN}": count})
    return dict(found)
