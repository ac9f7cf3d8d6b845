"""Find out at start what answers at an address: which server and model, and how it is made to keep to a form."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from typing import Any, Final

from builder.annotation.servers.openai import OpenAIServer
from builder.annotation.servers.tgi import TgiServer
from builder.annotation.servers.wire import AskFailed, Completion, Failure, Request, Schema, Server, base_url
from builder.errors import ServerError

TGI: Final = "text-generation-inference"
OTHER: Final = "openai-compatible"

#: Which ways to ask for a form are tried, in order, by the kind of server. The first that is obeyed is taken.
_FORMS: Final = {
    TGI: ("tgi_json",),
    "llama.cpp": ("json_object_schema", "json_schema"),
    OTHER: ("json_schema", "structured_outputs", "json_object_schema"),
}
#: What servers call themselves in the list of their models (``owned_by``).
_OWNERS: Final = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp", "me": "llama.cpp"}
#: Where a kind of server tells its version: path and key.
_VERSIONS: Final = {"vllm": ("/version", "version"), "llama.cpp": ("/props", "build_info")}

#: Nothing that a model would say to the question unless it is held to this form.
_TEST_SCHEMA: Final[Schema] = {
    "type": "object",
    "properties": {"word": {"type": "string", "enum": ["quokka"]}},
    "required": ["word"],
    "additionalProperties": False,
}
TEST_REQUEST: Final = Request(
    messages=[{"role": "user", "content": "Write one short sentence that greets a colleague."}],
    schema=_TEST_SCHEMA,
    max_tokens=40,
    seed=0,
)
_TRIES = 4
_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What was found out. ``constraint`` is a name of :data:`builder.annotation.servers.wire.CONSTRAINTS`.

    ``logprobs``: replies can carry log probabilities. ``tokens``: what finding out cost.
    """

    kind: str
    version: str
    model: str
    revision: str | None
    constraint: str = "none"
    logprobs: bool = False
    tokens: int = 0

    @property
    def server(self) -> str:
        """Name and version for the record."""
        return f"{self.kind} {self.version}".strip()


async def connect(
    endpoint: str, model: str, key: str | None, timeout: float, constraint: str = "auto", logprobs: bool = True
) -> tuple[Server, ServerFacts]:
    """A server that was looked at and asked a test question. The caller closes it.

    Args:
        endpoint: address, with or without ``/v1``.
        model: name to ask for; empty for the only one that the server has.
        key: sent as a bearer token.
        timeout: seconds that one request may take.
        constraint: a name of :data:`builder.annotation.servers.wire.CONSTRAINTS`, or ``auto`` to try.
        logprobs: whether log probabilities are wanted.

    Raises:
        ServerError: nothing answers there, it is no such server, or it does not have the model.
    """
    base = base_url(endpoint)
    openai = OpenAIServer(base, model, key, timeout)
    try:
        facts = await _recognise(openai, base, model)
    except BaseException:
        await openai.close()
        raise
    await openai.close()
    server = (TgiServer if facts.kind == TGI else OpenAIServer)(base, facts.model, key, timeout)
    try:
        return server, await _try_out(server, facts, constraint, logprobs)
    except BaseException:
        await server.close()
        raise


async def _recognise(server: OpenAIServer, base: str, model: str) -> ServerFacts:
    try:
        info = await _again(server, "/info")
        if isinstance(info, dict) and isinstance(info.get("model_id"), str):
            return ServerFacts(
                kind=TGI,
                version=_text(info.get("version")),
                model=model or info["model_id"],
                revision=_text(info.get("model_sha")) or None,
            )
        models = _models(await _again(server, "/v1/models"))
        kind = _OWNERS.get(next(iter(models.values()), ""), OTHER)
        path, key = _VERSIONS.get(kind, ("", ""))
        told = await _again(server, path) if path else None
    except AskFailed as error:
        raise ServerError(
            f"no server answers at {base} ({error.detail}); is it started and ready? "
            f"For example: vllm serve MODEL --port 8000"
        ) from error
    if not model and len(models) != 1:
        raise ServerError(f"{base} has {len(models)} models; name one with --model: {', '.join(sorted(models)[:10])}")
    # hosted providers do not list all they have, servers of one model do
    if model and kind != OTHER and model not in models:
        raise ServerError(f"{base} has no model {model!r}; it has {', '.join(sorted(models)[:10])}")
    return ServerFacts(
        kind=kind,
        version=_text(told.get(key)) if isinstance(told, dict) else "",
        model=model or next(iter(models)),
        revision=None,
    )


async def _again(server: OpenAIServer, path: str) -> Any:
    for attempt in range(_TRIES):
        try:
            return await server.look(path)
        except AskFailed as error:
            if attempt == _TRIES - 1:
                raise
            await asyncio.sleep(min(error.retry_after or _PAUSE, 10))
    raise AssertionError("not reached")


def _models(listed: Any) -> dict[str, str]:
    """Names of models with who owns them."""
    rows = listed.get("data") if isinstance(listed, dict) else None
    return {
        row["id"]: _text(row.get("owned_by"))
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict) and isinstance(row.get("id"), str)
    }


def _text(value: Any) -> str:
    """What a server says of itself, on one line, without characters that are no text."""
    printable = (
        "".join(character if character.isprintable() else " " for character in value) if isinstance(value, str) else ""
    )
    return " ".join(printable.split())[:80]


async def _try_out(server: Server, facts: ServerFacts, constraint: str, logprobs: bool) -> ServerFacts:
    forms = _FORMS.get(facts.kind, _FORMS[OTHER]) if constraint == "auto" else ()
    tokens, taken = 0, constraint if constraint != "auto" else "none"
    for form in forms:
        completion, billed, _ = await _ask(server, TEST_REQUEST, form)
        tokens += billed
        if completion is not None and _obeys(completion.content):
            taken = form
            break
    has_logprobs = False
    if logprobs or not forms:
        # also the one question that a server must answer at all
        completion, billed, why = await _ask(server, replace(TEST_REQUEST, logprobs=logprobs), taken)
        tokens += billed
        if completion is None and logprobs:
            completion, billed, why = await _ask(server, TEST_REQUEST, taken)
            tokens += billed
        if completion is None:
            raise ServerError(
                f"{facts.kind} at this endpoint answers, but not to a question ({why}): see the server's log, and whether "
                f"{facts.model!r} is a chat model"
            )
        has_logprobs = bool(completion.tokens)
    return replace(facts, constraint=taken, logprobs=has_logprobs, tokens=tokens)


def _obeys(content: str) -> bool:
    try:
        return bool(json.loads(content) == {"word": "quokka"})
    except (ValueError, RecursionError):
        return False


async def _ask(server: Server, request: Request, constraint: str) -> tuple[Completion | None, int, str]:
    """The reply, None if the server does not take this form; what asking cost; and why there is none.

    Other failures are tried again.
    """
    tokens, why = 0, ""
    for attempt in range(_TRIES):
        try:
            completion = await server.complete(request, constraint)
        except AskFailed as error:
            why = error.detail
            if error.failure is Failure.REFUSED:
                break
            if attempt == _TRIES - 1:
                # llama-cpp-python answers 500 to a form that it does not know
                if error.failure is Failure.SERVER:
                    break
                raise ServerError(f"the server does not answer a test question: {error}") from error
            await asyncio.sleep(min(error.retry_after or _PAUSE, 10))
        else:
            tokens += completion.tokens_in_all or 0
            if constraint == "none" or _obeys(completion.content) or attempt:
                return completion, tokens, ""
    return None, tokens, why
