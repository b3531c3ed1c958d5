"""An engine of another package, found by its entry point: a real installed distribution in a folder on the path."""

import textwrap
from pathlib import Path

import msgspec
import pytest
import uvloop

from pointsman.backends.base import Toolbox
from pointsman.backends.custom import custom
from pointsman.backends.registry import build
from pointsman.clock import SystemClock
from pointsman.dispatch.http import AiohttpClient
from pointsman.errors import ConfigError
from pointsman.settings import CustomModel, parse, sources_of
from pointsman.sources.store import WeightStore
from pointsman.types import Footprint, JsonPayload, Kind, Lease, Request

ENGINE = '''
    """A package of somebody else's: an engine that repeats, with its child in the same file."""

    import http.server
    import json
    import sys

    from pointsman.backends.managed import Launch, WarmUp
    from pointsman.backends.worker import lifeline
    from pointsman.types import Footprint


    class Parrot:
        def __init__(self, model):
            self.words = model.options["words"]
            self.given = model.sources

        def sources(self):
            return self.given

        def launch(self, paths, api_key):
            config = json.dumps({"key": api_key, "words": self.words}).encode()
            return Launch(argv=(sys.executable, __file__), config=config)

        def warm_up(self):
            return WarmUp(path="/chat/completions", body=b"{}")

        def footprint(self, paths):
            return Footprint(overhead_bytes=20_000_000)


    def half(model):
        return object()


    NUMBER = 4


    def serve():
        config = json.loads(lifeline.receive_config())

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.say(200, b"{}")

            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                is_known = self.headers["authorization"] == "Bearer " + config["key"]
                self.say(200 if is_known else 401, json.dumps({"says": config["words"]}).encode())

            def say(self, status, body):
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        lifeline.announce(server.server_port)
        server.serve_forever()


    if __name__ == "__main__":
        serve()
'''
ENTRY_POINTS = """
    [pointsman.engines]
    parrot = parrot_engine:Parrot
    half = parrot_engine:half
    number = parrot_engine:NUMBER
    gone = parrot_engine:Gone
    lost = no_such_module:Engine
"""


@pytest.fixture
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an installer leaves it: a module, and beside it the folder that tells of it."""
    folder = tmp_path / "site"
    about = folder / "parrot_engine-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "parrot_engine.py").write_text(textwrap.dedent(ENGINE))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: parrot-engine\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(textwrap.dedent(ENTRY_POINTS))
    monkeypatch.syspath_prepend(str(folder))


def model(engine: str = "parrot", **more: object) -> CustomModel:
    tree = {"id": "polly", "backend": "custom", "engine": engine, "options": {"words": ["hello", 1]}} | more
    return CustomModel.model_validate_json(msgspec.json.encode(tree))


@pytest.mark.usefixtures("_installed")
def test_it_lives_and_answers(tmp_path: Path) -> None:
    async def scene() -> tuple[int, bytes]:
        async with AiohttpClient() as http:
            clock = SystemClock()
            tools = Toolbox(http=http, weights=WeightStore(tmp_path, clock), clock=clock, log_dir=tmp_path)
            ((name, backend),) = build(model(), tools)
            assert name == "polly"
            assert backend.footprint() == Footprint(overhead_bytes=20_000_000)
            running = await backend.start()
            try:
                lease = Lease(id=1, deployment_id="polly", model_id="polly", endpoint=running.endpoint)
                payload = JsonPayload(members=(("messages", b"[]"),))
                request = Request(id="r", kind=Kind.CHAT, model="polly", payload=payload)
                async with backend.call(lease, request) as reply:
                    return reply.status, await reply.read()
            finally:
                await backend.stop()

    assert uvloop.run(scene()) == (200, b'{"says": ["hello", 1]}')


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("owl", "no installed package offers `owl` .*there are: gone, half, lost, number, parrot"),
        ("half", "gave something of type `object`, without sources, launch, warm_up, footprint"),
        ("number", "is not callable"),
        ("gone", "cannot be loaded: .*Gone"),
        ("lost", "cannot be loaded: No module named 'no_such_module'"),
    ],
)
def test_what_is_wrong_is_said(engine: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"models.polly.engine: .*{said}"):
        custom(model(engine))


def test_nothing_installed() -> None:
    with pytest.raises(ConfigError, match="no installed package offers `parrot`"):
        custom(model())


def test_its_weights_are_fetched_like_all_others() -> None:
    text = "models: [{id: m, backend: custom, engine: x, sources: [{file: /a}, {url: 'http://h/b'}]}]"
    (one,) = parse(text).models
    assert [(where, str(source)) for where, source in sources_of(one)] == [
        ("sources[0]", "/a"),
        ("sources[1]", "http://h/b"),
    ]
