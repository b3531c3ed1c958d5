"""Show that what stands under deploy/ works: a real Prometheus scrapes a real gateway under load, loads the rules, and
every panel of every dashboard is asked for its data.

`python -m scripts.verify_operations [--seconds 60] [--out FOLDER]`. Needs the programs `prometheus` and `promtool`
(Debian: prometheus); with `chromium`, Prometheus' own pages are photographed into FOLDER, with matplotlib the
dashboards are drawn there as previews. Upstreams are simulated. Grafana itself is not run: no registry has a package
of it; its dashboards are checked against its schema library where that is installed (`grafana-foundation-sdk`).
"""

import argparse
import asyncio
import itertools
import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from scripts.dashboards import DASHBOARDS, dashboard_json

from pointsman.admission.keys import hash_of
from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
WINDOW = "15s"
VARIABLES = {"$__rate_interval": WINDOW, "$model": ".*", "$experiment": ".*", "${datasource}": "prometheus"}
QUESTIONS = (
    "Write a Python function that merges two sorted lists, number {}",
    "Why does ice float? Think it through step by step, case {}",
    "What is the capital of country number {}?",
    "भारत की राजधानी क्या है, प्रश्न {}",
    "இந்தியாவின் தலைநகரம் எது, கேள்வி {}",
    "Compare PostgreSQL and SQLite for workload {} in depth: locking, replication and cost",
    "yaar mujhe {} number ka gaana suna do na",
)
EXPECTED_EMPTY = {
    "GPU {{gpu}} {{instance}}": "no GPU is budgeted here",
    "Time on GPUs": "no GPU answers here",
    "Sleeping and waking, p95": "the simulated engine cannot sleep",
    "The second opinion": "the encoder is an extra",
    "{{model}} died": "no engine was killed",
}


def settings_of(upstream: FaultUpstream, cache: Path, key: str) -> str:
    """Two models on trial, one that fails now and then, one that is not there, and two that take turns in memory."""
    remote = {"backend": "openai", "url": upstream.url, "slots": 8}
    child = [sys.executable, "-m", "pointsman.testing.upstream", "--port", "{port}"]
    engine = {"backend": "command", "argv": child, "model": "mock-t5-n10", "memory_gb": 1.5}
    models: list[dict[str, Any]] = [
        remote | {"id": "small", "model": "mock-t20-i2-n30", "cost_per_mtok": 1, "quality": {"general": 0.6}},
        remote | {"id": "large", "model": "mock-t60-i4-n80", "cost_per_mtok": 9, "quality": {"general": 0.8}},
        remote | {"id": "shaky", "model": "mock-t10-n20-e0.8", "cost_per_mtok": 2},
        {"id": "gone", "backend": "openai", "url": "http://127.0.0.1:9/v1", "cost_per_mtok": 1},
        engine | {"id": "one"},
        engine | {"id": "two"},
    ]
    pair = {"name": "pair", "kind": "small_large", "control": "large", "treatment": "small", "min_samples": 10}
    return json.dumps(
        {
            "cache_dir": str(cache),
            "log": {"requests": False, "level": "error"},
            "ledger": {"enabled": True},
            "cache": {"exact": "all"},
            "fleet": {"memory_budget_gb": 2, "min_resident_s": 0},
            "routing": {
                "use_cases": {"general": ["small", "large"]},
                "fallbacks": {"gone": ["small"], "shaky": ["large"]},
            },
            "experiments": [pair],
            "keys": [{"name": "everybody", "sha256": hash_of(key)}],
            "models": models,
        }
    )


