"""`python -m bench.opcodes`: how much Python a request runs, in bytecodes, by module and by function.

Times scatter on a shared machine; the number of bytecodes does not. Method: the gateway in this process, an upstream in
another, the ASGI application called as the server would; `sys.settrace` counts what the event loop's thread executes
between a request and its end, sinks included. C code counts nothing, so compare it only with itself, on one Python.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from bench.overhead import CHAT, WORDS
from bench.servers import BUFFERED, start_upstream
from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.types import Value

MODELS = ("first", "second", "third", "fourth", "fifth", "sixth")
WARM_UP, COUNTED = 300, 20
Ask = Callable[[], Awaitable[None]]


class Counted(Value, frozen=True):
    """Per request. `by_code`: bytecodes and calls of each function, under its file and name."""

    opcodes: float
    frames: float
    by_code: tuple[tuple[str, str, float, float], ...]


class Tracer:
    """Counts while it is entered; the thread that enters only."""

    def __init__(self) -> None:
        self.opcodes: Counter[CodeType] = Counter()
        self.frames: Counter[CodeType] = Counter()

    def __enter__(self) -> Self:
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _called(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        code, opcodes = frame.f_code, self.opcodes
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self.frames[code] += 1

        def ran(_frame: FrameType, event: str, _argument: Any) -> Any:
            if event == "opcode":
                opcodes[code] += 1
            return ran

        return ran

    def per_request(self, requests: int) -> Counted:
        rows = (
            (short(code.co_filename), code.co_qualname, n / requests, self.frames[code] / requests)
            for code, n in self.opcodes.most_common()
        )
        return Counted(
            opcodes=self.opcodes.total() / requests, frames=self.frames.total() / requests, by_code=tuple(rows)
        )


def short(path: str) -> str:
    for root in ("/pointsman/", "/site-packages/"):
        if root in path:
            return path.rpartition(root)[2]
    return "/".join(path.split("/")[-2:])


async def count(upstream_port: int, *, routing: bool, model: str) -> Counted:
    """Mean of `COUNTED` equal buffered chats, after `WARM_UP`."""
    url = f"http://127.0.0.1:{upstream_port}/v1"
    with tempfile.TemporaryDirectory() as folder:
        tree = {
            "cache_dir": folder,
            "routing": {"enabled": routing, "encoder": {"enabled": False}},
            "models": [
                {"id": name, "backend": "openai", "url": url, "model": BUFFERED, "slots": 64} for name in MODELS
            ],
        }
        async with serving(parse(msgspec.json.encode(tree).decode())) as (app, _):
            await asyncio.sleep(0.3)  # until every model is known to answer
            ask = asker(app.site, model)
            for _ in range(WARM_UP):
                await ask()
            with Tracer() as counter:
                for _ in range(COUNTED):
                    await ask()
            return counter.per_request(COUNTED)


def asker(site: Any, model: str) -> Ask:
    """One request to the ASGI application, until all it left behind has run."""
    body = msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": WORDS}]})
    headers = [
        (b"host", b"127.0.0.1"),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    scope = {"type": "http", "path": CHAT, "method": "POST", "headers": headers, "client": ("127.0.0.1", 1)}

    async def ask() -> None:
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not messages:
                await asyncio.Event().wait()
            return messages.pop()

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await site(dict(scope), receive, send)
        await asyncio.sleep(0)
        if sent[0]["status"] != 200:
            raise RuntimeError(f"answered {sent[0]['status']}, not 200")

    return ask


def show(counted: Counted, top: int) -> None:
    console = Console(width=100)
    console.print(f"{counted.opcodes:,.0f} bytecodes a request, in {counted.frames:,.0f} frames")
    by_module: Counter[str] = Counter()
    for module, _, opcodes, _ in counted.by_code:
        by_module[module] += round(opcodes)
    for title, rows in (
        ("module", [(str(n), "", name) for name, n in by_module.most_common(top)]),
        ("function", [(f"{n:.0f}", f"{calls:.1f}", f"{m} {name}") for m, name, n, calls in counted.by_code[:top]]),
    ):
        table = Table("bytecodes", "calls", title, box=None)
        for row in rows:
            table.add_row(*row)
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routing", action="store_true", help="classify it and let the router choose")
    parser.add_argument("--top", type=int, default=40, help="rows of each table")
    arguments = parser.parse_args()
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        port = start_upstream(stack, Path(folder))
        model = "auto" if arguments.routing else MODELS[0]
        show(uvloop.run(count(port, routing=arguments.routing, model=model)), arguments.top)


if __name__ == "__main__":
    main()
