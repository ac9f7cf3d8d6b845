"""text-generation-inference, through its official client, huggingface_hub's AsyncInferenceClient."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from huggingface_hub import AsyncInferenceClient, set_async_client_factory
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError

from builder.annotation.servers.wire import (
    CONSTRAINTS,
    MAX_BODY,
    TOP_LOGPROBS,
    AskFailed,
    Completion,
    Failure,
    Request,
    check_status,
    read_completion,
)


class TgiServer:
    """See :class:`builder.annotation.servers.wire.Server`.

    The client would send the token of the hub's login to any address, follow redirections, and read bodies of any length;
    the transport that it is given here does none of that.
    https://huggingface.co/docs/huggingface_hub/package_reference/inference_client
    """

    def __init__(self, base: str, model: str, key: str | None, timeout: float) -> None:
        """``timeout``: seconds that one request may take. Made inside a running event loop."""
        self._base = base
        self._model = model
        self._timeout = timeout
        self._key = key
        self._is_open = False
        self._http = _http_client(key)
        # the transport sets the key, or takes away the one that the client would find on this machine
        self._client = AsyncInferenceClient(base_url=base, api_key="none")

    async def complete(self, request: Request, constraint: str) -> Completion:
        """See the protocol."""
        asked = self._client.chat_completion(
            list(request.messages),
            model=self._model,
            max_tokens=request.max_tokens,
            seed=request.seed,
            temperature=request.temperature or None,
            logprobs=request.logprobs or None,
            top_logprobs=TOP_LOGPROBS if request.logprobs else None,
            response_format=CONSTRAINTS[constraint](request.schema).get("response_format"),
        )
        self._open()
        try:
            async with asyncio.timeout(self._timeout):
                return read_completion(await asked)
        except HfHubHTTPError as error:
            response = error.response
            check_status(response.status_code, response.headers, _text(response), self._base)
            raise AskFailed(Failure.BAD_BODY, f"HTTP {response.status_code}", sent=True) from error
        except (InferenceTimeoutError, TimeoutError) as error:
            raise AskFailed(Failure.TIMEOUT, f"no answer in {self._timeout:g} s", sent=True) from error
        except httpx2.HTTPError as error:
            raise _failed(error) from error
        except (ValueError, TypeError, AttributeError, RecursionError) as error:  # what the client says to a wrong body
            raise AskFailed(Failure.BAD_BODY, "the response is no chat completion", sent=True) from error

    def _open(self) -> None:
        """Have the client take our transport at its first request; the factory is one for the whole process."""
        if not self._is_open:
            self._is_open = True
            key = self._key

            def once() -> httpx2.AsyncClient:
                set_async_client_factory(lambda: _http_client(None))  # no key stays behind
                return _http_client(key)

            set_async_client_factory(once)

    async def look(self, path: str) -> Any:
        """See the protocol."""
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._http.get(self._base + path)
            return json.loads(response.content) if response.status_code == 200 else None
        except TimeoutError as error:
            raise AskFailed(Failure.TIMEOUT, f"no answer in {self._timeout:g} s") from error
        except httpx2.HTTPError as error:
            raise _failed(error) from error
        except (ValueError, RecursionError):
            return None

    async def close(self) -> None:
        """See the protocol."""
        await self._client.close()  # type: ignore[no-untyped-call]
        await self._http.aclose()


def _failed(error: httpx2.HTTPError) -> AskFailed:
    if isinstance(error, _TooLong):
        return AskFailed(Failure.BAD_BODY, str(error), sent=True)
    return AskFailed(Failure.CUT, type(error).__name__, sent=not isinstance(error, httpx2.ConnectError))


def _text(response: httpx2.Response) -> str:
    try:
        return response.text[:1000]
    except httpx2.ResponseNotRead:  # a long body of an error is not read
        return ""


def _http_client(key: str | None) -> httpx2.AsyncClient:
    async def authorize(request: httpx2.Request) -> None:
        request.headers["accept-encoding"] = "identity"
        request.headers.pop("authorization", None)
        if key:
            request.headers["authorization"] = f"Bearer {key}"

    return httpx2.AsyncClient(
        transport=_Bounded(httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=None))),
        event_hooks={"request": [authorize]},
        follow_redirects=False,
        timeout=None,
    )


class _TooLong(httpx2.HTTPError):
    """A body beyond what is read, or one that could grow without bound."""


class _Bounded(httpx2.AsyncBaseTransport):
    """A transport that stops reading a body at :data:`MAX_BODY` bytes."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See httpx2."""
        response = await self._inner.handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise _TooLong("the response is compressed, which was not asked for")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _BoundedStream(response.stream)
        return response

    async def aclose(self) -> None:
        """See httpx2."""
        await self._inner.aclose()


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._inner:
            size += len(part)
            if size > MAX_BODY:
                raise _TooLong(f"the response is longer than {MAX_BODY} bytes")
            yield part

    async def aclose(self) -> None:
        await self._inner.aclose()
