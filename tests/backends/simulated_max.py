"""SIMULATED: the command `max` of MAX 26.7, as far as the adapter sees it. No model runs here.

Its words, statuses and order of events are those that the real server was seen to say: it parses its flags strictly,
starts its workers as children, listens on the interface that MAX_SERVE_HOST names, has no key, streams content from the
first chunk on, and refuses members that it does not know.
"""

import argparse
import http.server
import json
import os
import subprocess
import sys
import time
from typing import Any

VALUES = ("--port", "--model-path", "--served-model-name", "--max-batch-size", "--max-length", "--devices")
KNOWN = frozenset({"model", "messages", "max_tokens", "stream", "stream_options", "temperature"})
USAGE = {"completion_tokens": 2, "prompt_tokens": 31, "total_tokens": 33}


class Server(http.server.ThreadingHTTPServer):
    model = ""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if self.path == "/health":
            return self.say(200, b"")
        return self.say(404, {"error": {"code": "404", "message": "Not Found", "param": "", "type": "not_found_error"}})

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if strange := sorted(set(said) - KNOWN):
            message = (
                f"{len(strange)} validation errors for CreateChatCompletionRequest\n{strange[0]}\n  Extra inputs are"
            )
            return self.refuse(f"{message} not permitted [type=extra_forbidden]")
        if said["model"] != self.server.model:
            return self.refuse("Value error.")
        return self.chat(said)

    def refuse(self, message: str) -> None:
        error = {"code": "400", "message": message, "param": "", "type": "invalid_request_error"}
        self.say(400, {"error": error})

    def chat(self, said: dict[str, Any]) -> None:
        head = {"id": "c342", "created": 1, "model": self.server.model}
        if not said.get("stream"):
            message = {"content": "Hello there", "refusal": "", "role": "assistant"}
            choice = {"finish_reason": "length", "index": 0, "message": message}
            return self.say(200, {**head, "choices": [choice], "object": "chat.completion", "usage": USAGE})
        head |= {"object": "chat.completion.chunk"}
        deltas = [{"content": word, "role": "assistant"} for word in ("Hello", " there")]
        chunks = [{**head, "choices": [{"delta": delta, "index": 0}]} for delta in deltas]
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


def main() -> None:
    assert sys.argv[1] == "serve", sys.argv
    parser = argparse.ArgumentParser(prog="max serve", allow_abbrev=False)
    for flag in VALUES:
        parser.add_argument(flag)
    said = parser.parse_args(sys.argv[2:])
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    time.sleep(0.2)
    server = Server((os.environ.get("MAX_SERVE_HOST", "0.0.0.0"), int(said.port)), Handler)
    server.model = said.served_model_name
    try:
        server.serve_forever()
    finally:
        worker.kill()


if __name__ == "__main__":
    main()
