"""The console with traffic in it: `python -m bench.console_demo [--pictures FOLDER | --docs]`.

Simulated models, started and stopped as children like real ones, and people of ten languages who ask them things, some
of which fail. With `--pictures` every view is photographed in a headless Chromium, at a desk's and a telephone's width,
by day and by night; `--docs` writes the few that docs/console.md shows.
"""

import argparse
import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from bench.browser import Chromium, Page
from pointsman.settings import Settings, parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream

CHILD = [sys.executable, "-m", "pointsman.testing.upstream", "--port", "{port}"]
GENERAL, CODE, REASONING = "general", "code", "reasoning"


def managed(name: str, script: str, gb: float, slots: int, quality: tuple[float, ...], **more: Any) -> dict[str, Any]:
    """A model that is a child process: what it answers is in its script; `quality` general, code, reasoning."""
    priors = dict(zip((GENERAL, CODE, REASONING), quality, strict=True))
    made = {"id": name, "backend": "command", "argv": CHILD, "model": script, "memory_gb": gb, "slots": slots}
    return made | {"quality": priors, "cost_per_mtok": gb / 30, "tokens_per_s": 400 / gb} | more


def document(url: str, folder: Path) -> dict[str, Any]:
    """The settings: more models than there is memory for."""
    far = {"backend": "openai", "url": url}
    return {
        "cache_dir": str(folder),
        "log": {"level": "error", "requests": False},
        "fleet": {"memory_budget_gb": 40},
        "cache": {"exact": "all"},
        "aliases": {"small": "llama-3.2-3b", "large": "llama-3.1-8b"},
        "routing": {
            "default_model": "llama-3.1-8b",
            "use_cases": {
                CODE: ["qwen2.5-coder-7b", "llama-3.1-8b"],
                REASONING: ["deepseek-r1-7b", "llama-3.1-8b"],
                GENERAL: ["llama-3.2-3b", "llama-3.1-8b"],
                "multimodal": ["qwen2.5-vl-7b"],
            },
        },
        "experiments": [
            {"name": "larger-general", "kind": "canary", "control": "llama-3.2-3b", "treatment": "llama-3.1-8b"}
            | {"rollout": [0.5, 0.8], "guards": {"slowdown": 9}},
            {
                "name": "reasoner-for-code",
                "kind": "canary",
                "control": "qwen2.5-coder-7b",
                "treatment": "deepseek-r1-7b",
            },
        ],
        "models": [
            managed("llama-3.2-3b", "mock-t40-i3-n40-e0.05", 4.2, 4, (0.55, 0.3, 0.3), preload=True),
            managed("llama-3.1-8b", "mock-t90-i8-n60", 10.5, 4, (0.7, 0.5, 0.5), preload=True, pin=True),
            managed("qwen2.5-coder-7b", "mock-t80-i7-n90", 9.8, 4, (0.5, 0.8, 0.5), preload=True),
            managed("deepseek-r1-7b", "mock-t120-i8-n160-a0.04", 9.8, 2, (0.5, 0.55, 0.8), ttl_s=600),
            managed("qwen2.5-vl-7b", "mock-t200-i9-n50", 11.4, 2, (0.4, 0.2, 0.3), inputs=["text", "image"], ttl_s=300),
            far | {"id": "whisper-large-v3", "kinds": ["transcription"], "inputs": ["audio"], "model": "mock-t300"},
            far | {"id": "e5-embeddings", "kinds": ["embedding"], "slots": 32, "model": "mock-t12"},
        ],
    }


PRAISE = {"llama-3.2-3b": 0.7, "llama-3.1-8b": 0.74, "qwen2.5-coder-7b": 0.85, "deepseek-r1-7b": 0.5}
"""How often each model's answers are liked."""
SAID = (
    "Write a Python function that reverses a linked list.",
    "Fix this TypeError: 'NoneType' object is not iterable",
    "Which is further from the sun, Mars or Venus?",
    "Compare solar and wind power for a small village, step by step.",
    "A train leaves at 9:40 and arrives at 13:15; how long does it travel?",
    "Prove that the square root of 2 is irrational.",
    "Hello! How are you today?",
    "Summarise what a pointsman does on a railway.",
    "भारत की राजधानी क्या है?",
    "मुझे एक छोटी कविता सुनाओ",
    "தமிழ்நாட்டின் தலைநகரம் எது?",
    "తెలుగులో ఒక కథ చెప్పు",
    "বাংলাদেশের রাজধানী কোথায়?",
    "महाराष्ट्राची राजधानी कोणती आहे?",
    "ગુજરાત વિશે મને કહો",
    "ಕರ್ನಾಟಕದ ಬಗ್ಗೆ ಹೇಳಿ",
    "കേരളത്തിന്റെ തലസ്ഥാനം ഏതാണ്?",
    "ਪੰਜਾਬ ਬਾਰੇ ਦੱਸੋ",
    "mujhe python mein ek loop likhna hai",
)
DOT = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
DOCS = Path(__file__).resolve().parent.parent / "docs" / "images"
SHOWN = {
    "traffic-desk-light",
    "story-desk-dark",
    "fleet-desk-light",
    "experiments-desk-dark",
    "patterns-desk-light",
} | {
    f"{view}-phone-{shade}" for view, shade in (("traffic", "dark"), ("playground-route", "light"), ("fleet", "light"))
}
QUALITY = 82
VIEWS = ("traffic", "story", "fleet", "patterns", "experiments", "playground", "playground/route")
SIZES = {"desk": (1440, 900), "phone": (390, 844)}


