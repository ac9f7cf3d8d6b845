"""What tells one server of language models from another on the wire: discovery, forms of constraint, refusals.

Wordings are those of the servers' own sources and documentation:
https://github.com/huggingface/text-generation-inference/blob/main/router/src/validation.rs
https://docs.vllm.ai/en/latest/features/structured_outputs.html
https://docs.sglang.ai/advanced_features/structured_outputs.html
https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
https://github.com/abetlen/llama-cpp-python/blob/main/llama_cpp/server/errors.py
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

JSON = dict[str, Any]

DIALECTS = ("tgi", "openai", "vllm", "sglang", "llamacpp", "llama-cpp-python")
#: Most alternatives a token that may be asked for.
TOP_LOGPROBS = {"tgi": 5, "openai": 20, "vllm": 20}
#: Members that a server adds to every completion.
EXTRA = {
    "tgi": ',"system_fingerprint":"3.3.6-native"',
    "vllm": ',"service_tier":null,"system_fingerprint":null,"prompt_logprobs":null,"kv_transfer_params":null',
    "sglang": ',"metadata":{"weight_version":"default"}',
    "llamacpp": ',"system_fingerprint":"b9000-test","timings":{"prompt_n":1,"predicted_n":1}',
}

_OWNERS = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llamacpp", "llama-cpp-python": "me", "openai": "openai"}
_KINDS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_exceeded"}
_SERVER_CLASSES = {400: "BadRequestError", 404: "NotFoundError", 429: "RateLimitError", 500: "InternalServerError"}
_TGI_KINDS = {422: "validation", 429: "overloaded", 424: "generation", 500: "incomplete_generation", 503: "unhealthy"}


class Refused(Exception):
    """A request that the server does not take; ``outcome`` is its name in the log."""

    def __init__(self, outcome: str, status: int, body: bytes, content_type: str = "application/json") -> None:
        super().__init__(outcome)
        self.outcome, self.status, self.body, self.content_type = outcome, status, body, content_type


class Wanted(NamedTuple):
    """The constraint that the server understood: ``free`` is none, ``json`` any JSON."""

    form: str
    value: Any = None


def discovery(dialect: str, model: str, revision: str, context: int) -> dict[str, bytes]:
    """The pages that answer GET."""
    listed: JSON = {"id": model, "object": "model", "created": 1767225600, "owned_by": _OWNERS.get(dialect, model)}
    pages: dict[str, Any] = {"/health": b""}
    if dialect == "tgi":
        pages["/info"] = {
            "model_id": model,
            "model_sha": revision,
            "model_pipeline_tag": "text-generation",
            "max_concurrent_requests": 128,
            "max_best_of": 2,
            "max_stop_sequences": 4,
            "max_input_tokens": context,
            "max_total_tokens": context + 1024,
            "validation_workers": 2,
            "max_client_batch_size": 4,
            "router": "text-generation-router",
            "version": "3.3.6",
            "sha": None,
            "docker_label": None,
        }
    elif dialect == "vllm":
        listed |= {"root": model, "parent": None, "max_model_len": context, "permission": []}
        pages["/version"] = {"version": "0.33.0"}
    elif dialect == "sglang":
        listed |= {"root": model, "parent": None, "max_model_len": context}
        pages["/get_model_info"] = {"model_path": model, "tokenizer_path": model, "is_generation": True}
    elif dialect == "llamacpp":
        listed["meta"] = {"n_vocab": 49152, "n_ctx_train": context, "n_embd": 576, "n_params": 134515008}
        settings = {"n_ctx": context}
        pages |= {"/health": {"status": "ok"}}
        pages["/props"] = {
            "default_generation_settings": settings,
            "total_slots": 1,
            "model_path": model,
            "build_info": "b9000-test",
        }
    else:
        del pages["/health"]
    pages["/v1/models"] = {"object": "list", "data": [listed]}
    return {path: page if isinstance(page, bytes) else json.dumps(page).encode() for path, page in pages.items()}


def error(dialect: str, status: int, message: str, code: str | None = None, param: str | None = None) -> bytes:
    """An error in the dialect's form."""
    if dialect == "tgi":
        return json.dumps({"error": message, "error_type": _TGI_KINDS.get(status, "unknown")}).encode()
    if dialect in ("vllm", "sglang"):
        found = {"message": message, "type": _SERVER_CLASSES.get(status, "Error"), "param": param, "code": status}
        return json.dumps({"error": found} if dialect == "vllm" else {"object": "error", **found}).encode()
    kind = _KINDS.get(status, "server_error" if dialect == "openai" else "internal_server_error")
    if dialect == "llamacpp":
        return json.dumps({"error": {"code": status, "message": message, "type": kind}}).encode()
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


def unauthorized(dialect: str, given: str) -> Refused:
    """The answer to a wrong key. It repeats the key, as some gateways do: a client must not write it on."""
    if dialect in ("vllm", "sglang"):
        body = b'{"error":"Unauthorized"}'
    elif dialect == "tgi":
        body = b""
    elif dialect == "llama-cpp-python":
        body = b'{"detail":"Invalid API key"}'
    else:
        said = f"Incorrect API key provided: {given}." if given else "You didn't provide an API key."
        body = error(dialect, 401, said, "invalid_api_key")
    return Refused("unauthorized", 401, body)


