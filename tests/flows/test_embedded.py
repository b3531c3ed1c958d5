"""The embedded default, served by the command a user types: real models, real children, real kills."""

import base64
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
from PIL import Image

from pointsman.testing.markdown import CodeBlock, code_blocks
from pointsman.testing.samples import drawn, film, form_body, picture_file

ROOT = Path(__file__).parents[2]
ANNOUNCED = "The night train to Madurai leaves at nine in the evening."
README = tuple(code_blocks(ROOT / "README.md"))
SHOWN_URL = "http://127.0.0.1:8001"
GREETING: list[Any] = [{"role": "user", "content": "Hello! How are you?"}]

pytestmark = pytest.mark.real


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return json.load(response)

    def post(self, path: str, body: bytes, content_type: str = "application/json") -> tuple[int, Any]:
        request = urllib.request.Request(self.url + path, body, {"content-type": content_type})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child_of(self, deployment: str) -> int:
        views = self.get("/router/info")["deployments"]
        return int(next(view["pid"] for view in views if view["id"] == deployment))

    def health_of(self, deployment: str) -> Any:
        return self.get("/health")["models"][deployment]


def until(condition: Callable[[], bool], within_s: float, what: str) -> float:
    """Seconds until the condition held; fails after `within_s`."""
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < within_s, what
        time.sleep(0.01)
    return time.monotonic() - began_s


def start(folder: Path, *options: str) -> Server:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "serve.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "pointsman", "serve", "--port", str(port), *options],
            stdout=out, stderr=subprocess.STDOUT, cwd=ROOT,
        )  # fmt: skip
    server = Server(process, f"http://127.0.0.1:{port}", log)
    until(lambda: _is_ready(server), 180, "the server is not ready")
    return server


def _is_ready(server: Server) -> bool:
    assert server.process.poll() is None, server.log.read_text()
    try:
        return bool(server.get("/ready"))
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(tmp_path_factory.mktemp("embedded"))
    children = running.children()
    yield running
    running.process.terminate()
    assert running.process.wait(30) == 0
    assert not any(child.is_running() for child in children)
    assert "Traceback" not in running.log.read_text()


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url + "/v1", api_key="unused", max_retries=0, timeout=120) as client:
        yield client


