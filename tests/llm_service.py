"""How the protocol server (:mod:`tests.llm_server`) answers a request."""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from aiohttp import web

from tests import llm_dialects as dialects
from tests.llm_dialects import EXTRA, Refused
from tests.llm_faults import (
    CONTENT,
    EARLY,
    HUGE,
    PROSE,
    WIRE,
    Fault,
    Faults,
    huge_pieces,
    other_json,
    page,
    spoil,
    wait_header,
)
from tests.llm_model import Canaries, Part, build, by_regex, joined, logprobs_json, user_text

JSON = dict[str, Any]
_TYPE = "application/json"


@dataclass(slots=True)
class Asked:
    """One request as the log knows it: ``n`` is how often its user message was asked before."""

    authorized: bool
    key: str = sha256(b"").hexdigest()
    n: int = 0
    tokens: int = 0
    noted: bool = False


class Server:
    """State of one process: what was asked, who waits, what was billed."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.faults = Faults(options.faults, options.poison, options.seed, options.fault_asks)
        self.canaries = Canaries(options.canaries, options.obeys) if options.canaries else None
        self.context = options.max_input or 32768
        self.pages = dialects.discovery(options.dialect, options.model, options.revision, self.context)
        self.slots = asyncio.Semaphore(options.slots) if options.slots else None
        self.asked: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.requests = self.in_flight = self.largest = self.waiting = self.prompt = self.completion = 0
        self.log = os.open(options.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644) if options.log else -1
        if options.log:
            # a server that was killed and started again goes on counting, so that its faults stay repeatable
            self.asked.update(json.loads(line)["key"] for line in Path(options.log).read_text().splitlines())

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Any request."""
        path = request.path
        if path == "/_stats":
            return _reply(200, json.dumps(self.stats()).encode())
        if request.method == "GET":
            try:
                if path.startswith("/v1"):
                    self._check_key(request)
                return _reply(200, self.pages[path]) if path in self.pages else _reply(404, b'{"detail":"Not Found"}')
            except Refused as refused:
                return _reply(refused.status, refused.body, refused.content_type)
        if request.method != "POST" or path != "/v1/chat/completions":
            return _reply(404, b'{"detail":"Not Found"}')
        self.requests += 1
        self.in_flight += 1
        self.largest = max(self.largest, self.in_flight)
        try:
            return await self._complete(request)
        finally:
            self.in_flight -= 1

    def stats(self) -> JSON:
        return {
            "requests": self.requests,
            "outcomes": dict(self.outcomes),
            "in_flight": self.in_flight,
            "largest_in_flight": self.largest,
            "waiting": self.waiting,
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "cpu_seconds": round(time.process_time(), 3),
        }

    async def _complete(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = Asked("Authorization" in request.headers)
        try:
            try:
                body = json.loads(await request.read())
                text = user_text(body["messages"])
                asked.tokens = sum(len(user_text([message])) for message in body["messages"]) // 4 + 1
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise Refused("bad_request", 400, dialects.error(self.options.dialect, 400, "no messages")) from error
            asked.key = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
            asked.n = self.asked[asked.key]
            self.asked[asked.key] += 1
            return await self._answer(request, body, text, asked)
        except Refused as refused:
            self._note(asked, refused.outcome)
            waits = wait_header(refused.status, 0, self.options.retry_after)
            return _reply(refused.status, refused.body, refused.content_type, waits)
        except asyncio.CancelledError:
            self._note(asked, "client_gone")
            raise

    def _check_key(self, request: web.BaseRequest) -> None:
        if self.options.api_key:
            given = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if given != self.options.api_key:
                raise dialects.unauthorized(self.options.dialect, given)

    async def _answer(self, request: web.BaseRequest, body: JSON, text: str, asked: Asked) -> web.StreamResponse:
        options = self.options
        wanted = self._read(request, body, asked)
        fault = self.faults.draw(asked.key, asked.n)
        if fault.name.isdigit():
            self._note(asked, fault.name)
            said = dialects.error(options.dialect, int(fault.name), f"made-up error {fault.name}")
            return _reply(int(fault.name), said, _TYPE, wait_header(int(fault.name), fault.variant, options.retry_after))
        if fault.name in EARLY:
            self._note(asked, fault.name)
            await asyncio.sleep(options.stall if fault.name == "stall" else 0)
            return _hang_up(request, reset=fault.name == "cut" and bool(fault.variant % 2))
        async with self._slot():
            if options.latency:
                # +-20 %, the same for the same question in every run
                part = int(sha256(f"{options.seed}{asked.key}{asked.n}".encode()).hexdigest()[:8], 16) / 2**32
                await asyncio.sleep(options.latency * (0.8 + 0.4 * part))
        return await self._tell(request, body, self._say(wanted, text), fault, asked)

    def _read(self, request: web.BaseRequest, body: JSON, asked: Asked) -> dialects.Wanted:
        options = self.options
        self._check_key(request)
        if options.strict_model and body.get("model") != options.model:
            raise dialects.unknown_model(options.dialect, body.get("model"))
        dialects.check_sampling(options.dialect, body)
        wanted = dialects.read_constraint(options.dialect, body)
        if options.max_input and asked.tokens > options.max_input:
            raise dialects.too_long(options.dialect, asked.tokens, options.max_input)
        return wanted

    async def _tell(
        self, request: web.BaseRequest, body: JSON, said: tuple[list[Part], str], fault: Fault, asked: Asked
    ) -> web.StreamResponse:
        options, dialect = self.options, self.options.dialect
        parts, outcome = said
        reason = "stop"
        if fault.name in CONTENT:
            parts, reason = spoil(fault, parts)
        if fault.name in CONTENT | WIRE:
            outcome = fault.name
        most = body.get("max_tokens") or body.get("max_completion_tokens")
        content = joined(parts)
        if most and len(content) > 4 * most:
            content, reason = content[: 4 * most], "length"
            parts, outcome = [Part(content)], "length" if outcome == "ok" else outcome
        billed = len(content) // 4 + 1
        self._note(asked, outcome, billed)
        logprobs = "null"
        if options.logprobs and body.get("logprobs"):
            top = body.get("top_logprobs") or 0
            logprobs = f'{{"content":{logprobs_json(parts, asked.key, options.tokens, top, dialect != "tgi")}}}'
        usage = f'{{"prompt_tokens":{asked.tokens},"completion_tokens":{billed},"total_tokens":{asked.tokens + billed}}}'
        model = json.dumps(body.get("model") or options.model)
        head = f'{{"id":"{"" if dialect == "tgi" else f"chatcmpl-{asked.key[:24]}{asked.n}"}","object":"chat.completion",'
        head += f'"created":{int(time.time())},"model":{model}{EXTRA.get(dialect, "")},"choices":'
        choice = '[{"index":0,"message":{"role":"assistant","content":'
        after = f'}},"finish_reason":"{reason}","logprobs":{logprobs}}}]'
        if fault.name in WIRE:
            return await _wrong(request, fault, (head, choice, json.dumps(content), after, f',"usage":{usage}}}'))
        return _reply(200, f'{head}{choice}{json.dumps(content)}{after},"usage":{usage}}}'.encode())

    def _say(self, wanted: dialects.Wanted, text: str) -> tuple[list[Part], str]:
        """What the model answers when nothing goes wrong, and how the log calls it."""
        options = self.options
        form = {"obey": wanted.form, "json": "json", "none": "free"}[options.constraint]
        if form == "schema":
            prefer = self.canaries.labels(text) if self.canaries else None
            return build(wanted.value, text, options.spaces, prefer), "ok"
        if form == "regex":
            return [Part(by_regex(wanted.value, text))], "ok"
        if form == "json":
            schema = wanted.value if wanted.form == "schema" else {}
            return [Part(other_json(len(text), joined(build(schema, text))))], "json_mode"
        return [Part(PROSE[0])], "unconstrained"

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """A place among those that are worked on; those that wait get one in the order in which they came."""
        if self.slots is None:
            yield
            return
        if self.options.queue is not None and self.slots.locked() and self.waiting >= self.options.queue:
            raise Refused("queue_full", 429, dialects.error(self.options.dialect, 429, "Model is overloaded"))
        self.waiting += 1
        try:
            await self.slots.acquire()
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self.slots.release()

    def _note(self, asked: Asked, outcome: str, billed: int = 0) -> None:
        """One line a request, before its answer. Tokens are billed where the model has worked."""
        if asked.noted:
            return
        asked.noted = True
        prompt = asked.tokens if billed else 0
        self.outcomes[outcome] += 1
        self.prompt += prompt
        self.completion += billed
        if self.log >= 0:
            line = f'{{"key":"{asked.key}","n":{asked.n},"outcome":"{outcome}","prompt_tokens":{prompt},'
            line += f'"completion_tokens":{billed},"authorization":{"true" if asked.authorized else "false"}}}\n'
            os.write(self.log, line.encode())


def _reply(status: int, body: bytes, kind: str = _TYPE, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=body, content_type=kind, headers=headers)


def _hang_up(request: web.BaseRequest, reset: bool = False) -> web.StreamResponse:
    """Close the connection, with TCP's reset or properly; what is returned is not sent."""
    transport = request.transport
    if transport is not None:
        if reset:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
    return web.Response(status=500)


async def _wrong(request: web.BaseRequest, fault: Fault, answer: tuple[str, ...]) -> web.StreamResponse:
    """An answer whose HTTP or envelope is wrong."""
    head, choice, content, after, usage = answer
    name, variant = fault
    if name == "not_json_http":
        status, kind, body = page(variant)
        return _reply(status, body, kind)
    if name == "no_choices":
        return _reply(200, (head + ("[]", "null", "[{}]", '{"0":1}', "[null]")[variant % 5] + usage).encode())
    if name == "empty":
        content = ('""', "null", '" \\n"')[variant % 3]
    elif name == "no_usage":
        usage = ("}", ',"usage":null}', ',"usage":{"prompt_tokens":"many","completion_tokens":-4}}')[variant % 3]
    whole = (head + choice + content + after + usage).encode()
    if name in ("empty", "no_usage"):
        return _reply(200, whole)
    response = web.StreamResponse(headers={"Content-Type": _TYPE})
    if name == "cut_body":
        response.content_length = len(whole)
        await response.prepare(request)
        await response.write(whole[: len(whole) // 2])
        _hang_up(request)
        return response
    begin, end = f'{head}{choice}"'.encode(), f'"{after}{usage}'.encode()
    if name == "zipped_body":
        zipped = gzip.compress(b"".join(huge_pieces(begin, end)), 1)
        return _reply(200, zipped, headers={"Content-Encoding": "gzip"})
    if variant % 2:
        response.content_length = len(begin) + HUGE + len(end)
    await response.prepare(request)
    for piece in huge_pieces(begin, end):
        await response.write(piece)
    await response.write_eof()
    return response
