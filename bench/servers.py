"""The servers under measurement: started, found, described."""

import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import msgspec

from bench.processes import Child, NotReadyError, free_port, pid_listening_on

BUFFERED = "mock-n32"
ROUTING, ROUTING_OFF = "pointsman", "pointsman, routing off"
SHORT_TOKENS, LONG_TOKENS = 32, 256
PACES_MS = (0.0, 0.01, 1.0)
"""Between a stream's events: none, so that they arrive together; one turn of the upstream's loop; a real pause."""
CONFIG = """\
server: {{ port: {port} }}
routing:
  enabled: {routing}
  encoder: {{ enabled: false }}  # an engine too; train.measure_encoder has its time and memory
  default_model: {buffered}
  use_cases: {{ general: [{buffered}], code: [{buffered}], reasoning: [{buffered}] }}
models:
{models}
"""


class Server(msgspec.Struct, frozen=True):
    """One server. `auto_model` is set where it can choose a model itself; `ready_s` where we started it."""

    name: str
    port: int
    pid: int
    auto_model: str = ""
    ready_s: float | None = None


def stream_model(tokens: int, pace_ms: float) -> str:
    """The upstream's script for a stream, which is also the model's id."""
    return f"mock-n{tokens}" + (f"-i{pace_ms:g}" if pace_ms else "")


def model_names() -> list[str]:
    return sorted({BUFFERED, *(stream_model(n, pace) for n in (SHORT_TOKENS, LONG_TOKENS) for pace in PACES_MS)})


def start_upstream(stack: ExitStack, folder: Path) -> int:
    """The zero-delay upstream's port."""
    port = free_port()
    arguments = [sys.executable, "-m", "pointsman.testing.upstream", "--port", str(port)]
    stack.enter_context(Child("upstream", arguments, folder / "upstream.log")).wait_until_ready(
        f"http://127.0.0.1:{port}/health"
    )
    return port


def start_passthrough(stack: ExitStack, folder: Path, upstream_port: int) -> Server:
    port = free_port()
    upstream = f"http://127.0.0.1:{upstream_port}"
    arguments = [sys.executable, "-m", "bench.passthrough", "--port", str(port), "--upstream", upstream]
    child = stack.enter_context(Child("passthrough", arguments, folder / "passthrough.log"))
    ready_s = child.wait_until_ready(f"http://127.0.0.1:{port}/ready")
    return Server(name="pass-through", port=port, pid=child.pid, ready_s=ready_s)


def start_pointsman(stack: ExitStack, folder: Path, upstream_port: int, *, routing: bool) -> Server:
    """`pointsman serve` as a user would, request log included; without routing it classifies nothing.

    Raises NotReadyError.
    """
    command = shutil.which("pointsman", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if command is None:
        raise NotReadyError("there is no `pointsman` command in this environment")
    name = ROUTING if routing else ROUTING_OFF
    port = free_port()
    entry = "  - {{ id: {id}, backend: openai, url: http://127.0.0.1:{port}/v1, slots: 256 }}"
    models = "\n".join(entry.format(id=model, port=upstream_port) for model in model_names())
    config = folder / f"routing-{routing}.yaml"
    config.write_text(CONFIG.format(port=port, routing=str(routing).lower(), buffered=BUFFERED, models=models))
    arguments = [command, "serve", "--config", str(config)]
    child = stack.enter_context(Child(name, arguments, folder / f"routing-{routing}.log"))
    ready_s = child.wait_until_ready(f"http://127.0.0.1:{port}/ready")
    return Server(name=name, port=port, pid=child.pid, auto_model="auto" if routing else "", ready_s=ready_s)


def find_peer(name: str, url: str) -> Server:
    """A server someone else started, such as `http://127.0.0.1:9207`; its upstream must understand the model names."""
    port = int(url.rstrip("/").rsplit(":", 1)[1].split("/")[0])
    return Server(name=name, port=port, pid=pid_listening_on(port))