def test_the_tour_is_as_the_readme_says(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "examples/tour.py", "--url", server.url + "/v1"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _printed(server: Server, code: str, *program: str) -> str:
    """What a block of the README prints, run as it stands but for the address."""
    assert SHOWN_URL in code
    command = [*program, code.replace(SHOWN_URL, server.url)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=server.log.parent, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("block", [block for block in README if "run" in block.marks], ids=repr)
def test_the_readmes_clients_are_answered(server: Server, block: CodeBlock) -> None:
    lines = _printed(server, block.code, sys.executable, "-c").splitlines()
    assert len(lines) >= block.code.count("print(")
    assert "board" in lines[-1].lower() or "transcriptions" not in block.code


def test_the_readmes_curl_is_answered_as_the_readme_says(server: Server) -> None:
    curl = next(block.code for block in README if block.language == "sh" and "curl " in block.code)
    shown = next(json.loads(block.code) for block in README if block.language == "json")
    metadata = json.loads(_printed(server, curl, "sh", "-ec"))["x-routing-metadata"]
    assert {name: metadata[name] for name in shown} == shown


def test_a_child_killed_mid_stream_is_one_error_event_and_the_next_request_is_answered(server: Server) -> None:
    body = json.dumps({"model": "small", "messages": GREETING, "stream": True, "max_tokens": 2000, "ignore_eos": True})
    request = urllib.request.Request(
        server.url + "/v1/chat/completions", body.encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.readline().startswith(b"data: ")
        os.kill(server.child_of("smollm2-135m-instruct"), signal.SIGKILL)
        events = [line[5:].strip() for line in response if line.startswith(b"data:")]
    assert json.loads(events[-1])["error"]["code"] == "upstream_cut"
    assert sum(b'"error"' in event for event in events) == 1
    assert b"[DONE]" not in events
    status, answer = server.post("/v1/chat/completions", json.dumps({"model": "small", "messages": GREETING}).encode())
    assert status == 200
    assert answer["choices"][0]["message"]["content"]
    assert server.health_of("smollm2-135m-instruct")["restarts"] == 1


def test_a_client_that_leaves_frees_the_slot_and_the_lease_within_200_ms(server: Server) -> None:
    body = json.dumps({"model": "small", "messages": GREETING, "stream": True, "max_tokens": 2000, "ignore_eos": True})
    request = urllib.request.Request(
        server.url + "/v1/chat/completions", body.encode(), {"content-type": "application/json"}
    )
    response = urllib.request.urlopen(request, timeout=60)
    assert response.readline().startswith(b"data: ")
    assert server.health_of("smollm2-135m-instruct")["in_flight"] == 1
    response.close()
    took_s = until(lambda: server.health_of("smollm2-135m-instruct")["in_flight"] == 0, 5, "the lease is still held")
    assert took_s < 0.2


def test_a_greeting_and_a_code_question_go_to_different_models(client: openai.OpenAI) -> None:
    hello = client.chat.completions.create(model="auto", messages=GREETING, max_tokens=8)
    code = client.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": "Write a C function that reverses a string"}], max_tokens=8
    )
    assert (hello.model_extra or {})["x-routing-metadata"]["model_id"] == "smollm2-135m-instruct"
    metadata = (code.model_extra or {})["x-routing-metadata"]
    assert (metadata["model_id"], metadata["intent"]) == ("qwen2.5-coder-0.5b-instruct", "code")
    assert hello.usage
    assert 0 < hello.usage.completion_tokens <= 8


def test_usage_is_in_a_stream_only_where_it_was_asked_for(client: openai.OpenAI) -> None:
    def last(**options: Any) -> Any:
        stream = client.chat.completions.create(model="small", messages=GREETING, max_tokens=5, stream=True, **options)
        return list(stream)[-1]

    assert last().usage is None
    assert 0 < last(stream_options={"include_usage": True}).usage.completion_tokens <= 5


def test_an_over_long_prompt(client: openai.OpenAI) -> None:
    much = ("word " * 20_000, "in a context of 4,096")  # surely too long: the router says so
    a_bit = ("The quick brown fox jumps over the lazy dog. " * 415, "4096 allowed")  # in doubt: the engine counts
    for prompt, said in (much, a_bit):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="small", messages=[{"role": "user", "content": prompt}])
        assert caught.value.code == "context_length_exceeded"
        assert said in caught.value.message


def test_a_picture_that_is_none(client: openai.OpenAI) -> None:
    url = "data:image/png;base64," + base64.b64encode(b"this is no picture").decode()
    part: Any = {"type": "image_url", "image_url": {"url": url}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="auto", messages=[{"role": "user", "content": [part]}])
    assert caught.value.code == "invalid_media"
    assert str(caught.value.param).startswith("messages[0].content[0].image_url")


def test_a_picture_without_text_is_not_made_up(client: openai.OpenAI) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (200, 100), "red").save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    part: Any = {"type": "image_url", "image_url": {"url": url}}
    answer = client.chat.completions.create(model="auto", messages=[{"role": "user", "content": [part]}])
    text = (answer.choices[0].message.content or "").lower()
    assert "200" in text
    assert "no vision model" in text


