"""Where the key of a server comes from: the environment, or the hub's own login for the hub's own hosts."""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import urlsplit

from huggingface_hub import get_token

from builder.errors import ServerError

_HUB_HOSTS: Final = (".huggingface.co", ".endpoints.huggingface.cloud")


def find_key(variable: str, endpoint: str) -> str | None:
    """The key in an environment variable; else, for an https address of Hugging Face only, the token of its login.

    Raises:
        ServerError: what stands in the variable can be no key.
    """
    if key := os.environ.get(variable, "").strip():
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ServerError(f"the key in {variable} holds characters that no key has, such as white space")
        return key
    parts = urlsplit(endpoint)
    if parts.scheme == "https" and f".{parts.hostname}".endswith(_HUB_HOSTS):
        return get_token()
    return None
