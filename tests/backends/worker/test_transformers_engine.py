"""The engine on a tiny checkpoint: what it says is gibberish, but it must be the same gibberish however it is asked."""

import base64
import json
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")

from pointsman.backends.worker.config import TransformersConfig  # noqa: E402  # after the skip
from pointsman.backends.worker.server import EVENTS, Answer, Stop  # noqa: E402  # after the skip
from pointsman.backends.worker.transformers import TransformersEngine, load  # noqa: E402  # after the skip
from pointsman.backends.worker.transformers_model import Weights, guarded  # noqa: E402  # after the skip
from pointsman.backends.worker.transformers_slots import Alone, Piece, Slots  # noqa: E402  # after the skip
from pointsman.backends.worker.wire import Body  # noqa: E402  # after the skip
from pointsman.errors import PointsmanError, RequestError, UpstreamError  # noqa: E402  # after the skip
from pointsman.testing.checkpoint import SPECIALS, write_checkpoint  # noqa: E402  # after the skip

PROMPTS = ("What is a train?", "Count!", "One two three four five six seven " * 12, "x")
LONG = "The quick brown fox jumps over the lazy dog. " * 8


def configured(folder: Path, **options: Any) -> TransformersConfig:
    options = {"n_ctx": 1024, "slots": 4, **options}
    return TransformersConfig(model_id="tiny", api_key="", path=str(folder), **options)


@contextmanager
def opened(folder: Path, **options: Any) -> Iterator[TransformersEngine]:
    engine = load(msgspec.json.encode(configured(folder, **options)))
    try:
        yield engine
    finally:
        engine.batch.close()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Iterator[TransformersEngine]:
    with opened(checkpoint) as one:
        yield one


def asked(engine: TransformersEngine, route: str, **members: object) -> Answer:
    return engine.routes()[route](Body(content_type="application/json", data=json.dumps(members).encode()))


def whole(engine: TransformersEngine, route: str, **members: object) -> Any:
    return json.loads(b"".join(asked(engine, route, **members).chunks(Stop())))


def chat(engine: TransformersEngine, text: str, **members: object) -> Any:
    members = {"max_tokens": 40, "temperature": 0, **members}
    return whole(engine, "/chat/completions", messages=[{"role": "user", "content": text}], **members)


def said(answer: Any) -> str:
    text: str = answer["choices"][0]["message"]["content"]
    return text


# ---------------------------------------------------------------- the same however it is asked


def reference(checkpoint: Path, prompt: Sequence[int], count: int, **config: Any) -> list[int]:
    """What transformers itself says, without any cache."""
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, **config)
    tokens = list(prompt)
    with torch.inference_mode():
        for _ in range(count):
            tokens.append(int(model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax()))
    return tokens[len(prompt) :]


def test_it_says_what_transformers_says(engine: TransformersEngine, checkpoint: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    for text in PROMPTS:
        prompt = tokenizer(f"<|user|>{text}<|end|><|assistant|>", add_special_tokens=False).input_ids
        expected = tokenizer.decode(reference(checkpoint, prompt, 30), skip_special_tokens=True)
        answer = chat(engine, text, max_tokens=30)
        assert said(answer) == expected
        assert answer["usage"]["prompt_tokens"] == len(prompt)
        assert answer["usage"]["completion_tokens"] == 30


def test_together_as_alone(engine: TransformersEngine) -> None:
    """Sixteen at once on four slots, prompts of all lengths, joining and leaving at different times."""
    texts = [f"{text} {number}" for number in range(4) for text in PROMPTS]
    alone = [said(chat(engine, text, max_tokens=20 + 3 * index)) for index, text in enumerate(texts)]
    with ThreadPoolExecutor(len(texts)) as pool:
        together = list(pool.map(lambda it: said(chat(engine, it[1], max_tokens=20 + 3 * it[0])), enumerate(texts)))
    assert together == alone


def test_a_conversation_goes_on_as_if_it_were_new(checkpoint: Path) -> None:
    messages = [{"role": "user", "content": LONG}]
    with opened(checkpoint) as engine, opened(checkpoint) as fresh:
        for turn in range(3):
            members = {"messages": messages, "max_tokens": 20, "temperature": 0}
            answer = whole(engine, "/chat/completions", **members)
            assert said(answer) == said(whole(fresh, "/chat/completions", **members))
            remembered = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
            assert (remembered > 100) == (turn > 0)
            messages += [{"role": "assistant", "content": said(answer)}, {"role": "user", "content": f"And {turn}?"}]
            whole(fresh, "/sleep")
            whole(fresh, "/wake")


def test_a_seed_says_the_same_alone_and_together(engine: TransformersEngine) -> None:
    members = {"temperature": 1.5, "top_p": 0.95, "seed": 42}
    first = said(chat(engine, "dice", **members))
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: said(chat(engine, "dice", **members)), range(4))) == {first}
    assert said(chat(engine, "dice", **{**members, "seed": 43})) != first