def test_recordings_that_are_none(server: Server, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(model="auto", file=("a.wav", b"this is no sound"))
    assert (caught.value.code, caught.value.param) == ("invalid_media", "file")
    boundary = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nstt\r\n--b--\r\n'
    status, body = server.post("/v1/audio/transcriptions", boundary, "multipart/form-data; boundary=b")
    assert (status, body["error"]["code"], body["error"]["param"]) == (400, "missing_field", "file")


def test_a_language_no_ear_knows_is_said(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(model="stt", file=("a.wav", b"RIFF"), language="hi")
    assert caught.value.code == "unsupported_language"


def test_tools_and_json_schema_pass_through(client: openai.OpenAI) -> None:
    schema: Any = {
        "type": "json_schema",
        "json_schema": {
            "name": "city",
            "schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    answer = client.chat.completions.create(
        model="large",
        messages=[{"role": "user", "content": "Capital of France?"}],
        response_format=schema,
        max_tokens=40,
    )
    assert set(json.loads(answer.choices[0].message.content or "")) == {"city"}


def test_embeddings_are_there_once_asked_for(server: Server, client: openai.OpenAI) -> None:
    """In the SDK's own encoding, which is base64; the model is loaded by the first who asks."""
    told = server.get("/router/info")["deployments"]
    assert next(view["state"] for view in told if view["id"] == "e5") == "cold"
    questions = client.embeddings.create(model="auto", input=["Where is the train?", "गाड़ी कहाँ है?"])
    passages = client.embeddings.create(
        model="e5",
        input=["The train is standing on platform seven.", "Bake the bread for an hour."],
        encoding_format="float",
        extra_body={"input_type": "passage"},
    )
    assert (questions.model_extra or {})["x-routing-metadata"]["model_id"] == "e5"
    assert 0 < questions.usage.prompt_tokens == questions.usage.total_tokens
    train, bread = (one.embedding for one in passages.data)
    for question in (one.embedding for one in questions.data):
        assert len(question) == len(train) == 384
        assert dot(question, train) > dot(question, bread)
    with pytest.raises(openai.BadRequestError, match="384"):
        client.embeddings.create(model="auto", input="a", dimensions=256)


def dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_the_documents_of_an_operator(server: Server) -> None:
    ids = {model["id"] for model in server.get("/v1/models")["data"]}
    assert {"auto", "small", "large", "smollm2-135m-instruct", "stt", "tts", "ocr", "e5"} <= ids
    assert server.get("/health")["status"] == "ok"
    paths = server.get("/openapi.json")["paths"]
    assert {"/v1/chat/completions", "/v1/audio/speech", "/health", "/v1/route"} <= set(paths)
    with urllib.request.urlopen(server.url + "/metrics", timeout=10) as response:
        assert b"agent_router_requests_total" in response.read()


def test_a_killed_gateway_leaves_no_child(tmp_path: Path) -> None:
    server = start(tmp_path)
    children = server.children()
    assert len(children) >= 4
    server.process.kill()
    server.process.wait(5)
    until(lambda: not any(_runs(child) for child in children), 5, "a child outlived the gateway")


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_pictures_speech_and_film_answer_questions(server: Server, client: openai.OpenAI) -> None:
    """Read, heard and watched by the embedded engines, found by meaning and by words, with times, and forgotten."""
    said = client.audio.speech.create(model="auto", voice="default", input=ANNOUNCED, response_format="wav").content
    shown = picture_file(drawn([(40, 60, "Platform seven is closed until Friday")], (760, 160)))
    shots = film(["Ticket office", "Mind the gap"], each_s=2.0)
    collection = f"station-{os.getpid()}"
    try:
        for name, content, kind in (
            ("call.wav", said, "audio"),
            ("sign.png", shown, "image"),
            ("tour.mp4", shots, "video"),
        ):
            form = form_body((("collection", collection), ("id", kind)), content, filename=name)
            status, kept = server.post("/v1/rag/ingest", form.data, form.content_type)
            assert (status, kept.get("kind")) == (200, kind), kept
        for question, document in (
            ("When does the night train leave?", "audio"),
            ("Which platform is closed?", "image"),
        ):
            body = {"query": question, "collection": collection, "max_tokens": 24}
            status, answered = server.post("/v1/rag/query", json.dumps(body).encode())
            assert (status, answered["sources"][0]["document_id"]) == (200, document), answered
        body = {"query": "mind the gap", "collection": collection, "max_tokens": 8, "top": 1}
        (moment,) = server.post("/v1/rag/query", json.dumps(body).encode())[1]["sources"]
        assert (moment["document_id"], 1.5 <= moment["start_s"] <= 2.5) == ("video", True), moment
    finally:
        for kind in ("audio", "image", "video"):
            url = f"{server.url}/v1/rag/documents/{kind}?collection={collection}"
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=10).close()
