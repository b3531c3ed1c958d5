"""`python -m bench.pair`: a small/large pair of two real models on two gateways, by the old environment names alone.

Method: two `pointsman serve` processes, each with SmolLM2 (135 M) and Qwen2.5 Coder (0.5 B) as llama.cpp children of
its own, `AB_TEST_RATIO=0.5` and the two `MODEL_…_NAME`s. Questions that the classifier takes to be of medium complexity
are asked of both. Told are the share of the small model with the interval that chance allows, and on how many questions
the two gateways differ. Exit status 1 where the share is outside, or they differ. Writes docs/experiments.md.
"""

import argparse
import itertools
import json
import math
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

import msgspec

from bench.processes import Child, free_port
from pointsman.settings import load
from pointsman.signals.classifier import Classifier
from pointsman.testing.decisions import ask

PAGE = Path(__file__).resolve().parent.parent / "docs/experiments.md"
BEGIN, END = "<!-- pair:begin -->\n", "<!-- pair:end -->\n"
SMALL, LARGE = "smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"
RATIO, LEAST, MOST_TOKENS, READY_S = 0.5, 200, 2, 240.0
CONFIG = f"""\
models:
  - {{id: {SMALL}, backend: llama_cpp, source: {{packaged: smollm2-135m-instruct-q4_1}}, n_ctx: 2048, preload: true}}
  - {{id: {LARGE}, backend: llama_cpp, source: {{packaged: qwen2.5-coder-0.5b-instruct-q4_k_m}}, n_ctx: 2048,
      preload: true}}
ledger: {{enabled: false}}
"""
WISHES = (
    "Explain how {} works and give one example that a beginner understands.",
    "Write a friendly e-mail to my neighbour in which I ask for help with {}, and suggest two dates.",
    "Summarise what a new colleague must know about {}, in three short points.",
    "Plan an afternoon workshop about {} for ten people, with a short break.",
    "List four mistakes that people make with {} and say how to avoid each of them.",
    "Describe in two paragraphs how {} has changed over the last fifty years.",
    "Suggest a title and an outline for a talk about {}.",
    "Rewrite this politely: I do not want to hear about {} again until Friday.",
)
SUBJECTS = (
    "a compass|baking bread|solar panels|chess openings|bicycle repair|tax returns|a heat pump|garden ponds|"
    "sailing knots|night trains|beekeeping|public libraries|glass making|city maps|wind turbines|old radios|"
    "choir singing|model railways|rain barrels|wooden toys|coffee roasting|street lamps|watch repair|"
    "paper recycling|ski lifts|tide tables|lighthouses|apple trees|fire drills|bus timetables|hearing aids|"
    "canal locks|puppet theatre|ice skating|clay ovens|bird calls"
).split("|")


class Answer(msgspec.Struct, frozen=True):
    """What the metadata of one answer says."""

    model_id: str
    complexity: str
    experiment: str | None
    took_s: float


def questions(n: int) -> list[str]:
    """`n` different questions that the classifier takes to be of medium complexity."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pair.yaml"
        path.write_text(CONFIG)
        classifier = Classifier(load(path, {}).routing)
    asked = (wish.format(subject) for subject, wish in itertools.product(SUBJECTS, WISHES))
    found = [words for words in asked if classifier.measure(ask(words)).complexity.label == "medium"]
    return found[:n]


def gateway(stack: ExitStack, folder: Path, name: str) -> str:
    """One more process, with state of its own and the weights that there are."""
    home, port = folder / name, free_port()
    home.mkdir()
    weights = Path(os.environ.get("POINTSMAN_CACHE_DIR", "~/.cache/pointsman")).expanduser() / "models"
    weights.mkdir(parents=True, exist_ok=True)
    (home / "models").symlink_to(weights)
    config = folder / f"{name}.yaml"
    config.write_text(CONFIG)
    environ = {
        "POINTSMAN_CACHE_DIR": str(home),
        "MODEL_3B_NAME": SMALL,
        "MODEL_8B_NAME": LARGE,
        "AB_TEST_RATIO": str(RATIO),
    }
    command = [sys.executable, "-m", "pointsman", "serve", "--config", str(config), "--port", str(port)]
    child = stack.enter_context(Child(name, command, folder / f"{name}.log", environ))
    child.wait_until_ready(f"http://127.0.0.1:{port}/ready", READY_S)
    return f"http://127.0.0.1:{port}/v1/chat/completions"


def answer(url: str, words: str) -> Answer:
    body = {"model": "auto", "messages": [{"role": "user", "content": words}], "max_tokens": MOST_TOKENS}
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    began_s = time.perf_counter()
    with urllib.request.urlopen(request, timeout=300) as response:
        told = json.loads(response.headers["x-routing-metadata"])
    return Answer(
        model_id=told["model_id"],
        complexity=told["complexity"],
        experiment=told["experiment"],
        took_s=time.perf_counter() - began_s,
    )


def asked(url: str, words: Sequence[str]) -> list[Answer]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(partial(answer, url), words))


def report(one: list[Answer], other: list[Answer]) -> tuple[str, bool]:
    """The page's table, and whether everything is as it should be."""
    drawn = [(a, b) for a, b in zip(one, other, strict=True) if a.complexity == b.complexity == "medium"]
    n, differ = len(drawn), sum(a.experiment != b.experiment or a.model_id != b.model_id for a, b in drawn)
    half = 1.96 * math.sqrt(RATIO * (1 - RATIO) / n)
    small = [sum(pair[which].model_id == SMALL for pair in drawn) for which in (0, 1)]
    is_good = n >= LEAST and not differ and all(abs(count / n - RATIO) <= half for count in small)
    rows = [
        ("questions of medium complexity, asked of both", f"{n}"),
        ("answered by the small model, first gateway", f"{small[0]} ({small[0] / n:.1%})"),
        ("answered by the small model, second gateway", f"{small[1]} ({small[1] / n:.1%})"),
        (f"what a ratio of {RATIO:g} allows, 95 %", f"{RATIO - half:.1%} to {RATIO + half:.1%}"),
        ("questions that the two gateways answered with different models", f"{differ}"),
        ("time to two tokens, median", f"{1000 * median(a.took_s for a in (*one, *other)):.0f} ms"),
    ]
    lines = ["| | |", "|---|---|", *(f"| {' | '.join(cells)} |" for cells in rows)]
    return "\n".join(lines) + "\n", is_good


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.pair", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--questions", type=int, default=220)
    options = parser.parse_args(arguments)
    words = questions(options.questions)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        urls = [gateway(stack, Path(folder), name) for name in ("first", "second")]
        told, is_good = report(*(asked(url, words) for url in urls))
    print(told)
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.index(BEGIN) + len(BEGIN), text.index(END)
    PAGE.write_text(text[:before] + told + text[after:], encoding="utf-8")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
