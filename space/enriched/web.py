"""What stands before the page on the way in: no request may be large, and the page may load nothing from elsewhere."""

from __future__ import annotations

from typing import Any, Final

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from enriched.limits import REQUEST_BYTES, UPLOAD_BYTES

#: Gradio's templates are compiled in the browser, which is why `eval` is there; the Hub shows a Space in a frame.
_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; frame-ancestors 'self' https://huggingface.co https://*.hf.space"
)
_UPLOADS: Final = "/upload"
#: What surrounds a file in a request.
_WRAPPING: Final = 100_000


class Guard:
    """Refuses large requests with a sentence, and says to the browser where things may come from."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = UPLOAD_BYTES + _WRAPPING if scope["path"].endswith(_UPLOADS) else REQUEST_BYTES
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            await _refuse(send, most)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            # a request that does not say its length is cut as one whose sender went away
            return message if seen <= most else {"type": "http.disconnect"}

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(b"content-security-policy", _POLICY.encode()), (b"x-content-type-options", b"nosniff")]
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        await self._app(scope, counted, marked)


async def _refuse(send: Send, most: int) -> None:
    body = f'{{"detail": "This page takes at most {most} bytes in one request."}}'.encode()
    headers: list[Any] = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def middleware() -> list[Middleware]:
    """For FastAPI."""
    return [Middleware(Guard)]