def settings(url: str, folder: Path) -> Settings:
    return parse(json.dumps(document(url, folder)))


def body(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A path and what is sent there."""
    chance, text = rng.random(), rng.choice(SAID)
    if chance < 0.06:
        return "/v1/embeddings", {"model": "auto", "input": text}
    content: Any = text
    if chance < 0.09:
        content = [
            {"type": "text", "text": "What is in the picture?"},
            {"type": "image_url", "image_url": {"url": DOT}},
        ]
    elif chance < 0.8:
        content = f"{text} ({rng.randrange(10_000)})"
    model = rng.choices(("auto", "large", "small", "gpt-9"), (90, 5, 5, 1))[0]
    told = {"model": model, "messages": [{"role": "user", "content": content}], "stream": rng.random() < 0.5}
    return "/v1/chat/completions", told


async def thank(session: aiohttp.ClientSession, url: str, routed: dict[str, Any], rng: random.Random) -> None:
    """Say how good the answer was."""
    thumbs = "up" if rng.random() < PRAISE[routed["model_id"]] else "down"
    async with session.post(f"{url}/v1/feedback", json={"request_id": routed["request_id"], "thumbs": thumbs}):
        pass


async def people(url: str, count: int, seed: int = 0) -> None:
    """Ask and wait, ask and wait, until cancelled."""

    async def one(number: int) -> None:
        rng = random.Random(seed * 1000 + number)
        async with aiohttp.ClientSession() as session:
            while True:
                path, told = body(rng)
                async with session.post(url + path, json=told) as response:
                    await response.read()
                    routed = json.loads(response.headers.get("x-routing-metadata", "{}"))
                if rng.random() < PRAISE.get(routed.get("model_id", ""), 0.0) * 2:
                    await thank(session, url, routed, rng)
                await asyncio.sleep(rng.expovariate(1.6))

    await asyncio.gather(*(one(number) for number in range(count)))


@asynccontextmanager
async def town(folder: Path, count: int) -> AsyncIterator[str]:
    """A gateway that is asked things: its base URL."""
    async with FaultUpstream(keep=0) as upstream, serving(settings(f"{upstream.url}/v1", folder)) as (app, url):
        await app.fleet.wait_preloaded()
        asking = asyncio.create_task(people(url, count))
        try:
            yield url
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


async def photograph(url: str, folder: Path, *, for_docs: bool) -> None:
    """Every view, each way; for the documentation only those it shows, small."""
    async with Chromium.started() as browser, browser.page() as page:
        for name, (width, height) in SIZES.items():
            for dark in (False, True):
                await page.look(width, height, dark=dark)
                for view in VIEWS:
                    picture = f"{view.replace('/', '-')}-{name}-{'dark' if dark else 'light'}"
                    if for_docs and picture not in SHOWN:
                        continue
                    await show(page, url, view)
                    path = folder / (f"console-{picture}.webp" if for_docs else f"{picture}.png")
                    await page.picture(path, quality=QUALITY if for_docs else 0)
        print("complaints:", page.complaints, "strange:", page.strange)


async def show(page: Page, url: str, view: str) -> None:
    """Open a view and wait until it is drawn."""
    if view == "story":
        rows = (await page.js(f"fetch('{url}/console/api/requests').then((r) => r.json())") or {})["rows"]
        best = max(rows, key=lambda row: (row["attempts"], row["task"] == "code"))
        view = f"requests/{best['request_id']}"
    await page.open(f"{url}/console#/{view}")
    await asyncio.sleep(0.3)
    await page.until("document.querySelector('main .card') && !document.querySelector('main .skeleton')")
    if view.endswith("route"):
        await page.press("button", "Decide")
        await page.until("document.querySelector('.candidate')")
    await asyncio.sleep(1.2)


async def run(pictures: Path | None, folder: Path, warm_s: float) -> None:
    async with town(folder, 14) as url:
        print(f"{url}/console", flush=True)
        if pictures is None:
            await asyncio.Event().wait()
        else:
            pictures.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  # one folder, once
            await asyncio.sleep(warm_s)
            await photograph(url, pictures, for_docs=pictures == DOCS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--docs", action="store_const", const=DOCS, dest="pictures")
    parser.add_argument("--warm", type=float, default=40.0, help="seconds of traffic before the pictures")
    parser.add_argument("--folder", type=Path, default=Path("~/.cache/pointsman/console-demo").expanduser())
    given = parser.parse_args()
    asyncio.run(run(given.pictures, given.folder, given.warm))


if __name__ == "__main__":
    main()