def unknown_model(dialect: str, model: Any) -> Refused:
    said = f"The model `{model}` does not exist."
    return Refused("unknown_model", 404, error(dialect, 404, said, "model_not_found", "model"))


def too_long(dialect: str, tokens: int, most: int) -> Refused:
    if dialect == "tgi":
        said = f"Input validation error: `inputs` must have less than {most} tokens. Given: {tokens}"
        return Refused("too_long", 422, error(dialect, 422, said))
    if dialect == "llamacpp":
        said = f"request ({tokens} tokens) exceeds the available context size ({most} tokens), try increasing it"
        found = {
            "code": 400,
            "message": said,
            "type": "exceed_context_size_error",
            "n_prompt_tokens": tokens,
            "n_ctx": most,
        }
        return Refused("too_long", 400, json.dumps({"error": found}).encode())
    said = f"This model's maximum context length is {most} tokens. However, your messages resulted in {tokens} tokens. "
    said += "Please reduce the length of the messages."
    return Refused("too_long", 400, error(dialect, 400, said, "context_length_exceeded", "messages"))


def check_sampling(dialect: str, body: JSON) -> None:
    """Refuse parameters that the real server refuses.

    Raises:
        Refused: too many alternatives a token, or a value that TGI does not take.
    """
    top, most = body.get("top_logprobs") or 0, TOP_LOGPROBS.get(dialect)
    if most is not None and top > most:
        if dialect == "tgi":
            _refuse(dialect, 422, f"Input validation error: `top_n_tokens` must be >= 0 and <= {most}. Given: {top}")
        said = f"Requested sample logprobs of {top}, which is greater than max allowed: {most}"
        _refuse(dialect, 400, said if dialect == "vllm" else f"Invalid 'top_logprobs': must be at most {most}.")
    if top and not body.get("logprobs") and dialect != "tgi":
        _refuse(dialect, 400, "top_logprobs requires logprobs to be set to true")
    if dialect == "tgi" and not 0 < (body.get("top_p") or 0.5) < 1:
        _refuse(dialect, 422, "Input validation error: `top_p` must be > 0.0 and < 1.0")
    if body.get("stream"):
        _refuse(dialect, 400, "this server does not stream")


def read_constraint(dialect: str, body: JSON) -> Wanted:
    """The constraint of a request, as this dialect understands it: an unknown form counts for nothing or is refused.

    Raises:
        Refused: the real server refuses this form, too.
    """
    form = body.get("response_format") or {}
    kind = form.get("type", "text" if not form else None)
    extra = body.get("structured_outputs")
    if extra is not None and dialect == "openai":
        _refuse(dialect, 400, "Unrecognized request argument supplied: structured_outputs")
    if dialect == "vllm" and isinstance(extra, dict):
        return Wanted("schema", extra["json"]) if "json" in extra else Wanted("regex", extra.get("regex", ""))
    if dialect == "sglang" and "regex" in body:
        return Wanted("regex", body["regex"])
    if kind == "text":
        return Wanted("free")
    return _tgi(form, kind) if dialect == "tgi" else _openai_like(dialect, form, kind)


def _tgi(form: JSON, kind: Any) -> Wanted:
    if kind not in ("json", "json_object", "regex", "json_schema"):
        _refuse_in_words(f"response_format: unknown variant `{kind}`, expected one of `json`, `regex`, `json_schema`")
    if "value" not in form:
        _refuse_in_words("response_format: missing field `value`")
    value = form["value"]
    if kind == "regex":
        return Wanted("regex", value)
    if kind == "json_schema":
        value = value.get("schema", value)
    if not isinstance(value, dict) or "properties" not in value:
        _refuse("tgi", 422, "Input validation error: grammar is not valid: Grammar must have a 'properties' field")
    return Wanted("schema", value)


def _openai_like(dialect: str, form: JSON, kind: Any) -> Wanted:
    schema = (form.get("json_schema") or {}).get("schema")
    if dialect in ("llamacpp", "llama-cpp-python"):
        if kind != "json_object":
            place = "{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'msg': \"Input should be 'text'"
            said = f"[{place} or 'json_object'\", 'input': '{kind}', 'ctx': {{'expected': \"'text' or 'json_object'\"}}}}]"
            _refuse(dialect, 500, said)
        return Wanted("schema", form["schema"]) if "schema" in form else Wanted("json")
    if kind == "json_schema" and isinstance(schema, dict):
        return Wanted("schema", schema)
    if kind == "json_schema":
        _refuse(dialect, 400, "Missing required parameter: 'response_format.json_schema'.")
    if kind != "json_object":
        _refuse(dialect, 400, f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'.")
    # plain JSON mode: valid JSON and no schema; members of other dialects are passed over in silence
    if dialect == "openai" and (unknown := form.keys() - {"type"}):
        _refuse(dialect, 400, f"Unknown parameter: 'response_format.{min(unknown)}'.")
    return Wanted("json")


def _refuse(dialect: str, status: int, message: str) -> None:
    raise Refused("refused", status, error(dialect, status, message))


def _refuse_in_words(message: str) -> None:
    """TGI's parser of bodies answers in plain text, not in JSON."""
    said = f"Failed to deserialize the JSON body into the target type: {message} at line 1 column 99"
    raise Refused("refused", 422, said.encode(), "text/plain")