# ---------------------------------------------------------------- models of other kinds


SMALL = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
OTHERS: dict[str, tuple[str, dict[str, Any], type]] = {
    "a window over all layers": ("MistralConfig", {"sliding_window": 16}, Slots),
    "a window over some": (
        "Qwen3Config",
        {"use_sliding_window": True, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]},
        Slots,
    ),
    "all heads their own keys": ("LlamaConfig", {"num_key_value_heads": 4}, Slots),
    "positions that are learned": ("GPT2Config", {}, Slots),
    "attention that is capped": (
        "Gemma2Config",
        {"head_dim": 16, "sliding_window": 16, "attn_logit_softcapping": 1.0},
        Alone,
    ),
    "angles that depend on the length": (
        "LlamaConfig",
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}},
        Alone,
    ),
    "a state in place of keys": ("MambaConfig", {"state_size": 8, "use_mambapy": False}, Alone),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_say_what_transformers_says(name: str, checkpoint: Path, tmp_path: Path) -> None:
    """Each gets the memory that suits it."""
    kind, special, memory = OTHERS[name]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, kind)(**{**SMALL, **special}))
    model.save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((checkpoint / file).read_bytes())
    with opened(tmp_path) as engine:
        assert isinstance(engine.weights.memory, memory)
        prompts = [[(7 * number + n * n) % 96 + 4 for n in range(40 + number)] for number in range(3)]
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda prompt: completed(engine, prompt), prompts))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for prompt, answer in zip(prompts, answers, strict=True):
        assert answer == tokenizer.decode(reference(tmp_path, prompt, 20), skip_special_tokens=True)


def completed(engine: TransformersEngine, prompt: list[int]) -> str:
    answer = whole(engine, "/completions", prompt=prompt, max_tokens=20, temperature=0, ignore_eos=True)
    text: str = answer["choices"][0]["text"]
    return text


# ---------------------------------------------------------------- answers


def events(answer: Answer) -> list[Any]:
    assert (answer.content_type, answer.is_stream) == (EVENTS, True)
    lines = b"".join(answer.chunks(Stop())).decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def test_a_stream_is_the_answer_in_pieces(engine: TransformersEngine) -> None:
    members = {"max_tokens": 25, "temperature": 0, "messages": [{"role": "user", "content": "stream"}]}
    expected = whole(engine, "/chat/completions", **members)
    told = events(asked(engine, "/chat/completions", **members, stream=True, stream_options={"include_usage": True}))
    deltas = [one["choices"][0]["delta"] for one in told[:-1]]
    assert deltas[0]["role"] == "assistant"
    assert "".join(delta.get("content", "") for delta in deltas) == said(expected)
    assert [one["choices"][0]["finish_reason"] for one in told[:-1]] == [None] * (len(told) - 2) + ["length"]
    assert told[-1]["choices"] == []
    assert told[-1]["usage"]["completion_tokens"] == 25
    assert {one["object"] for one in told} == {"chat.completion.chunk"}
    assert len(told) > 20


def shown(tokens: Iterable[str]) -> str:
    return "".join(token for token in tokens if token not in SPECIALS)


def test_a_completion(engine: TransformersEngine) -> None:
    answer = whole(engine, "/completions", prompt=["abc"], temperature=0, logprobs=2)
    assert (answer["object"], answer["usage"]["prompt_tokens"]) == ("text_completion", 3)
    choice = answer["choices"][0]
    assert choice["text"] == shown(choice["logprobs"]["tokens"])
    assert len(choice["logprobs"]["tokens"]) == answer["usage"]["completion_tokens"] == 16
    for logprob, top in zip(choice["logprobs"]["token_logprobs"], choice["logprobs"]["top_logprobs"], strict=True):
        assert logprob == max(top.values())
        assert len(top) == 2
    told = events(asked(engine, "/completions", prompt="abc", temperature=0, stream=True))
    assert "".join(one["choices"][0]["text"] for one in told) == choice["text"]


def test_probabilities_in_a_chat(engine: TransformersEngine) -> None:
    answer = chat(engine, "how sure?", logprobs=True, top_logprobs=3, max_tokens=5)
    content = answer["choices"][0]["logprobs"]["content"]
    assert [len(token["top_logprobs"]) for token in content] == [3] * 5
    assert shown(token["token"] for token in content) == said(answer)
    assert all(token["logprob"] == token["top_logprobs"][0]["logprob"] for token in content)


