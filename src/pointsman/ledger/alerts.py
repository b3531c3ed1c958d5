"""Events of the server's life, POSTed to webhooks as they happen.

Knows: who wants to hear of what, how often, how a message is signed, when to try again. Does not know: what an event
means, how HTTP is spoken.
Invariants: `hear` never blocks and never raises; each webhook has a bounded queue and a task of its own, so that a dead
one holds up neither a request nor another webhook; what was not told is counted; URLs come from the settings alone.
Messages hold what the log holds, redacted: no prompt, no answer, no key.
"""

import asyncio
import hashlib
import hmac
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from pointsman.clock import Clock
from pointsman.errors import ConfigError, PointsmanError
from pointsman.ledger.lines import LEVELS, Event
from pointsman.settings_telemetry import AlertSettings
from pointsman.types import Value

QUEUE = 100
KEYS = 1000
TRIES = 5
FIRST_PAUSE_S = 1.0
TIMEOUT_S = 10.0
MINUTE_S = 60.0
SUBJECTS = frozenset({"deployment", "model", "experiment", "store", "alias"})
TRY_AGAIN = frozenset({408, 425, 429})
SIGNATURE = "X-Pointsman-Signature"


class Answer(Protocol):
    """What the webhook said."""

    @property
    def status(self) -> int: ...
    @property
    def retry_after_s(self) -> float | None: ...


class Poster(Protocol):
    """The way out (`dispatch.http`)."""

    def post(
        self,
        url: str,
        *,
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
        first_byte_timeout_s: float,
        idle_timeout_s: float,
    ) -> AbstractAsyncContextManager[Answer]: ...


class AlertStatistics(Value, frozen=True):
    """Since the start: `suppressed` were told a while ago, `dropped` came too fast, `failed` were not taken."""

    sent: int = 0
    suppressed: int = 0
    dropped: int = 0
    failed: int = 0


class Message(Value, frozen=True):
    """What a webhook is sent. `suppressed`: how often the same was kept back since it was last told."""

    event: str
    severity: str
    message: str
    details: dict[str, str | int | float | bool | None]
    source: str
    at: str
    suppressed: int
    text: str


def wants(hook: AlertSettings, event: Event) -> bool:
    """By name where names are given, else by severity."""
    if hook.events:
        return event.name in hook.events
    return LEVELS[event.level] >= LEVELS[hook.severity]


def subject_of(event: Event) -> tuple[Any, ...]:
    """What makes two events the same: the name, and whom it is about."""
    return (event.name, *(value for name, value in event.details if name in SUBJECTS))


def message_of(hook: AlertSettings, event: Event, source: str, at_unix_s: float, suppressed: int) -> Message:
    """Generic, with a `text` that chat services show."""
    words = {"event": event.name, "severity": event.level, "message": event.message, "source": source}
    text = hook.text
    for name, word in words.items():
        text = text.replace(f"{{{name}}}", word)
    at = datetime.fromtimestamp(at_unix_s, UTC).isoformat(timespec="milliseconds")
    return Message(**words, details=dict(event.details), at=at, suppressed=suppressed, text=text)


