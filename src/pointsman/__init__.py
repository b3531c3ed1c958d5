"""Pointsman: a self-hosted, OpenAI-compatible gateway that sets the points for every request."""

__version__ = "0.1.0"
