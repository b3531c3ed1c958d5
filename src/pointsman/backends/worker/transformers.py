"""Text from a folder of safetensors: chat, completions, embeddings, by transformers and torch.

Knows: how a request becomes tokens and tokens an answer. Does not know: how many are answered at once (`batch`), what
the weights are (`model`), sockets.
"""

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import jinja2
import msgspec
import torch
import transformers

from pointsman.backends.worker import transformers_ask as asking
from pointsman.backends.worker.config import TransformersConfig
from pointsman.backends.worker.server import EVENTS, JSON, Answer, Handler, Stop
from pointsman.backends.worker.transformers_ask import ChatBody, CompletionBody, EmbeddingBody, Generation
from pointsman.backends.worker.transformers_batch import Batch, Job, Row
from pointsman.backends.worker.transformers_model import Weights
from pointsman.backends.worker.transformers_reply import Reply, Said, Usage, embeddings
from pointsman.backends.worker.transformers_sampling import Chosen, Sampler
from pointsman.backends.worker.transformers_text import Writer
from pointsman.backends.worker.wire import DONE, Body, invalid, json_body
from pointsman.errors import RequestError
from pointsman.types import Value

COMPLETION_TOKENS = 16  # OpenAI's default
MAX_INPUTS = 2048
PING = b": reading the prompt\n\n"
PING_S = 15.0
"""So that silence means trouble."""


class Ask(Value, frozen=True):
    """A request that can be answered. `prompt` makes its tokens, in a thread: long texts take a while."""

    body: Generation
    prompt: Callable[[], tuple[int, ...]]
    max_tokens: int | None
    top_logprobs: int | None
    is_chat: bool


