"""A gateway within this process, so that its fleet can be told what to do while it answers over HTTP.

Invariant: leaving the context stops every engine.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from bench.processes import tree
from pointsman.app import App
from pointsman.backends.base import Sleeper
from pointsman.settings import Model, Settings, parse, sources_of
from pointsman.testing import samples

LONG = "A signalman sets the points so that each train takes its own track. " * 20
SHORT = "All clear?"
SPOKEN_S = 4.0


@dataclass
class House:
    """The running gateway; all times are by the event loop's clock, in seconds."""

    app: App
    port: int
    session: aiohttp.ClientSession

    async def timed(self, work: Coroutine[Any, Any, Any]) -> float:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await work
        return loop.time() - began_s

    async def ask(self, model: Model, words: str = SHORT) -> None:
        """One request to the end of its answer. RuntimeError where there is none."""
        path, content_type, body = request_for(model, words)
        headers = {"content-type": content_type}
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.post(url, data=body, headers=headers) as reply:
            said = await reply.read()
            if reply.status != 200 or not said:
                raise RuntimeError(f"{model.id}: {reply.status} {said[:300]!r}")

    def estimated_bytes(self, model: Model) -> int:
        return self.app.fleet.backends[model.id].footprint().total_bytes

    def measured_bytes(self, model: Model) -> int:
        """Resident memory of its process and what that started, as if alone on the machine; 0 where it does not run."""
        pid = next(view.pid for view in self.app.fleet.world().deployments if view.id == model.id)
        return alone_bytes(tree(pid)) if pid else 0

    def can_sleep(self, model: Model) -> bool:
        backend = self.app.fleet.backends[model.id]
        return isinstance(backend, Sleeper) and backend.can_sleep

    async def forget_files(self, model: Model) -> None:
        """Its weights leave the page cache, as far as the kernel obliges: the next load reads the disk."""
        for file in await self._files(model):
            _forget(file)

    async def _files(self, model: Model) -> list[Path]:
        roots = [await self.app.weights.fetch(source) for _, source in sources_of(model)]
        return [file for root in roots for file in ([root] if root.is_file() else root.rglob("*")) if file.is_file()]


def alone_bytes(pids: list[int]) -> int:
    """Resident memory of these processes, pages of a file that several have mapped once, whoever else has mapped it."""
    files: dict[str, int] = {}
    own_bytes = 0
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            for each in psutil.Process(pid).memory_maps(grouped=True):
                if each.path.startswith("/"):
                    files[each.path] = max(each.rss, files.get(each.path, 0))
                else:
                    own_bytes += each.pss
    return own_bytes + sum(files.values())


def _forget(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


@asynccontextmanager
async def house(models: tuple[Model, ...], **fleet: Any) -> AsyncIterator[House]:
    """A gateway over these models, nothing loaded; `fleet`: its settings."""
    app = App(settings_for(models, **fleet))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # who calls before the server runs is answered a little later
        async with app.running():
            server = app.server()
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)) as session:
                    yield House(app, listener.getsockname()[1], session)
            finally:
                server.should_exit = True
                await serving


def settings_for(models: tuple[Model, ...], **fleet: Any) -> Settings:
    """Models are not evicted for being young here, and nothing else competes for the cores."""
    given = [model.model_dump(mode="json", exclude_unset=True) | {"preload": False, "ttl_s": None} for model in models]
    tree = {
        "fleet": {"min_resident_s": 0, **fleet},
        "log": {"requests": False, "level": "error"},
        "routing": {"default_model": models[0].id, "encoder": {"enabled": False}},
        "models": given,
    }
    return parse(json.dumps(tree))  # JSON is YAML


def request_for(model: Model, words: str) -> tuple[str, str, bytes]:
    """(path, content type, body) of a request of its kind, about these words where it takes any."""
    make = REQUESTS.get(model.backend, _chat)
    path, body = make(model.id, words)
    return path, body.content_type, body.data


def _chat(name: str, words: str) -> tuple[str, Any]:
    said = {"type": "text", "text": words}
    return "/v1/chat/completions", samples.chat_body(said, model=name, max_tokens=2, temperature=0)


def _listen(name: str, _: str) -> tuple[str, Any]:
    return "/v1/audio/transcriptions", samples.form_body([("model", name)], samples.wav(samples.tone(SPOKEN_S)))


def _speak(name: str, words: str) -> tuple[str, Any]:
    return "/v1/audio/speech", samples.json_body(model=name, input=words[:400], voice="alloy")


def _look(name: str, words: str) -> tuple[str, Any]:
    if words == LONG:
        return "/v1/chat/completions", _film(name)
    drawn = samples.drawn([(40, 40, "The points are set."), (40, 120, "All trains may pass.")], (640, 240))
    picture = {"url": samples.data_uri(samples.picture_file(drawn), "image/png")}
    return "/v1/chat/completions", samples.chat_body(
        {"type": "text", "text": "Read this."}, {"type": "image_url", "image_url": picture}, model=name
    )


def _film(name: str) -> Any:
    film = samples.film(["The points are set.", "All trains may pass."], sound=samples.tone(SPOKEN_S, rate_hz=22_050))
    video = {"url": samples.data_uri(film, "video/mp4")}
    said = {"type": "text", "text": "What happens?"}
    return samples.chat_body(said, {"type": "video_url", "video_url": video}, model=name)


def _embed(name: str, words: str) -> tuple[str, Any]:
    return "/v1/embeddings", samples.json_body(model=name, input=words)


REQUESTS: dict[str, Callable[[str, str], tuple[str, Any]]] = {
    "stt": _listen,
    "tts": _speak,
    "ocr": _look,
    "e5": _embed,
}
