"""The console as a person meets it, in a headless Chromium: every view, live, with a key and without, by keyboard."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from bench.browser import Chromium, Page, chromium

from pointsman.app import App
from pointsman.settings import parse
from pointsman.testing.samples import tone, wav
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium (apt-get install chromium)")
KEY = "an-admin-key-that-is-long"


@asynccontextmanager
async def scene(folder: Path, **server: Any) -> AsyncIterator[tuple[App, str, Page]]:
    """A gateway whose models are all there but one, and a browser. Leaving checks that nobody complained."""
    far = {"backend": "openai"}
    async with FaultUpstream(keep=0) as upstream:
        url = f"{upstream.url}/v1"
        told = {
            "cache_dir": str(folder),
            "log": {"level": "error", "requests": False},
            "server": server,
            "models": [
                far | {"id": "chatty", "url": url, "model": "mock-t20-i2-n12"},
                far | {"id": "ears", "url": url, "kinds": ["transcription"], "inputs": ["audio"], "model": "mock"},
                far | {"id": "eyes", "url": url, "inputs": ["text", "video"], "model": "mock-n4"},
                far | {"id": "near", "url": url, "kinds": ["embedding"], "model": "mock"},
                {"id": "voice", "backend": "tts"},
            ],
            "experiments": [{"name": "trial", "kind": "canary", "control": "chatty", "treatment": "near"}],
        }
        async with (
            serving(parse(json.dumps(told))) as (app, url),
            Chromium.started() as browser,
            browser.page() as page,
        ):
            yield app, url, page
            assert not page.strange, "the page asked somebody else"
            assert not page.complaints


async def ask(url: str, text: str = "Hello there") -> None:
    told = {"model": "chatty", "messages": [{"role": "user", "content": text}]}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/chat/completions", json=told) as response:
        assert response.status == 200


async def well_made(page: Page) -> None:
    """Landmarks, one heading, names for all that can be used, nothing wider than the window."""
    for landmark in ("navigation", "main"):
        assert len(await page.all_of(landmark)) == 1
    assert await page.js("document.querySelectorAll('h1').length") == 1
    nameless = "[...document.querySelectorAll('button, a, input, select, textarea')].filter((one) => one.offsetParent"
    named = "(one.textContent || one.ariaLabel || one.labels?.length || one.title)"
    assert await page.js(f"{nameless} && !{named}).map((one) => one.outerHTML)") == []
    assert await page.js("document.documentElement.scrollWidth - innerWidth") <= 0


def test_views_are_drawn_and_a_request_appears_by_itself(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as (_, url, page):
            await page.look(1440, 900)
            await page.open(f"{url}/console")
            await page.says("No request yet")
            await ask(url, "Write a Python function that adds two numbers")
            await page.until("document.querySelectorAll('tr.opens').length === 1")
            await ask(url)
            await page.until("document.querySelectorAll('tr.opens').length === 2")
            await page.until("document.querySelector('.chart canvas')")
            await well_made(page)
            await page.js("document.querySelector('tr.opens:last-child').click()")
            for words in ("Arrived", "Who should answer", "What was tried", "not stored", "chatty"):
                await page.says(words)
            await well_made(page)
            for view, words in (("Fleet", "Deployments"), ("Patterns", "Languages"), ("Experiments", "trial")):
                await page.press("link", view)
                await page.says(words)
                await page.until("!document.querySelector('main .skeleton')")
                await well_made(page)
            await page.look(390, 844, dark=True)
            for view in ("Traffic", "Fleet", "Patterns", "Experiments", "Playground"):
                await page.press("link", view)
                await page.until(f"document.querySelector('h1').innerText === '{view}'")
                await page.until("document.querySelector('main .card') && !document.querySelector('main .skeleton')")
                await well_made(page)

    asyncio.run(run())


def test_only_who_has_the_admin_key_sees_and_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSOLE_ADMIN", KEY)

    async def run() -> None:
        async with scene(tmp_path, admin_key_env="CONSOLE_ADMIN") as (app, url, page):
            await page.look(1280, 800)
            await page.open(f"{url}/console#/fleet")
            await page.says("This console is locked")
            await page.fill("textbox", "Admin key", "a wrong key, long enough")
            await page.press("button", "Unlock")
            await page.says("The admin key is wrong")
            await page.fill("textbox", "Admin key", KEY)
            await page.key("Enter")
            await page.press("button", "load voice")
            await page.says("load voice: done")
            await page.find("button", "unload voice")
            assert app.fleet.status().deployments[-1].tier == "hot"
            await page.press("button", "unload voice")
            await page.says("unload voice: done")
            assert app.fleet.status().deployments[-1].tier == "cold"
            await page.says("is being stopped")
            await page.press("button", "take out chatty")
            await page.says("breaker forced open")
            await page.press("button", "put back chatty")
            await page.says("put back chatty: done")
            assert app.fleet.status().deployments[0].breaker == "closed"
            assert await page.js("localStorage.length") == 0
            page.complaints[:] = [one for one in page.complaints if "401" not in one]  # the browser's own word for it

            async with aiohttp.ClientSession() as session:
                for action in ("load", "unload"):
                    async with session.post(f"{url}/models/voice/{action}") as response:
                        assert response.status == 401

    asyncio.run(run())


def test_an_operator_moves_an_experiment(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as (app, url, page):
            await page.open(f"{url}/console#/experiments")
            await page.press("button", "Pause")
            await page.says("paused: 50 %")
            assert app.experiments.standing("trial").is_paused
            await page.press("button", "Roll back")
            await page.until("document.querySelector('main').innerText.includes('rolled back by operator')")
            assert app.experiments.standing("trial").ratio == 0

    asyncio.run(run())


def test_every_modality_is_tried_in_the_playground(tmp_path: Path) -> None:
    recording = tmp_path / "recording.wav"
    recording.write_bytes(wav(tone(0.5)))
    film = tmp_path / "film.mp4"
    film.write_bytes(b"\0\0\0\x18ftypmp42")

    async def run() -> None:
        async with scene(tmp_path) as (app, url, page):
            await page.open(f"{url}/console#/playground")
            await page.choose("Model", "chatty")
            await page.fill("textbox", "Message", "Hello, pointsman")
            await page.key("Enter")
            await page.until("document.querySelector('.turn.assistant')?.innerText.includes('quick brown fox')")
            await page.says("First word after")
            await page.choose("Model", "eyes")
            await page.give("#tab-panel > div:not([hidden]) input[type=file]", film)
            await page.press("button", "Send")
            await page.until("document.querySelectorAll('.turn.assistant')[1]?.innerText.includes('quick brown fox')")
            await page.js("document.getElementById('tab-chat').focus()")
            await page.key("ArrowRight")
            await page.until("location.hash === '#/playground/transcription'")
            await page.give("#tab-panel > div:not([hidden]) input[type=file]", recording)
            await page.press("button", "Write it down")
            await page.until("document.querySelector('blockquote.said')")
            await page.press("tab", "Embeddings")
            await page.press("button", "Compare")
            await page.until("document.querySelectorAll('#tab-panel table.heat td').length > 0")
            await page.press("tab", "Dry run")
            await page.press("button", "Decide")
            await page.until("document.querySelectorAll('.candidate').length > 0")
            await page.press("tab", "Text to speech")
            await page.press("button", "Speak")
            await page.until("document.querySelector('audio[aria-label=\"What was spoken\"]')?.duration > 0.5")
            assert app.recent.outcomes.last == 5, "a dry run asks nobody"

    asyncio.run(run())


def test_the_manual_needs_nobody_else_nor_a_key(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as (_, url, page):
            await page.look(390, 844)
            await page.open(f"{url}/docs")
            await page.says("POST /v1/chat/completions")
            assert await page.js("getComputedStyle(document.querySelector('details')).borderStyle") == "solid"
            assert await page.js("document.querySelectorAll('script').length") == 0
            await page.js("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            links = "[...document.querySelectorAll('a[href^=\"#\"]')].map((a) => decodeURIComponent(a.hash.slice(1)))"
            assert await page.js(f"{links}.filter((name) => !document.getElementById(name))") == []
            assert await page.js("document.documentElement.scrollWidth - innerWidth") <= 0

    asyncio.run(run())