async def load(url: str, seconds: float, key: str) -> int:
    """Callers of every kind for that long; how many requests were made."""
    asked = itertools.count()
    end_s = asyncio.get_running_loop().time() + seconds
    models = ("auto",) * 9 + ("gone", "shaky", "one", "two", "mistyped")

    async def caller(session: aiohttp.ClientSession, seed: int) -> None:
        while asyncio.get_running_loop().time() < end_s:
            number = next(asked)
            text = QUESTIONS[number % len(QUESTIONS)].format(number // 2 % 40 if seed else number)
            model = models[number % len(models)]
            body = {"model": model, "stream": number % 3 == 0, "messages": [{"role": "user", "content": text}]}
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                await response.read()
                request_id = response.headers.get("x-request-id", "")
                by = response.headers.get("x-routing-model-id", "")
            if response.status == 200:
                score = 0.85 if by == "large" else 0.8
                await (
                    await session.post(f"{url}/v1/feedback", json={"request_id": request_id, "score": score})
                ).release()
            await asyncio.sleep(0.02)

    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
        await asyncio.gather(*(caller(session, seed) for seed in range(6)))
    return next(asked)


# ---------------------------------------------------------------- Prometheus


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def prometheus(target: str, folder: Path, key: str) -> Iterator[str]:
    """The base URL of a Prometheus with our rules that scrapes `target` every second."""
    (folder / "key").write_text(key, encoding="utf-8")
    job = {"job_name": "pointsman", "authorization": {"credentials_file": str(folder / "key")}}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [job | {"static_configs": [{"targets": [target]}]}],
    }
    path, port = folder / "prometheus.yml", free_port()
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    listen = f"--web.listen-address=127.0.0.1:{port}"
    command = ["prometheus", f"--config.file={path}", f"--storage.tsdb.path={folder / 'data'}", listen]
    with (folder / "prometheus.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


class Asking:
    """What Prometheus says."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    async def get(self, path: str, **parameters: str) -> Any:
        async with self._session.get(f"{self._base}/api/v1/{path}", params=parameters) as response:
            answer = await response.json()
        if answer["status"] != "success":
            raise RuntimeError(f"{path} {parameters}: {answer.get('error')}")
        return answer["data"]

    async def ready(self) -> None:
        """Wait until it answers and has scraped the gateway."""
        async with asyncio.timeout(30):
            while True:
                try:
                    if (await self.get("query", query='up{job="pointsman"} == 1'))["result"]:
                        return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.3)

    async def series(self, expr: str, start_s: float, end_s: float) -> list[Any]:
        """The query's series over the time of the load."""
        for name, value in VARIABLES.items():
            expr = expr.replace(name, value)
        found = await self.get("query_range", query=expr, start=str(start_s), end=str(end_s), step="1")
        return [one for one in found["result"] if any(value != "NaN" for _, value in one["values"])]


# ---------------------------------------------------------------- what is checked


async def check_rules(asking: Asking) -> list[str]:
    """Every rule of the file is loaded and evaluates."""
    wanted = sum(len(group["rules"]) for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"])
    loaded = [rule for group in (await asking.get("rules"))["groups"] for rule in group["rules"]]
    ill = [f"{rule['name']}: {rule.get('lastError')}" for rule in loaded if rule["health"] != "ok"]
    states = {
        rule["name"]: rule["state"] for rule in loaded if rule["type"] == "alerting" and rule["state"] != "inactive"
    }
    print(f"rules: {len(loaded)} of {wanted} loaded, {len(ill)} ill; alerts not at rest: {states or 'none'}")
    return ill + ([] if len(loaded) == wanted else ["not every rule is loaded"])


async def check_panels(asking: Asking, start_s: float, end_s: float) -> tuple[list[str], dict[str, Any]]:
    """Every query answers; what is empty has a reason. Gives the complaints, and the series by page and panel."""
    complaints: list[str] = []
    drawn: dict[str, Any] = {}
    queries = filled = 0
    for dashboard in DASHBOARDS:
        page, heading = dashboard_json(dashboard), ""
        for panel in page["panels"]:
            if panel["type"] == "row":
                heading = panel["title"]
                continue
            found = []
            for target in panel["targets"]:
                queries += 1
                series = await asking.series(target["expr"], start_s, end_s)
                filled += bool(series)
                found += [(target["legendFormat"], one) for one in series]
                names = (target["legendFormat"], panel["title"], heading)
                if not series and not any(name in EXPECTED_EMPTY for name in names):
                    complaints.append(f"{page['uid']}: “{panel['title']}” is empty: {target['expr']}")
            drawn[f"{dashboard.name}/{panel['id']}"] = (panel, found)
    print(
        f"dashboards: {len(DASHBOARDS)} pages, {queries} queries, {filled} with data, {len(complaints)} empty unasked"
    )
    return complaints, drawn


def check_schema() -> list[str]:
    """Grafana's own schema library reads each page and loses nothing of it."""
    try:
        from scripts.dashboard_schema import unknown_to_grafana
    except ImportError:
        print("schema: grafana-foundation-sdk is not installed, not checked")
        return []
    pages = [dashboard_json(dashboard) for dashboard in DASHBOARDS]
    bad = [f"{page['uid']}: Grafana does not know {path}" for page in pages for path in unknown_to_grafana(page)]
    print(f"schema: {len(pages)} pages read by grafana-foundation-sdk, {len(bad)} complaints")
    return bad


def photograph(base: str, out: Path) -> None:
    """Prometheus' own pages, as a browser shows them."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("photographs: chromium is not installed, none taken")
        return
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
    quiet += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    for name, path in (("alerts", "/classic/alerts"), ("rules", "/classic/rules"), ("targets", "/classic/targets")):
        with tempfile.TemporaryDirectory() as profile:
            picture = out / f"prometheus-{name}.png"
            options = [f"--user-data-dir={profile}", "--window-size=1400,1000", f"--screenshot={picture}"]
            command = [chromium, *quiet, *options, "--virtual-time-budget=4000", base + path]
            subprocess.run(command, capture_output=True, timeout=60, check=False)


@asynccontextmanager
async def gateway(folder: Path, key: str) -> AsyncIterator[str]:
    async with FaultUpstream() as upstream:
        settings = parse(settings_of(upstream, folder / "cache", key))
        async with serving(settings) as (_, url):
            yield url


async def show(seconds: float, out: Path) -> int:
    """The whole show; 0 where all is well."""
    complaints = check_schema()
    with tempfile.TemporaryDirectory() as place:
        folder, key = Path(place), secrets.token_urlsafe(24)
        async with gateway(folder, key) as url, aiohttp.ClientSession() as session:
            with prometheus(url.removeprefix("http://"), folder, key) as base:
                asking = Asking(session, base)
                await asking.ready()
                start_s = float((await asking.get("query", query="time()"))["result"][1])
                print(f"load: {await load(url, seconds, key)} requests in {seconds:g} s")
                end_s = float((await asking.get("query", query="time()"))["result"][1])
                complaints += await check_rules(asking)
                empty, drawn = await check_panels(asking, start_s, end_s)
                await asyncio.to_thread(photograph, base, out)
    complaints += empty
    await asyncio.to_thread(preview, drawn, out)
    print(*(f"  {complaint}" for complaint in complaints), sep="\n")
    print("all is well" if not complaints else f"{len(complaints)} complaints")
    return 1 if complaints else 0


def preview(drawn: dict[str, Any], out: Path) -> None:
    try:
        from scripts.dashboard_preview import draw
    except ImportError:
        print("previews: matplotlib is not installed, none drawn")
        return
    draw(drawn, out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--out", type=Path, default=Path("build/operations"))
    arguments = parser.parse_args()
    if shutil.which("prometheus") is None:
        print("prometheus is not installed (Debian: apt-get install prometheus); nothing is shown")
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    return asyncio.run(show(arguments.seconds, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
