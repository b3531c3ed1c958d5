"""SIMULATED: the interpreter of an environment with vLLM 0.32.0, as far as the adapter sees it. No model runs here.

Its words, statuses and order of events are those that the real server was seen to say: it parses its flags strictly,
starts an engine as a child, listens late, asks for the key below /v1 only, has /sleep and its kin in development mode
only, and answers with exclamation marks where its weights were not read again after a sleep of level 2.
"""

import argparse
import http.server
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

VALUES = (
    *(
        "--model",
        "--host",
        "--port",
        "--served-model-name",
        "--max-num-seqs",
        "--max-model-len",
        "--tensor-parallel-size",
    ),
    *("--gpu-memory-utilization", "--kv-cache-memory-bytes", "--dtype", "--chat-template"),
)
USAGE = {"prompt_tokens": 31, "total_tokens": 35, "completion_tokens": 4}


class Server(http.server.ThreadingHTTPServer):
    """What all connections share."""

    model = ""
    asleep_level = 0
    has_weights = True

    def text(self) -> str:
        return "Hello there, friend" if self.has_weights else "!!!!"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if self.path == "/health":
            return self.say(200, b"")
        if self.is_developing() and self.path == "/is_sleeping":
            return self.say(200, {"is_sleeping": bool(self.server.asleep_level)})
        if self.path == "/v1/models" and self.is_known():
            return self.say(200, {"object": "list", "data": [{"id": self.server.model, "object": "model"}]})
        return self.say(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        said = self.rfile.read(int(self.headers["content-length"] or 0))
        url = urlsplit(self.path)
        if url.path == "/v1/chat/completions":
            return self.chat(json.loads(said)) if self.is_known() else None
        if not self.is_developing():
            return self.say(404, {"detail": "Not Found"})
        if url.path == "/sleep":
            self.server.asleep_level = int(parse_qs(url.query)["level"][0])
            self.server.has_weights = self.server.asleep_level < 2
            return self.say(200, {"status": "sleeping", "level": self.server.asleep_level})
        if url.path == "/wake_up":
            self.server.asleep_level = 0
            return self.say(200, {"status": "awake", "tags": None})
        if url.path == "/collective_rpc":
            assert json.loads(said)["method"] == "reload_weights"
            self.server.has_weights = True
            return self.say(200, {"results": [None]})
        return self.say(200, {"success": True})

    def is_known(self) -> bool:
        known = self.headers["authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        if not known:
            self.say(401, {"error": "Unauthorized"})
        return known

    def is_developing(self) -> bool:
        return os.environ.get("VLLM_SERVER_DEV_MODE") == "1"

    def chat(self, said: dict[str, Any]) -> None:
        head = {"id": "chatcmpl-1", "created": 1, "model": self.server.model}
        if not said.get("stream"):
            message = {"role": "assistant", "content": self.server.text(), "refusal": None}
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
            return self.say(200, {**head, "object": "chat.completion", "choices": [choice], "usage": USAGE})
        head |= {"object": "chat.completion.chunk"}
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": f" {word}"} for word in self.server.text().split()]
        chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        if (said.get("stream_options") or {}).get("include_usage"):
            chunks.append({**head, "choices": [], "usage": USAGE})
        lines = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]
        return self.say(200, b"".join([*lines, b"data: [DONE]\n\n"]), "text/event-stream; charset=utf-8")

    def say(self, status: int, body: object, content_type: str = "application/json") -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, _format: str, *arguments: object) -> None:
        sys.stderr.write('INFO:     127.0.0.1:1 - "{}" {} OK\n'.format(*arguments))


def main() -> None:
    assert sys.argv[1:3] == ["-m", "vllm.entrypoints.openai.api_server"], sys.argv
    parser = argparse.ArgumentParser(prog="api_server.py", allow_abbrev=False)
    for flag in VALUES:
        parser.add_argument(flag)
    parser.add_argument("--enable-sleep-mode", action="store_true")
    said = parser.parse_args(sys.argv[3:])
    if said.enable_sleep_mode and os.environ.get("SIMULATED_PLATFORM") == "cpu":
        sys.exit("ValueError: Sleep mode is not supported on current platform.")
    assert Path(said.model).is_dir(), said.model
    engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    time.sleep(0.3)
    server = Server((said.host, int(said.port)), Handler)
    server.model = said.served_model_name
    try:
        server.serve_forever()
    finally:
        engine.kill()


if __name__ == "__main__":
    main()
