"""The OpenAPI document: FastAPI writes the cold routes, this adds the hot ones from the very types that decode them."""

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from pointsman.edge.anthropic import CountBody, MessagesBody
from pointsman.edge.audio import SpeechBody
from pointsman.edge.generate import GenerateBody
from pointsman.edge.openai import ChatBody, CompletionBody, EmbeddingBody, RouteBody
from pointsman.edge.rag_documents import IngestBody
from pointsman.edge.rag_questions import RagBody
from pointsman.edge.responses import ResponsesBody
from pointsman.errors import TABLE

BODIES = (
    ChatBody,
    CompletionBody,
    EmbeddingBody,
    SpeechBody,
    RouteBody,
    MessagesBody,
    CountBody,
    ResponsesBody,
    GenerateBody,
    IngestBody,
    RagBody,
)
REF = "#/components/schemas/{name}"

TRANSCRIPTION_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "The recording: wav, mp3, ogg, flac, webm, m4a."},
        "model": {"type": "string", "default": "auto"},
        "language": {"type": "string", "description": "ISO 639-1; a model that does not know it is not chosen."},
        "prompt": {"type": "string"},
        "response_format": {"enum": ["json", "text", "srt", "vtt", "verbose_json"], "default": "json"},
        "temperature": {"type": "number", "default": 0},
        "stream": {"type": "boolean", "default": False},
        "x-routing": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": REF.format(name="Routing")},
            "description": "What a chat's member of that name holds, as JSON; it is not sent on.",
        },
    },
}

ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "description": "What is wrong, where, and what to do."},
                "type": {"enum": sorted({row.openai_type for row in TABLE.values()})},
                "param": {"type": ["string", "null"]},
                "code": {"enum": sorted(TABLE)},
            },
        }
    },
}

CONTEXT = "What of `x-routing.context_docs` was kept, cut and saved; in the header by counts alone."
METADATA: dict[str, Any] = {
    "type": "object",
    "description": "How the request was routed; also in the response header of that name.",
    "properties": {
        "model_id": {"type": "string"},
        "model_name": {"type": "string"},
        "intent": {"type": "string"},
        "use_case": {"type": "string"},
        "language": {"type": "string"},
        "complexity": {"type": "string"},
        "confidence": {"type": "number"},
        "fallback_used": {"type": "boolean"},
        "attempts": {"type": "integer"},
        "cache": {"type": "string"},
        "experiment": {"type": ["string", "null"]},
        "total_time_seconds": {"type": "number"},
        "request_id": {"type": "string"},
        "context": {"type": "object", "description": CONTEXT},
    },
}


def describe(shell: FastAPI) -> None:
    """Make `shell.openapi()` describe hot and cold routes; built once, on first use."""

    def document() -> dict[str, Any]:
        if shell.openapi_schema is None:
            schema = get_openapi(
                title=shell.title, version=shell.version, description=shell.description, routes=shell.routes
            )
            shell.openapi_schema = _with_hot_routes(schema)
        return shell.openapi_schema

    shell.openapi = document  # type: ignore[method-assign]  # the way FastAPI's manual gives to extend its document


def _with_hot_routes(schema: dict[str, Any]) -> dict[str, Any]:
    _, components = msgspec.json.schema_components(BODIES, ref_template=REF)
    components |= {"Error": ERROR, "RoutingMetadata": METADATA, "TranscriptionForm": TRANSCRIPTION_FORM}
    schema.setdefault("components", {}).setdefault("schemas", {}).update(components)
    answer = {
        "type": "object",
        "description": "OpenAI's object, as the model's server wrote it, with `x-routing-metadata` added.",
        "properties": {"x-routing-metadata": {"$ref": REF.format(name="RoutingMetadata")}},
    }
    audio = {"audio/mpeg": {"schema": {"type": "string", "format": "binary"}}}
    events = {"text/event-stream": {"schema": {"type": "string"}}}
    as_json = {"application/json": {"schema": answer}}
    schema["paths"] |= {
        "/v1/chat/completions": _operation(
            "Chat, with text, image, audio and video parts", "ChatBody", as_json | events
        ),
        "/v1/completions": _operation("Text completion", "CompletionBody", as_json | events),
        "/v1/embeddings": _operation("Embeddings", "EmbeddingBody", as_json),
        "/v1/audio/speech": _operation("Text to speech", "SpeechBody", audio | events),
        "/v1/audio/transcriptions": _operation(
            "Speech to text", "TranscriptionForm", as_json | events, takes="multipart/form-data"
        ),
        "/v1/messages": _operation("Anthropic's messages; errors in its words", "MessagesBody", as_json | events),
        "/v1/messages/count_tokens": _operation("About how many tokens a prompt has", "CountBody", as_json),
        "/v1/responses": _operation("OpenAI's responses; nothing is stored", "ResponsesBody", as_json | events),
        "/v1/generate": _operation("One question, with what is known of it", "GenerateBody", as_json | events),
        "/v1/rag/ingest": _operation("Keep a document (JSON), or a `file` (a form)", "IngestBody", as_json),
        "/v1/rag/query": _operation("A question, answered from documents, with sources", "RagBody", as_json | events),
        "/v1/route": _operation(
            "The decision only, explained; nothing is called, but it counts as a request of its key",
            "RouteBody",
            as_json,
        ),
    }
    return schema


def _operation(summary: str, body: str, content: dict[str, Any], takes: str = "application/json") -> dict[str, Any]:
    error = {"content": {"application/json": {"schema": {"$ref": REF.format(name="Error")}}}}
    return {
        "post": {
            "tags": ["openai"],
            "summary": summary,
            "requestBody": {"required": True, "content": {takes: {"schema": {"$ref": REF.format(name=body)}}}},
            "responses": {
                "200": {"description": "The answer", "content": content},
                "4XX": {"description": "The request must change"} | error,
                "5XX": {"description": "A model or the gateway failed, or is busy"} | error,
            },
        }
    }
