"""Log lines for a person at a terminal: one short coloured line each. Pure.

Invariant: nothing a caller chose can move the cursor, change a colour or begin a line.
"""

from datetime import datetime

from pointsman.ledger.lines import Event, RequestLine

RESET = "\x1b[0m"
DIM = "\x1b[2m"
GREEN, YELLOW, RED, CYAN = (f"\x1b[{code}m" for code in (32, 33, 31, 36))
STATUS_COLOUR = {"success": GREEN, "client_closed": YELLOW, "client_error": YELLOW, "refused": YELLOW, "error": RED}
LEVEL_COLOUR = {"debug": DIM, "info": CYAN, "warning": YELLOW, "error": RED}


def request_line(line: RequestLine) -> bytes:
    """`12:04:05 200 qwen2.5-coder ← auto  agent/code en medium 9→32 tokens 0.84 s, first 0.12 s, own 0.4 ms  id`."""
    who = line.model if line.asked_model == line.model else f"{line.model or 'nobody'} ← {line.asked_model}"
    what = "/".join(label for label in (line.use_case, line.intent) if label)
    labels = " ".join(label for label in (what, line.language, line.complexity) if label)
    parts = [
        f"{_paint(STATUS_COLOUR[line.status], str(line.http_status))} {_plain(who)}",
        _plain(labels),
        f"{'~' if line.tokens_estimated else ''}{line.prompt_tokens}→{line.completion_tokens} tokens",
        _times(line),
        _paint(STATUS_COLOUR[line.status], _plain(line.error or line.status)) if line.status != "success" else "",
        f"{len(line.attempts)} attempts" if len(line.attempts) > 1 else "",
        f"cache {line.cache}" if line.cache not in {"bypass", "miss"} else "",
        _paint(DIM, _plain(line.request_id)),
    ]
    return _line(line.ts, "  ".join(part for part in parts if part))


def event_line(at: datetime, event: Event) -> bytes:
    """`12:04:05 model_loaded  qwen2.5-coder is ready  load_s=3.1`."""
    details = " ".join(f"{_plain(name)}={_plain(str(value))}" for name, value in event.details)
    parts = (_paint(LEVEL_COLOUR[event.level], _plain(event.name)), _plain(event.message), _paint(DIM, details))
    return _line(at, "  ".join(part for part in parts if part))


def _times(line: RequestLine) -> str:
    first = f", first {line.first_byte_s:.2f} s" if line.stream and line.first_byte_s is not None else ""
    return f"{line.total_s:.2f} s{first}, own {1000 * line.overhead_s:.1f} ms"


def _line(at: datetime, text: str) -> bytes:
    return f"{_paint(DIM, at.astimezone().strftime('%H:%M:%S'))} {text}\n".encode()


def _paint(colour: str, text: str) -> str:
    return f"{colour}{text}{RESET}" if text else ""


def _plain(text: str) -> str:
    """Printable characters only: no escape sequence and no line break gets through."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)
