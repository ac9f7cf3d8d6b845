"""What goes over the wire in the chat completion format, and what can go wrong there.

The format is OpenAI's, which text-generation-inference, vLLM, SGLang and llama.cpp speak too:
https://platform.openai.com/docs/api-reference/chat/create. They differ in how a form of the answer is asked for; see
:data:`CONSTRAINTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol
from urllib.parse import urlsplit, urlunsplit

from builder.errors import ServerError
from builder.waiting import retry_after

#: A body that is longer is not read to its end (bytes).
MAX_BODY: Final = 4 * 2**20
#: Alternatives asked for at each token: the five scores, or four types and one that is none.
TOP_LOGPROBS: Final = 5

Schema = dict[str, Any]

#: How a JSON Schema is asked for, by name: https://huggingface.co/docs/text-generation-inference/basic_tutorials/using_guidance,
#: https://docs.vllm.ai/en/latest/features/structured_outputs.html, https://github.com/ggml-org/llama.cpp/tree/master/tools/server,
#: https://platform.openai.com/docs/guides/structured-outputs
CONSTRAINTS: Final[Mapping[str, Callable[[Schema], dict[str, Any]]]] = {
    "json_schema": lambda schema: {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "labels", "schema": schema, "strict": True},
        }
    },
    "structured_outputs": lambda schema: {"structured_outputs": {"json": schema}},
    "json_object_schema": lambda schema: {"response_format": {"type": "json_object", "schema": schema}},
    "tgi_json": lambda schema: {"response_format": {"type": "json", "value": schema}},
    "none": lambda _schema: {},
}


class Failure(StrEnum):
    """Why a request brought no reply."""

    BUSY = "busy"  # the server asks to slow down
    SERVER = "server_error"
    CUT = "connection"
    TIMEOUT = "timeout"
    BAD_BODY = "bad_body"
    REFUSED = "refused"  # this request, for what it holds: asking again would not help


class AskFailed(Exception):
    """A request without a reply. ``retry_after``: seconds that the server asks to wait; ``sent``: it may be billed."""

    def __init__(self, failure: Failure, detail: str, retry_after: float | None = None, sent: bool = False) -> None:
        super().__init__(f"{failure}: {detail}")
        self.failure = failure
        self.detail = detail
        self.retry_after = retry_after
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Request:
    """One question. ``max_tokens`` bounds the answer; ``schema`` is its form, which the server may ignore."""

    messages: Sequence[dict[str, str]]
    schema: Schema
    max_tokens: int
    seed: int
    temperature: float = 0.0
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """A reply. Tokens are None where the server does not count; ``tokens`` are those of ``logprobs.content``."""

    content: str
    cut_short: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    tokens: Sequence[Any] = ()

    @property
    def tokens_in_all(self) -> int | None:
        """In and out; None where the server does not count."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens


class Server(Protocol):
    """A server at one address that is asked many things at once."""

    async def complete(self, request: Request, constraint: str) -> Completion:
        """Ask.

        Raises:
            AskFailed: no reply to this request.
            ServerError: no request of this run can succeed (no such model, not allowed).
        """
        ...

    async def look(self, path: str) -> Any:
        """The JSON at a path, or None if there is none or it is not for us.

        Raises:
            AskFailed: the server does not answer at all.
        """
        ...

    async def close(self) -> None:
        """End all connections."""
        ...


def base_url(endpoint: str) -> str:
    """The address without what clients append (``/v1``, ``/v1/chat/completions``).

    Raises:
        ServerError: it is no address, or holds a password, which would end up in logs.
    """
    try:
        parts = urlsplit(endpoint)
        parts.port  # noqa: B018  (raises for one that is no number)
    except ValueError as error:
        raise ServerError(f"the endpoint {endpoint!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ServerError(f"the endpoint {endpoint!r} is no address; expected for example http://127.0.0.1:8000")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ServerError(
            "the endpoint's address must hold no user, password, query or fragment; put a key into the environment "
            "variable that --api-key-env names"
        )
    path = parts.path.rstrip("/")
    for ending in ("/chat/completions", "/v1"):
        path = path.removesuffix(ending)
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def check_status(status: int, headers: Mapping[str, str], body: str, where: str) -> None:
    """Raise what a status other than 200 means; see :meth:`Server.complete`."""
    if 200 <= status < 300:
        return
    said = " ".join(body.split())[:200]
    if status in (429, 503, 529):
        raise AskFailed(Failure.BUSY, f"HTTP {status}", retry_after(headers))
    if status == 408 or status >= 500:
        raise AskFailed(Failure.SERVER, f"HTTP {status}")
    if status in (401, 402, 403):
        # not what it said: some servers repeat the key
        raise ServerError(f"{where} answers {status}: is the key right that --api-key-env names, and has it credit?")
    if status in (404, 405):
        raise ServerError(f"{where} answers {status} ({said}): check --endpoint and --model")
    if 300 <= status < 400:
        raise ServerError(f"{where} answers {status}, a redirection, which is not followed: give the final --endpoint")
    raise AskFailed(Failure.REFUSED, f"HTTP {status}")


def read_completion(body: Any) -> Completion:
    """The reply in a response's JSON.

    Raises:
        AskFailed: it is no chat completion.
    """
    try:
        choice = body["choices"][0]
        content = choice["message"]["content"]
        if not isinstance(content, str | None):
            raise TypeError
    except (KeyError, IndexError, TypeError) as error:
        raise AskFailed(Failure.BAD_BODY, "the response is no chat completion", sent=True) from error
    usage = body.get("usage") or {}
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    return Completion(
        content=content or "",
        cut_short=choice.get("finish_reason") == "length",
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        tokens=tokens if isinstance(tokens, list) else (),
    )


def _count(usage: Any, key: str) -> int | None:
    value = usage.get(key) if isinstance(usage, dict) else None
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
    return value if usable else None


def body_of(request: Request, model: str, constraint: str) -> dict[str, Any]:
    """The JSON of a request. What servers do not know they ignore or refuse, which the probe finds out."""
    body: dict[str, Any] = {
        "model": model,
        "messages": list(request.messages),
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
        **CONSTRAINTS[constraint](request.schema),
    }
    if request.logprobs:
        body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
    return body