def signature_of(secret: str, at_unix_s: int, body: bytes) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA256 of `SECONDS.BODY`, so that an old message cannot be sent again as a new one."""
    signed = hmac.new(secret.encode(), b"%d." % at_unix_s + body, hashlib.sha256)
    return f"t={at_unix_s},v1={signed.hexdigest()}"


class _Webhook:
    """One webhook: what waits for it, what it was told and when."""

    def __init__(self, hook: AlertSettings, url: str, secret: str, clock: Clock) -> None:
        self.hook = hook
        self._url = url
        self._secret = secret
        self._clock = clock
        self._rng = clock.rng()
        self._queue: deque[tuple[Event, float, int]] = deque()
        self._awake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told: dict[tuple[Any, ...], tuple[float, int]] = {}
        self._recent_s: deque[float] = deque(maxlen=hook.per_minute)
        self.sent = self.suppressed = self.dropped = self.failed = 0

    def hear(self, event: Event) -> None:
        if not wants(self.hook, event):
            return
        now_s, key = self._clock.now(), subject_of(event)
        last_s, kept_back = self._told.get(key, (-self.hook.quiet_s, 0))
        if now_s - last_s < self.hook.quiet_s:
            self._told[key] = (last_s, kept_back + 1)
            self.suppressed += 1
            return
        is_too_fast = len(self._recent_s) == self.hook.per_minute and now_s - self._recent_s[0] < MINUTE_S
        if is_too_fast or len(self._queue) >= QUEUE:
            self.dropped += 1
            return
        if len(self._told) >= KEYS:
            self._told.pop(next(iter(self._told)))
        self._told.pop(key, None)
        self._told[key] = (now_s, 0)
        self._recent_s.append(now_s)
        self._queue.append((event, self._clock.unix(), kept_back))
        if self._loop is not None:  # libraries warn in threads of their own
            self._loop.call_soon_threadsafe(self._awake.set)

    async def run(self, poster: Poster, source: str, redact: Callable[[str], str]) -> None:
        """Tell what is queued, one after the other, until cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            while self._queue:
                event, at_unix_s, kept_back = self._queue[0]
                body = msgspec.json.encode(message_of(self.hook, event, source, at_unix_s, kept_back))
                if await self._told_it(poster, redact(body.decode()).encode()):
                    self.sent += 1
                else:
                    self.failed += 1
                self._queue.popleft()
            await self._awake.wait()
            self._awake.clear()

    async def _told_it(self, poster: Poster, body: bytes) -> bool:
        pause_s = FIRST_PAUSE_S
        for attempt in range(TRIES):
            if attempt:
                await self._clock.sleep(pause_s * (0.5 + self._rng.random()))
                pause_s *= 3
            status, wait_s = await self._post(poster, body)
            if 200 <= status < 300:
                return True
            if 300 <= status < 500 and status not in TRY_AGAIN:
                return False
            pause_s = max(pause_s, min(wait_s, MINUTE_S))
        return False

    async def _post(self, poster: Poster, body: bytes) -> tuple[int, float]:
        """The status, and how long it wants to be left alone; (0, 0) where nobody answered."""
        headers: tuple[tuple[str, str], ...] = ()
        if self._secret:
            headers = ((SIGNATURE, signature_of(self._secret, int(self._clock.unix()), body)),)
        try:
            async with poster.post(
                self._url, body=body, headers=headers, first_byte_timeout_s=TIMEOUT_S, idle_timeout_s=TIMEOUT_S
            ) as answer:
                return answer.status, answer.retry_after_s or 0.0
        except PointsmanError:
            return 0, 0.0

    def give_up(self) -> None:
        """What is queued will not be told."""
        self._loop = None
        self.failed += len(self._queue)
        self._queue.clear()


def _url_of(hook: AlertSettings, environ: Mapping[str, str]) -> str:
    url = hook.url or environ.get(hook.url_env or "", "").strip()
    if not url.startswith(("http://", "https://")):
        raise ConfigError((f"alerts[].url_env: `{hook.url_env}` holds no URL; set the variable or take the entry out",))
    return url


class Alerts:
    """Enter it once; it tells while it is open. `environ` holds the secrets, `redact` takes out what is none of theirs.

    What is still waiting when it closes is not told, and counts as failed. Raises ConfigError for want of a URL.
    """

    def __init__(
        self,
        hooks: tuple[AlertSettings, ...],
        poster: Poster,
        clock: Clock,
        *,
        environ: Mapping[str, str],
        source: str = "pointsman",
        redact: Callable[[str], str] = str,
    ) -> None:
        self._hooks = [
            _Webhook(hook, _url_of(hook, environ), environ.get(hook.secret_env or "", ""), clock) for hook in hooks
        ]
        self._poster = poster
        self._source = source
        self._redact = redact
        self._tasks: list[asyncio.Task[None]] = []

    def hear(self, event: Event) -> None:
        """One event of the server's life."""
        for hook in self._hooks:
            hook.hear(event)

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(hook.run(self._poster, self._source, self._redact), name="webhook")
            for hook in self._hooks
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for hook in self._hooks:
            hook.give_up()

    def statistics(self) -> AlertStatistics:
        hooks = self._hooks
        return AlertStatistics(
            sent=sum(hook.sent for hook in hooks),
            suppressed=sum(hook.suppressed for hook in hooks),
            dropped=sum(hook.dropped for hook in hooks),
            failed=sum(hook.failed for hook in hooks),
        )

    def counts(self) -> tuple[tuple[str, float], ...]:
        """By result, as metrics tell them."""
        return tuple((name, float(count)) for name, count in msgspec.structs.asdict(self.statistics()).items())

    def __repr__(self) -> str:
        return f"Alerts({len(self._hooks)} webhooks, {self.statistics()})"
