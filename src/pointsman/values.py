"""What every value is made from."""

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all values: immutable, comparable, built by keyword. Subclasses repeat `frozen=True`, for mypy."""
