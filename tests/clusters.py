"""What the tests of ``pipelines/clusters/`` share: a working folder with the protocol server in the place of vLLM."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import socket
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset

from tests.running import ROOT

CLUSTERS = ROOT / "pipelines" / "clusters"
SCRIPTS = sorted(CLUSTERS.glob("*.sh"))
SAMPLE = 40
MODEL = "test/model"
TOKEN = "hf_sesamesesamesesamesesame"
#: The protocol server listens on 127.0.0.1 only; each node of the clusters here is another address of this machine.
SERVE = """
    import os, runpy, socket

    class Socket(socket.socket):
        def bind(self, address):
            super().bind((os.environ["HOST"], address[1]))

    socket.socket = Socket
    runpy.run_module("tests.llm_server", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Place:
    """A working folder, the line that starts a server for it, and what the servers were asked."""

    folder: Path

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def server_command(self, host: str, *options: str) -> str:
        script = self.folder / "serve.py"
        script.write_text(textwrap.dedent(SERVE))
        (self.folder / "asked").mkdir(exist_ok=True)
        words = [sys.executable, str(script), "--dialect", "vllm", "--model", MODEL, *options]
        log = f"--log {shlex.quote(str(self.folder))}/asked/$HOST-$PORT-$$.jsonl"
        return f"export HOST={host} PYTHONPATH={shlex.quote(str(ROOT))}; exec {shlex.join(words)} --port $PORT {log}"

    def asked(self) -> dict[str, int]:
        """Requests by server."""
        logs = sorted((self.folder / "asked").glob("*.jsonl"))
        return {path.name.split("-")[0]: len(path.read_text().splitlines()) for path in logs}

    def total(self) -> int:
        return sum(len(path.read_text().splitlines()) for path in (self.folder / "asked").glob("*.jsonl"))

    def answers(self, work: Path | None = None) -> int:
        """How many are kept in a working folder."""
        journals = (work or self.work) / "annotations" / "_build" / "answers"
        return sum(path.read_text().count("\n") for path in journals.glob("*.jsonl"))

    def processes(self) -> list[int]:
        """Servers of this place that still run."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:  # ended meanwhile
                continue
            if os.fsencode(self.folder / "serve.py") in words:
                found.append(int(path.parent.name))
        return found

    def check_annotations(self, folder: Path | None = None) -> None:
        folder = folder or self.work / "annotations"
        rows = pyarrow.dataset.dataset(folder, exclude_invalid_files=True).to_table().to_pylist()
        assert len(rows) == SAMPLE
        assert {row["annotator"] for row in rows} == {MODEL}
        assert json.loads((folder / "_build" / "manifest.json").read_text())["rows"] == SAMPLE


_given: set[int] = set()


def free_port() -> int:
    """None that this gave before, and below those that the system gives by itself, to whoever asks meanwhile."""
    while True:
        port = 10_000 + secrets.randbelow(10_000)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("", port))
            if port not in _given:
                _given.add(port)
                return port


def is_open(host: str, port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex((host, port)) == 0


def wait_for(condition: Callable[[], Any], seconds: float = 300) -> Any:
    """The bound tells what hangs from what ends; a busy machine takes its time."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)
    return found
