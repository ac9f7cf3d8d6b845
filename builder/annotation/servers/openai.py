"""Servers that speak OpenAI's chat completion format, asked with exactly what is written here."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from builder.annotation.servers.wire import (
    MAX_BODY,
    AskFailed,
    Completion,
    Failure,
    Request,
    body_of,
    check_status,
    read_completion,
)
from builder.errors import ServerError


class OpenAIServer:
    """See :class:`builder.annotation.servers.wire.Server`.

    huggingface_hub's client would rewrite the form of the answer into text-generation-inference's dialect, which other
    servers ignore in silence; here what is written is what is sent. Redirections are not followed, so that a key never
    goes elsewhere.
    """

    def __init__(self, base: str, model: str, key: str | None, timeout: float) -> None:
        """``timeout``: seconds that one request may take. Made inside a running event loop."""
        self._base = base
        self._model = model
        self._timeout = timeout
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}"} if key else None,
            connector=aiohttp.TCPConnector(limit=0),  # how many at once is decided elsewhere
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def complete(self, request: Request, constraint: str) -> Completion:
        """See the protocol."""
        payload = json.dumps(body_of(request, self._model, constraint)).encode()
        return read_completion(await self._json("POST", "/v1/chat/completions", payload))

    async def look(self, path: str) -> Any:
        """See the protocol."""
        try:
            return await self._json("GET", path)
        except ServerError:
            return None  # gateways answer 403 to paths that they do not know
        except AskFailed as error:
            if error.failure in (Failure.REFUSED, Failure.BAD_BODY, Failure.SERVER):
                return None
            raise

    async def _json(self, method: str, path: str, payload: bytes | None = None) -> Any:
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._session.request(
                    method,
                    self._base + path,
                    data=payload,
                    headers={"Content-Type": "application/json"} if payload else None,
                    allow_redirects=False,
                ) as response,
            ):
                body = await _bounded(response)
        except TimeoutError as error:
            raise AskFailed(Failure.TIMEOUT, f"no answer in {self._timeout:g} s", sent=True) from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise ServerError(f"{self._base} is no address that can be asked: {error}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            sent = not isinstance(error, aiohttp.ClientConnectorError)
            raise AskFailed(Failure.CUT, type(error).__name__, sent=sent) from error
        check_status(response.status, response.headers, body[:1000].decode("utf-8", "replace"), self._base)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise AskFailed(Failure.BAD_BODY, "the response is no JSON", sent=True) from error

    async def close(self) -> None:
        """See the protocol."""
        await self._session.close()


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """The body, if it is not too long; else the connection is closed, not drained."""
    if (response.content_length or 0) > MAX_BODY:
        response.close()
        raise AskFailed(Failure.BAD_BODY, f"the response is longer than {MAX_BODY} bytes", sent=True)
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_BODY:
            response.close()
            raise AskFailed(Failure.BAD_BODY, f"the response is longer than {MAX_BODY} bytes", sent=True)
    return b"".join(parts)
