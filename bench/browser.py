"""A headless Chromium, driven by its own protocol: for the console's tests and its pictures.

Knows: how to start it, find things as assistive technology does (by role and name), press, type, take a picture. Does
not know: the page. Invariants: the browser speaks with nobody but the page's server, what it would have asked elsewhere
is in `strange`; what the page complains of is in `complaints`; nothing outlives `async with`.
"""

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import tempfile
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --mute-audio --hide-scrollbars "
    "--force-color-profile=srgb --remote-debugging-port=0 about:blank"
).split()
PATIENCE_S = 30.0
EVERY_S = 0.05
LONGEST_ANSWER = 64 << 20


def chromium() -> str | None:
    """The program, where there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One tab. `find` and what is built on it wait until the thing is there."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._last = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._home = ""
        self.strange: list[str] = []
        self.complaints: list[str] = []

    async def listen(self) -> None:
        """Until the browser goes."""
        async for message in self._socket:
            told = message.json()
            if (number := told.get("id")) in self._answers:
                self._answers.pop(number).set_result(told)
            else:
                self._hear(told.get("method", ""), told.get("params", {}))

    def _hear(self, method: str, params: Any) -> None:
        if method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if urlsplit(url).scheme not in ("data", "blob", "about") and urlsplit(url).netloc != self._home:
                self.strange.append(url)
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(one.get("value", one.get("description"))) for one in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    async def call(self, method: str, **params: Any) -> Any:
        """One command of the protocol. Raises RuntimeError where the browser refuses."""
        self._last += 1
        number, answer = self._last, asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        await self._socket.send_json({"id": number, "method": method, "params": params})
        told = await asyncio.wait_for(answer, PATIENCE_S)
        if "error" in told:
            raise RuntimeError(f"{method}: {told['error']['message']}")
        return told["result"]

    async def begin(self) -> None:
        for domain in ("Page", "Runtime", "Network", "Log", "DOM", "Accessibility"):
            await self.call(f"{domain}.enable")

    async def look(self, width: int, height: int, *, dark: bool = False, still: bool = True) -> None:
        """The size of the window, the colours and motion its user likes."""
        phone = width < 600
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"},
        ]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def open(self, url: str) -> None:
        """Go there, as from the address line."""
        self._home = urlsplit(url).netloc
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def js(self, expression: str) -> Any:
        """The value of an expression; a promise is awaited."""
        told = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise RuntimeError(f"{expression}: {told['exceptionDetails'].get('exception', {}).get('description')}")
        return told["result"].get("value")

    async def until(self, expression: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until it holds. Raises TimeoutError."""
        try:
            async with asyncio.timeout(patience_s):
                while not await self.js(f"Boolean({expression})"):  # noqa: ASYNC110  # another process's state
                    await asyncio.sleep(EVERY_S)
        except TimeoutError:
            raise TimeoutError(f"never true: {expression}\n{await self.text()}") from None

    async def text(self) -> str:
        """What is to be read on the page now."""
        return str(await self.js("document.body.innerText"))

    async def says(self, words: str) -> None:
        """Wait until these words are on the page; any space will do between them."""
        await self.until(f"document.body.innerText.replaceAll('\\u00a0', ' ').includes({words!r})")

    async def find(self, role: str, name: str) -> str:
        """The object id of the one thing of that role and accessible name, once it is there."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await self.all_of(role, name)):  # noqa: ASYNC110  # another process's state
                await asyncio.sleep(EVERY_S)
        told = await self.call("DOM.resolveNode", backendNodeId=found[0])
        return str(told["object"]["objectId"])

    async def all_of(self, role: str, name: str = "") -> list[int]:
        """The nodes of that role, and of that name where one is given."""
        root = (await self.call("DOM.getDocument"))["root"]["nodeId"]
        wanted = {"role": role} | ({"accessibleName": name} if name else {})
        told = await self.call("Accessibility.queryAXTree", nodeId=root, **wanted)
        return [node["backendDOMNodeId"] for node in told["nodes"] if not node.get("ignored")]

    async def press(self, role: str, name: str) -> None:
        """Click it."""
        await self._on(await self.find(role, name), "this.scrollIntoView({block: 'center'}); this.click()")

    async def fill(self, role: str, name: str, text: str) -> None:
        """Put the text into a field, as typing does."""
        thing = await self.find(role, name)
        await self._on(thing, "this.focus(); this.select && this.select()")
        await self.call("Input.insertText", text=text)

    async def choose(self, name: str, value: str) -> None:
        """Pick an option of a list, once it is there."""
        await self.until(f"[...document.querySelectorAll('option')].some((one) => one.value === {value!r})")
        thing = await self.find("combobox", name)
        await self._on(thing, f"this.value = {value!r}; this.dispatchEvent(new Event('change', {{bubbles: true}}))")

    async def give(self, selector: str, file: Path) -> None:
        """Put a file into a field for files."""
        root = (await self.call("DOM.getDocument"))["root"]["nodeId"]
        node = (await self.call("DOM.querySelector", nodeId=root, selector=selector))["nodeId"]
        await self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    async def key(self, name: str) -> None:
        """Press and release a key by its name: Tab, Enter, ArrowRight."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39}
        told = {"key": name, "code": name, "windowsVirtualKeyCode": codes[name]}
        text = {"text": "\r"} if name == "Enter" else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **told, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    async def picture(self, path: Path, *, whole: bool = False, quality: int = 0) -> None:
        """What is to be seen, as PNG, or as WebP of that quality."""
        form = {"format": "webp", "quality": quality} if quality else {"format": "png"}
        told = await self.call("Page.captureScreenshot", captureBeyondViewport=whole, **form)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(told["data"]))

    async def _on(self, thing: str, code: str) -> None:
        await self.call("Runtime.callFunctionOn", objectId=thing, functionDeclaration=f"function() {{ {code} }}")


class Chromium:
    """`async with Chromium.started() as browser: async with browser.page() as page: …`."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._session = session

    @classmethod
    @asynccontextmanager
    async def started(cls) -> AsyncIterator[Self]:
        """A browser with an empty profile of its own. Raises FileNotFoundError where there is none."""
        program = chromium()
        if program is None:
            raise FileNotFoundError("no Chromium: apt-get install chromium")
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            process = await asyncio.create_subprocess_exec(
                program, f"--user-data-dir={profile}", *FLAGS, stderr=DEVNULL, start_new_session=True
            )
            try:
                async with asyncio.timeout(PATIENCE_S):
                    port = await _port_of(Path(profile))
                async with aiohttp.ClientSession() as session:
                    yield cls(port, session)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # its helpers too
                await process.wait()

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """A new tab; its storage is shared with the other tabs of this browser."""
        async with self._session.put(f"{self._url}/json/new?about:blank") as response:
            target = await response.json()
        async with self._session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=LONGEST_ANSWER) as socket:
            page = Page(socket)
            listening = asyncio.create_task(page.listen())
            await page.begin()
            try:
                yield page
            finally:
                listening.cancel()
                async with self._session.get(f"{self._url}/json/close/{target['id']}"):
                    pass


async def _port_of(profile: Path) -> int:
    """Chromium writes it there once it listens."""
    told = profile / "DevToolsActivePort"
    while not told.exists() or not told.read_text().strip():  # noqa: ASYNC110  # a file gives no event
        await asyncio.sleep(0.05)
    return int(told.read_text().split()[0])