def test_a_stop_word_ends_it_before_the_word(engine: TransformersEngine) -> None:
    free = said(chat(engine, "stop"))
    stop = free[10:13]
    answer = chat(engine, "stop", stop=["never said", stop])
    assert said(answer) == free[: free.index(stop)]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] <= 13


def test_the_end_token_ends_it(engine: TransformersEngine) -> None:
    answer = chat(engine, "end", logit_bias={"0": 100})
    assert (said(answer), answer["choices"][0]["finish_reason"]) == ("", "stop")
    assert answer["usage"]["completion_tokens"] == 1
    on_and_on = chat(engine, "end", logit_bias={"0": 100}, ignore_eos=True, max_tokens=5)
    assert on_and_on["choices"][0]["finish_reason"] == "length"


def test_an_answer_fills_the_context_and_no_more(checkpoint: Path) -> None:
    with opened(checkpoint, n_ctx=64, slots=1) as engine:
        answer = chat(engine, "x" * 20, max_tokens=None)
        assert answer["usage"]["total_tokens"] == 64
        assert answer["choices"][0]["finish_reason"] == "length"


def test_an_answer_that_began_is_gone_on_with(engine: TransformersEngine) -> None:
    free = said(chat(engine, "go on", max_tokens=30))
    messages = [{"role": "user", "content": "go on"}, {"role": "assistant", "content": free[:10]}]
    rest = whole(engine, "/chat/completions", messages=messages, max_tokens=20, temperature=0)
    assert free.startswith(free[:10] + said(rest))


def test_embeddings(engine: TransformersEngine) -> None:
    texts = ["a train", "a train ", LONG]
    answer = whole(engine, "/embeddings", input=texts)
    vectors = [row["embedding"] for row in answer["data"]]
    assert [sum(x * x for x in vector) for vector in vectors] == pytest.approx([1, 1, 1])
    assert answer["usage"]["prompt_tokens"] == sum(map(len, texts))
    packed = whole(engine, "/embeddings", input=texts[0], encoding_format="base64")["data"][0]["embedding"]
    assert list(struct.unpack(f"{len(vectors[0])}f", base64.b64decode(packed))) == pytest.approx(vectors[0])

    def alike(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert alike(vectors[0], vectors[1]) > alike(vectors[0], vectors[2])


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("route", "members", "code", "words"),
    [
        ("/completions", {"prompt": "x" * 1024}, "context_length_exceeded", "1024 tokens.* holds 1024"),
        ("/embeddings", {"input": "x" * 1025}, "context_length_exceeded", "1025 tokens.* holds 1024"),
        ("/completions", {"prompt": ""}, "invalid_value", "prompt: is empty"),
        ("/completions", {"prompt": [100]}, "invalid_value", "beyond those of the model: 0 to 99"),
        ("/completions", {"prompt": [-1]}, "invalid_value", "beyond"),
        ("/completions", {"prompt": ["a", "b"]}, "invalid_value", "one prompt"),
        ("/completions", {"prompt": "a", "echo": True}, "invalid_value", "echo"),
        ("/completions", {"prompt": "a", "best_of": 2}, "invalid_value", "best_of"),
        ("/completions", {"prompt": "a", "n": 2}, "invalid_value", "n: gives one"),
        ("/completions", {"prompt": "a", "temperature": -0.1}, "invalid_value", "temperature"),
        ("/completions", {"prompt": "a", "stop": [""]}, "invalid_value", "stop"),
        ("/completions", {"prompt": "a", "logit_bias": {"100": 1}}, "invalid_value", "`100`, which is no token"),
        ("/completions", {}, "missing_field", "prompt"),
        ("/chat/completions", {"messages": []}, "invalid_value", "messages"),
        ("/chat/completions", {"messages": [{"role": "user", "content": 5}]}, "invalid_value", "messages"),
        (
            "/chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
            "invalid_media",
            "reads text only",
        ),
        (
            "/chat/completions",
            {"messages": [{"role": "user", "content": "a"}], "response_format": {"type": "json_object"}},
            "invalid_value",
            "response_format",
        ),
        (
            "/chat/completions",
            {"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function"}]},
            "invalid_value",
            "tools",
        ),
        (
            "/chat/completions",
            {"messages": [{"role": "user", "content": "a"}], "tool_choice": {"type": "function"}},
            "invalid_value",
            "tool_choice",
        ),
        ("/embeddings", {"input": []}, "invalid_value", "0 texts"),
        ("/embeddings", {"input": "a", "dimensions": 3}, "invalid_value", "dimensions"),
    ],
)
def test_what_cannot_be_answered(
    route: str, members: dict[str, object], code: str, words: str, engine: TransformersEngine
) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        whole(engine, route, **members)
    assert caught.value.code == code
    assert caught.value.http_status == 400