class TransformersEngine:
    """`server.Engine` around one folder."""

    def __init__(self, config: TransformersConfig) -> None:
        self.config = config
        torch.set_num_threads(config.threads)
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
            config.path, local_files_only=True, trust_remote_code=False
        )
        if config.chat_template:
            self._tokenizer.chat_template = config.chat_template
        self.weights = Weights(config)
        self._defaults = _defaults(Path(config.path))
        ends = self._defaults.eos_token_id
        known = ends if isinstance(ends, list) else [ends, self._tokenizer.eos_token_id]
        self._ends = frozenset(token for token in known if token is not None)
        self.batch = Batch(self.weights, config.slots)

    def routes(self) -> Mapping[str, Handler]:
        return {
            "/chat/completions": self.chat,
            "/completions": self.completions,
            "/embeddings": self.embed,
            "/sleep": lambda _: self._chore(self.weights.sleep),
            "/wake": lambda _: self._chore(self.weights.wake),
        }

    # ------------------------------------------------------------ handlers

    def chat(self, body: Body) -> Answer:
        asked = json_body(body, ChatBody)
        asking.check(asked)
        turns, tools = asking.turns(asked), asking.tools(asked)
        template = self._tokenizer.get_chat_template() if self._tokenizer.chat_template else ""
        if not template:
            raise invalid("messages", "cannot be put into words: this model has no chat template; use /v1/completions")
        if tools and "tools" not in template:
            raise invalid("tools", "are unknown to this model's chat template; name a model that calls tools")
        return self._answer(
            Ask(
                body=asked,
                prompt=lambda: self._worded(turns, tools),
                max_tokens=asked.max_completion_tokens or asked.max_tokens,
                top_logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
                is_chat=True,
            )
        )

    def completions(self, body: Body) -> Answer:
        asked = json_body(body, CompletionBody)
        asking.check(asked)
        prompt = asked.prompt
        if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
            prompt = prompt[0]
        return self._answer(
            Ask(
                body=asked,
                prompt=lambda: self._tokens(prompt, "prompt"),
                max_tokens=asked.max_tokens or COMPLETION_TOKENS,
                top_logprobs=asked.logprobs,
                is_chat=False,
            )
        )

    def embed(self, body: Body) -> Answer:
        """The mean of the last hidden states, of length one."""
        asked = json_body(body, EmbeddingBody)
        if asked.dimensions is not None:
            raise invalid("dimensions", "cannot be chosen for this model; leave it out")
        texts: Sequence[Any] = asked.input if isinstance(asked.input, list) else [asked.input]
        if texts and isinstance(texts[0], int):
            texts = [texts]
        if not 0 < len(texts) <= MAX_INPUTS:
            raise invalid("input", f"has {len(texts)} texts; send 1 to {MAX_INPUTS}")

        def chunks(stop: Stop) -> Generator[bytes, None, None]:
            prompts = [self._fitting(self._tokens(text, "input"), "input", room=0) for text in texts]
            vectors = [_unit(self.batch.embed(prompt, stop)) for prompt in prompts]
            read = sum(map(len, prompts))
            yield embeddings(self.config.model_id, vectors, read, is_base64=asked.encoding_format == "base64")

        return Answer(content_type=JSON, chunks=chunks)

    def _chore(self, chore: Callable[[], None]) -> Answer:
        def chunks(_: Stop) -> Generator[bytes, None, None]:
            self.batch.between(chore)
            yield b"{}"

        return Answer(content_type=JSON, chunks=chunks)

    # ------------------------------------------------------------ one answer

    def _answer(self, ask: Ask) -> Answer:
        sampling = asking.sampling(ask.body, ask.top_logprobs, self._defaults, self.weights.n_vocabulary)

        def job() -> Job:
            prompt = self._fitting(ask.prompt(), "messages" if ask.is_chat else "prompt", room=1)
            room = self.config.n_ctx - len(prompt)
            return Job(
                prompt=prompt,
                max_tokens=min(ask.max_tokens or room, room),
                sampling=sampling,
                ends=frozenset() if ask.body.ignore_eos else self._ends,
            )

        if ask.body.stream:
            return Answer(content_type=EVENTS, chunks=lambda stop: self._streamed(ask, job(), stop), is_stream=True)
        return Answer(content_type=JSON, chunks=lambda stop: self._whole(ask, job(), stop))

    def _whole(self, ask: Ask, job: Job, stop: Stop) -> Generator[bytes, None, None]:
        telling = _Telling(self, ask, job)
        pieces = [piece for piece in telling.pieces(stop) if piece is not None]
        text = "".join(text for text, _ in pieces)
        said = [one for _, some in pieces for one in some] if ask.top_logprobs is not None else None
        yield telling.reply.whole(text, said, telling.reason, telling.usage())

    def _streamed(self, ask: Ask, job: Job, stop: Stop) -> Generator[bytes, None, None]:
        telling = _Telling(self, ask, job)
        quiet_since = time.monotonic()
        for piece in telling.pieces(stop):
            if piece is not None:
                text, said = piece
                yield telling.reply.piece(text, said if ask.top_logprobs is not None else None)
            elif time.monotonic() - quiet_since > PING_S:
                yield PING
            else:
                continue
            quiet_since = time.monotonic()
        yield telling.reply.finish(telling.reason)
        if ask.body.wants_usage():
            yield telling.reply.usage(telling.usage())
        yield DONE

    # ------------------------------------------------------------ tokens

    def decode(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def named(self, token: int) -> str:
        """One token by itself, special ones too."""
        text: str = self._tokenizer.decode([token], clean_up_tokenization_spaces=False)
        return text

    def _worded(self, turns: Sequence[asking.Turn], tools: list[dict[str, Any]] | None) -> tuple[int, ...]:
        """The prompt as the model's own template words it. A last message of the assistant's is gone on with."""
        goes_on = turns[-1].message.role == "assistant" and bool(turns[-1].text)
        try:
            text = self._tokenizer.apply_chat_template(
                [turn.mapping() for turn in turns],
                tools=tools,
                add_generation_prompt=not goes_on,
                continue_final_message=goes_on,
                tokenize=False,
            )
        except (jinja2.TemplateError, ValueError, TypeError, KeyError) as error:
            raise invalid("messages", f"do not suit this model's chat template: {error}") from None
        return tuple(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _tokens(self, given: str | Sequence[Any], param: str) -> tuple[int, ...]:
        if isinstance(given, str):
            return tuple(self._tokenizer(given).input_ids)
        if not all(isinstance(token, int) and 0 <= token < self.weights.n_vocabulary for token in given):
            raise invalid(param, f"has tokens beyond those of the model: 0 to {self.weights.n_vocabulary - 1}")
        return tuple(given)

    def _fitting(self, prompt: tuple[int, ...], param: str, room: int) -> tuple[int, ...]:
        """The prompt, where it leaves room for an answer of so many tokens."""
        n_ctx = self.config.n_ctx
        if not prompt:
            raise invalid(param, "is empty; send some text")
        if len(prompt) + room > n_ctx:
            raise RequestError(
                f"{param}: has {len(prompt)} tokens, and the context of `{self.config.model_id}` holds {n_ctx}; "
                "shorten it, or name a model with a longer context",
                code="context_length_exceeded",
                param=param,
            )
        return prompt

    def __repr__(self) -> str:
        return f"TransformersEngine({self.config.model_id}, {self.weights}, {self.batch})"


class _Telling:
    """One answer while it is told."""

    def __init__(self, engine: TransformersEngine, ask: Ask, job: Job) -> None:
        self.reply = Reply(engine.config.model_id, is_chat=ask.is_chat)
        self._engine = engine
        self._row = Row(job, Sampler(job.sampling, job.prompt))
        self._writer = Writer(engine.decode, ask.body.stops())
        self._heard = 0

    def pieces(self, stop: Stop) -> Generator[tuple[str, list[Said]] | None, None, None]:
        """Text with its tokens as it can be shown; None now and then while there is none. One piece at least."""
        pending: list[Said] = []
        has_told = False
        with closing(self._engine.batch.say(self._row, stop)) as saying:
            for chosen in saying:
                if chosen is None:
                    yield None
                    continue
                self._heard += 1
                pending.append(self._named(chosen))
                if text := self._writer.add(chosen.token):
                    yield text, pending
                    has_told, pending = True, []
                if self._writer.has_stopped:
                    break
        rest = self._writer.end()
        if rest or pending or not has_told:
            yield rest, pending

    @property
    def reason(self) -> str:
        return "stop" if self._writer.has_stopped else self._row.reason

    def usage(self) -> Usage:
        """A token more than was shown where one ended the answer."""
        said = self._heard + (self._row.reason == "stop" and not self._writer.has_stopped)
        return Usage.of(len(self._row.job.prompt), said, self._row.reused)

    def _named(self, chosen: Chosen) -> Said:
        if self._row.job.sampling.top_logprobs is None:
            return Said(text="", logprob=0.0)
        name = self._engine.named
        top = tuple((name(token), logprob) for token, logprob in chosen.top)
        return Said(text=name(chosen.token), logprob=chosen.logprob, top=top)


def load(config: bytes) -> TransformersEngine:
    return TransformersEngine(msgspec.json.decode(config, type=TransformersConfig))


def _defaults(folder: Path) -> asking.Defaults:
    """Of the model's makers; where they say none, what ends an answer is said by its configuration."""
    recommended = _read(folder / "generation_config.json")
    if recommended.eos_token_id is None:
        ends = _read(folder / "config.json").eos_token_id
        return msgspec.structs.replace(recommended, eos_token_id=ends)
    return recommended


def _read(path: Path) -> asking.Defaults:
    try:
        return msgspec.json.decode(path.read_bytes(), type=asking.Defaults)
    except (OSError, msgspec.DecodeError):  # there need not be one, and it may say other things
        return asking.Defaults()


def _unit(vector: list[float]) -> list[float]:
    length = math.hypot(*vector) or 1.0
    return [number / length for number in vector]
