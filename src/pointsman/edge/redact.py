"""Where the app still looks for it."""

from pointsman.redact import redact, secrets_of

__all__ = ["redact", "secrets_of"]