def test_a_chat_template_may_refuse(checkpoint: Path, tmp_path: Path) -> None:
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{{ raise_exception('roles must alternate') }}"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with opened(tmp_path) as engine, pytest.raises(RequestError, match="roles must alternate"):
        chat(engine, "hello")
    del settings["chat_template"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with opened(tmp_path) as engine, pytest.raises(RequestError, match="has no chat template"):
        chat(engine, "hello")


def test_a_template_of_ones_own_takes_the_place_of_the_models(checkpoint: Path) -> None:
    with opened(checkpoint, chat_template="{% for m in messages %}{{ m.content }}{% endfor %}") as engine:
        assert chat(engine, "hello", max_tokens=1)["usage"]["prompt_tokens"] == len("hello")


def test_tools_reach_a_template_that_knows_them(checkpoint: Path, tmp_path: Path) -> None:
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings["chat_template"] = (
        "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}{% for m in messages %}{{ m.content }}"
        "{% for c in m.tool_calls or [] %}{{ c.function.arguments.q }}{% endfor %}{% endfor %}"
    )
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tool = {"type": "function", "function": {"name": "search"}}
    call = {"id": "1", "type": "function", "function": {"name": "search", "arguments": '{"q":"12345"}'}}
    messages = [{"role": "user", "content": "ab"}, {"role": "assistant", "tool_calls": [call]}]
    with opened(tmp_path) as engine:
        members = {"messages": messages, "max_tokens": 1, "tools": [tool]}
        assert whole(engine, "/chat/completions", **members)["usage"]["prompt_tokens"] == len("searchab12345")
        members["tool_choice"] = "none"
        assert whole(engine, "/chat/completions", **members)["usage"]["prompt_tokens"] == len("ab12345")


# ---------------------------------------------------------------- leaving, sleeping, running out of memory


def test_who_leaves_makes_room_at_the_next_token(checkpoint: Path) -> None:
    with opened(checkpoint, slots=1, n_ctx=2048) as engine:
        stop = Stop()
        members = {"messages": [{"role": "user", "content": "long"}], "stream": True, "ignore_eos": True}
        with closing(asked(engine, "/chat/completions", **members).chunks(stop)) as chunks:
            next(chunks)
            assert engine.batch.busy == 1
        assert chat(engine, "next", max_tokens=1)["usage"]["completion_tokens"] == 1
        assert engine.batch.busy <= 1


def test_asleep_and_awake(checkpoint: Path) -> None:
    with opened(checkpoint) as engine:
        before = said(chat(engine, "sleep"))
        assert whole(engine, "/sleep") == {}
        assert not engine.weights.is_awake
        with pytest.raises(UpstreamError, match="asleep"):
            chat(engine, "sleep")
        assert whole(engine, "/sleep") == {}
        assert whole(engine, "/wake") == {}
        assert whole(engine, "/wake") == {}
        answer = chat(engine, "sleep")
        assert said(answer) == before
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_weights_that_are_gone_are_said_to_be(checkpoint: Path, tmp_path: Path) -> None:
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with opened(tmp_path) as engine:
        whole(engine, "/sleep")
        (tmp_path / "model.safetensors").unlink()
        with pytest.raises(PointsmanError, match=r"model\.safetensors"):
            whole(engine, "/wake")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried …"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    ],
)
def test_running_out_of_memory_has_a_name(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(UpstreamError, match="ran out of memory") as caught:
        guarded(fail)
    assert caught.value.code == "out_of_memory"
    assert "out of memory" in caplog.text


def test_other_trouble_keeps_its_own() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        guarded(lambda: (_ for _ in ()).throw(RuntimeError("shapes do not fit")))


def test_a_cache_that_does_not_fit_is_no_memory(checkpoint: Path) -> None:
    with pytest.raises(UpstreamError) as caught:
        Weights(configured(checkpoint, n_ctx=1 << 40))
    assert caught.value.code == "out_of_memory"


def test_short_formats_agree_roughly(checkpoint: Path) -> None:
    full, short = (Weights(configured(checkpoint, dtype=dtype)) for dtype in ("float32", "bfloat16"))
    piece = [Piece(slot=1, start=0, tokens=tuple(range(4, 40)))]
    expected, found = full.run(piece).float(), short.run(piece).float()
    assert isinstance(short.memory, Slots)
    assert float((expected - found).abs().max()) < 0.1 * float(expected.abs().max())


def test_only_safetensors_are_read(checkpoint: Path, tmp_path: Path) -> None:
    """The other format runs code when it is read."""
    for file in checkpoint.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        Weights(configured(tmp_path))


def test_specials_are_not_written(engine: TransformersEngine) -> None:
    assert engine.decode(range(len(SPECIALS))) == ""
    assert engine.named(0) == SPECIALS[0]
    assert threading.active_count() < 50
