"""The error tree, by what the caller can do, and the one table that turns an error into HTTP.

Knows: codes, statuses, whether a retry can help. Does not know: the web framework, logs.
A foreign exception becomes one of these once, at the seam where it enters.
"""

from typing import ClassVar, NamedTuple

import msgspec

from pointsman.types import Attempt, Rejected


class Row(NamedTuple):
    """One row of the table: OpenAI's `type`, the HTTP status, whether trying again may help."""

    http_status: int
    openai_type: str
    retryable: bool


TABLE: dict[str, Row] = {
    # the request is at fault: change it
    "invalid_json": Row(400, "invalid_request_error", False),
    "invalid_value": Row(400, "invalid_request_error", False),
    "missing_field": Row(400, "invalid_request_error", False),
    "invalid_media": Row(400, "invalid_request_error", False),
    "context_length_exceeded": Row(400, "invalid_request_error", False),
    "unsupported_language": Row(400, "invalid_request_error", False),
    "no_capable_model": Row(400, "invalid_request_error", False),
    "upstream_rejected": Row(400, "invalid_request_error", False),
    "invalid_api_key": Row(401, "authentication_error", False),
    "permission_denied": Row(403, "permission_error", False),
    "not_found": Row(404, "invalid_request_error", False),
    "model_not_found": Row(404, "invalid_request_error", False),
    "method_not_allowed": Row(405, "invalid_request_error", False),
    "conflict": Row(409, "invalid_request_error", False),
    "length_required": Row(411, "invalid_request_error", False),
    "request_too_large": Row(413, "invalid_request_error", False),
    "unsupported_media_type": Row(415, "invalid_request_error", False),
    # we will not, just now: come back later
    "rate_limit_exceeded": Row(429, "rate_limit_error", True),
    "queue_full": Row(503, "overloaded_error", True),
    "out_of_memory_budget": Row(503, "overloaded_error", True),
    "loading_failed": Row(503, "overloaded_error", True),
    "fetch_failed": Row(503, "overloaded_error", True),
    "out_of_memory": Row(503, "overloaded_error", True),
    "sleep_failed": Row(503, "overloaded_error", True),
    "draining": Row(503, "overloaded_error", True),
    "ledger_unavailable": Row(503, "overloaded_error", True),
    # an upstream is at fault
    "upstream_unreachable": Row(502, "upstream_error", True),
    "upstream_error": Row(502, "upstream_error", True),
    "upstream_protocol": Row(502, "upstream_error", True),
    "upstream_cut": Row(502, "upstream_error", True),
    "upstream_timeout": Row(504, "upstream_error", True),
    "deadline_exceeded": Row(504, "timeout_error", False),
    "plan_exhausted": Row(502, "upstream_error", True),
    # we are at fault
    "internal_error": Row(500, "server_error", False),
}


NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading somebody else's bytes as JSON may raise; the last where it is nested a thousand deep."""


DRAINING = "draining"
"""The code of what is refused or cut because the server stops."""


LONGEST_RETRY_AFTER_S = 60.0
"""Of the pauses upstreams ask for, the longest that is passed on: OpenAI's clients heed no longer one."""


LONGEST_MESSAGE = 4000
"""In characters: what a message quotes may be a caller's, and as long as its body."""


class PointsmanError(Exception):
    """Base. `message` says what, where and what to do; `param` names the field at fault in the caller's words."""

    default_code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        if len(message) > LONGEST_MESSAGE:
            message = f"{message[:LONGEST_MESSAGE]} …"
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.param = param

    @property
    def row(self) -> Row:
        return TABLE[self.code]

    @property
    def http_status(self) -> int:
        return self.row.http_status

    @property
    def retryable(self) -> bool:
        return self.row.retryable


class ConfigError(PointsmanError):
    """The settings are wrong: the operator must change the file. `problems` holds one line each."""

    default_code = "invalid_value"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RequestError(PointsmanError):
    """4xx: the caller must change the request."""

    default_code = "invalid_value"


class Declined(RequestError):
    """One model would not take the request; another may."""

    default_code = "upstream_rejected"


class Refused(PointsmanError):
    """429 or 503: the same request may succeed later. `retry_after_s` is an honest estimate."""

    default_code = "queue_full"

    def __init__(self, message: str, *, code: str | None = None, retry_after_s: float = 1.0) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class UpstreamError(PointsmanError):
    """A deployment failed. `upstream_status` is its HTTP status, 0 where it gave none; `retry_after_s` what it asked
    for, 0 where it asked for nothing."""

    default_code = "upstream_error"

    def __init__(
        self, message: str, *, code: str | None = None, upstream_status: int = 0, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(message, code=code)
        self.upstream_status = upstream_status
        self.retry_after_s = retry_after_s


class DeadlineExceeded(PointsmanError):
    """The request's one deadline passed."""

    default_code = "deadline_exceeded"


class NoCapableModel(RequestError):
    """No configured model can take this request; every rejection is kept."""

    default_code = "no_capable_model"

    def __init__(self, message: str, *, rejected: tuple[Rejected, ...], code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.rejected = rejected


class PlanExhausted(PointsmanError):
    """Every candidate was tried and failed; every attempt is kept."""

    default_code = "plan_exhausted"

    def __init__(self, message: str, *, attempts: tuple[Attempt, ...]) -> None:
        super().__init__(message)
        self.attempts = attempts
