"""The page of ``space/`` as a process of its own, and what of it tests in this process look at."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enriched.catalog import Catalog, read_catalog
from enriched.engine import Engine
from enriched.places import Folder
from enriched.sources import Dataset

from builder.student.config import SHIPPED_STUDENT
from builder.student.encoder import encoder_folder

SPACE = Path(__file__).parents[1] / "space"
#: What a busy machine may take to start (seconds).
_PATIENCE = 280


def catalog_of(folder: Path) -> Catalog:
    return read_catalog(Folder(folder))


@contextmanager
def opened(folder: Path) -> Iterator[Dataset]:
    """The dataset of a folder, as the page has it."""
    catalog = catalog_of(folder)
    engine = Engine(catalog)
    try:
        yield Dataset(catalog, engine)
    finally:
        engine.close()


def here(dataset: Path | None) -> dict[str, str]:
    """The variables that `make space` sets."""
    return {
        "BIOMED_DATASET": "" if dataset is None else str(dataset),
        "BIOMED_STUDENT": str(SHIPPED_STUDENT),
        "BIOMED_ENCODER": str(encoder_folder()),
    }


@dataclass(frozen=True)
class Served:
    """A running page. ``seconds``: how long it took to answer first, and the processor's time that it used till then."""

    address: str
    process: int
    seconds: tuple[float, float]

    def processor_seconds(self) -> float:
        """What the page has used so far."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def config(self) -> dict[str, Any]:
        """What the page tells a browser about itself."""
        with urllib.request.urlopen(f"{self.address}config", timeout=_PATIENCE) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def classify(self, text: str) -> dict[str, Any]:
        """As a program without Gradio's client asks the endpoint."""
        path = f"{self.address}gradio_api/call/classify"
        with _post(path, {"data": [[text], ""]}) as answer:
            event = json.load(answer)["event_id"]
        with urllib.request.urlopen(f"{path}/{event}", timeout=_PATIENCE) as lines:
            said = [line.decode().strip() for line in lines]
        assert said[-3] == "event: complete", said
        found: dict[str, Any] = json.loads(said[-2].removeprefix("data: "))[0][0]
        return found


class Visitor:
    """Asks as the page in a browser does, with a session of its own."""

    def __init__(self, page: Served, config: Mapping[str, Any]) -> None:
        self._page, self._config, self._session = page, config, secrets.token_hex(6)

    def ask(self, event: str, *data: Any) -> list[Any]:
        """What an event of the page gives; states among the data are None, since the page keeps them itself."""
        number = next(one["id"] for one in self._config["dependencies"] if one["api_name"] == event)
        asked = {"data": data, "fn_index": number, "session_hash": self._session, "trigger_id": None, "event_data": None}
        with _post(f"{self._page.address}gradio_api/queue/join", asked) as answer:
            answer.read()
        path = f"{self._page.address}gradio_api/queue/data?session_hash={self._session}"
        with urllib.request.urlopen(path, timeout=_PATIENCE) as lines:
            for line in lines:
                said = json.loads(line.removeprefix(b"data: ")) if line.strip() else {}
                if said.get("msg") == "process_completed":
                    assert said["success"], said
                    found: list[Any] = said["output"]["data"]
                    return found
        raise AssertionError(f"no answer to {event}")


def _post(path: str, asked: Mapping[str, Any]) -> Any:
    request = urllib.request.Request(path, json.dumps(asked).encode(), {"Content-Type": "application/json"})
    return urllib.request.urlopen(request, timeout=_PATIENCE)


@contextmanager
def served(folder: Path, variables: Mapping[str, str]) -> Iterator[Served]:
    """Run the page in ``folder``."""
    log = folder / "page.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BIOMED_", "SPACE_"))}
    environment.pop("GRADIO_SERVER_PORT", None)
    environment |= {"PYTHONUNBUFFERED": "1", "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    begun = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, str(SPACE / "app.py")],
            cwd=folder,
            env=environment | {"HF_HUB_OFFLINE": "1"} | dict(variables),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            found = Served(_address(process, log), process.pid, (0.0, 0.0))
            yield replace(found, seconds=(time.monotonic() - begun, found.processor_seconds()))
        finally:
            process.terminate()
            process.wait(120)
    assert "Traceback" not in (said := log.read_text(errors="replace")), said


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if match := re.search(r"running on local URL:\s+(http://\S+)", log.read_text(errors="replace"), re.IGNORECASE):
            _wait_for(match[1], end)
            return match[1].rstrip("/") + "/"
        assert process.poll() is None, log.read_text(errors="replace")
        time.sleep(0.1)
    raise AssertionError(f"the page did not start: {log.read_text(errors='replace')}")


def _wait_for(address: str, end: float) -> None:
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(address, timeout=10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
