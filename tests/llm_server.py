"""A server that speaks the wire formats of servers of language models, and misbehaves on demand.

    python -m tests.llm_server --dialect vllm --latency 0.1 --slots 8 --faults '{"429": 0.05}' --log requests.jsonl

It runs as a process of its own, so that it can be killed, and is cheap enough to serve a benchmark on a shared core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.llm_dialects import DIALECTS

ROOT = Path(__file__).parents[1]


class LlmServer:
    """The server as a process; options are those of the command line, ``max_input=900`` for ``--max-input 900``.

    It ends with this process, even if that is killed.
    """

    def __init__(self, dialect: str = "openai", *, log: Path | None = None, **options: Any) -> None:
        self.options = {"dialect": dialect, "port": 0, **options}
        self.port = 0
        self._folder = tempfile.TemporaryDirectory() if log is None else None
        self.log_path = log or Path(self._folder.name if self._folder else "") / "requests.jsonl"
        self._process: subprocess.Popen[str] | None = None
        # bound and never listening, so that nobody is given the port while the server is away
        self._port_keeper: socket.socket | None = None

    @property
    def url(self) -> str:
        """The address without ``/v1``."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> LlmServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
        if self._port_keeper:
            self._port_keeper.close()
        if self._folder:
            self._folder.cleanup()

    def start(self) -> None:
        """Start the process and wait until it listens."""
        if self._port_keeper is None and not self.options["port"]:
            self._port_keeper = _bound(0)
            self.port = int(self._port_keeper.getsockname()[1])
        command = [sys.executable, "-m", "tests.llm_server", "--with-parent", "--log", str(self.log_path)]
        for name, value in (self.options | {"port": self.port or self.options["port"]}).items():
            if value is None or value is False:
                continue
            command.append(f"--{name.replace('_', '-')}")
            if value is not True:
                command.append(json.dumps(value) if isinstance(value, dict) else str(value))
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("listening on "):
            raise RuntimeError(f"the server did not start: {' '.join(command)}")
        self.port = int(line.rsplit(":", 1)[1])

    def kill(self) -> None:
        """SIGKILL, as a machine that goes away."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
            self._process = None

    def restart(self, **changes: Any) -> None:
        """Kill it if it runs and start it again on the same port, with changed options."""
        self.kill()
        self.options |= changes
        self.start()

    def stats(self) -> dict[str, Any]:
        """What the process has counted since it started."""
        with urllib.request.urlopen(f"{self.url}/_stats", timeout=120) as answer:
            return dict(json.load(answer))

    def log(self) -> list[dict[str, Any]]:
        """One entry for each request, of all starts."""
        if not self.log_path.exists():
            return []
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]


def _bound(port: int) -> socket.socket:
    """Others may be bound to the port with this option too, as long as only one listens."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", port))
    return found


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.llm_server", description=__doc__)
    add = parser.add_argument
    add("--dialect", choices=DIALECTS, default="openai")
    add("--port", type=int, default=0, help="0 for any free one")
    add("--model", default="test-model")
    add("--revision", default="0123456789abcdef0123456789abcdef01234567", help="TGI's model_sha")
    add("--api-key", default="", help="401 for requests without it")
    add("--strict-model", action="store_true", help="404 for other model names")
    add("--max-input", type=int, default=0, help="longest prompt in tokens of four characters; 0 for any")
    add("--constraint", choices=("obey", "json", "none"), default="obey", help="json: any JSON; none: prose")
    add("--spaces", action="store_true", help="white space in the JSON, as llama.cpp's grammars have it")
    add("--logprobs", action="store_true", help="give log probabilities to those who ask")
    add("--tokens", choices=("words", "chars", "merged"), default="words", help="how answers are split into tokens")
    add("--latency", type=float, default=0.0, help="seconds of work a request, +-20 %%")
    add("--slots", type=int, default=0, help="requests worked on at the same time; 0 for any number")
    add("--queue", type=int, default=None, help="429 when more than so many wait for a slot")
    add("--faults", type=json.loads, default={}, help="JSON: share of requests by fault")
    add("--poison", type=json.loads, default={}, help="JSON: share of paragraphs that always get a fault")
    add("--fault-asks", type=int, default=None, help="faults only the first so many times that a paragraph is asked")
    add("--seed", type=int, default=0)
    add("--stall", type=float, default=30.0, help="seconds after which a stalled request is hung up on")
    add("--retry-after", type=float, default=1.0)
    add("--canaries", type=Path, default=None, help="paragraphs with planted orders that the model knows the labels of")
    add("--obeys", type=float, default=0.0, help="share of the canaries' orders that it obeys")
    add("--log", default="", help="file of one JSON line a request")
    add("--with-parent", action="store_true", help="end when standard input ends")
    return parser


async def serve(options: argparse.Namespace) -> None:
    # here, so that tests that only start the process do not pay for the import
    from aiohttp import web

    from tests.llm_service import Server

    server = Server(options)
    # no routes and no access log: half of the time of a request would go there
    runner = web.ServerRunner(web.Server(server.handle, handler_cancellation=True, access_log=None))
    await runner.setup()
    listening = _bound(options.port)
    await web.SockSite(runner, listening, backlog=1024).start()
    print(f"listening on 127.0.0.1:{listening.getsockname()[1]}", flush=True)
    ended = asyncio.Event()
    if options.with_parent:
        asyncio.get_running_loop().add_reader(0, ended.set)
    await ended.wait()
    await runner.cleanup()


if __name__ == "__main__":
    try:
        asyncio.run(serve(arguments().parse_args()))
    except (KeyboardInterrupt, ValueError) as failure:
        sys.exit(str(failure))
