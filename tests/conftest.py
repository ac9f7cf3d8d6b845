"""A small build that several tests look at, and the means to run the command line as a user does."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.corpus import write_corpus
from tests.hub_server import OWNER_TOKEN, HubServer
from tests.running import SHARED, Built, run_builder

if TYPE_CHECKING:
    from tests.clusters import Place

# A busy machine makes no test wrong; pytest's own timeout bounds them all. The same code gives the same result, so a run
# tries the same examples each time; `make fuzz` looks for new ones.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("fuzz", deadline=None, max_examples=500, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

#: A machine has room for one of each, so the files that start one are never run at the same time.
ALONE = ("slurm", "ray")


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Where tests run two at a time: those of a file stay together, since they share what they make.

    xdist's own ``--dist loadgroup`` writes the group to ``item._nodeid``, which pytest 9.2 no longer reads.
    """

    def _split_scope(self, nodeid: str) -> str:
        stem = Path(nodeid.split("::", 1)[0]).stem
        return next((name for name in ALONE if f"_{name}" in stem), stem)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Time bounds are there to tell what hangs from what ends; slow tests take minutes already where nothing else runs."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("needs the folder shared/ beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def built(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("build")
    paths = {"source": corpus, "work": folder / "work", "output": folder / "biomed-enriched"}
    done = Built(**paths, report={}).build_again()
    assert done.returncode == 0, done.stderr
    return Built(**paths, report=json.loads(done.stdout))


@pytest.fixture(autouse=True)
def _offline_and_fresh_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """datasets keeps loaded tables under HF_HOME; a test that reads another's would prove nothing."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "hf" / "datasets"), raising=False)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture
def dataset(built: Built, tmp_path: Path) -> Path:
    """A copy of the built dataset that a test may change."""
    return Path(shutil.copytree(built.output, tmp_path / "dataset"))


@pytest.fixture
def source(built: Built, tmp_path: Path) -> Path:
    """A copy of its articles that a test may change."""
    return Path(shutil.copytree(built.source, tmp_path / "source"))


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    """A release of one row, and its article."""
    from tests.populating import BODY, jats, release, write_articles

    return release(tmp_path / "release", [("111", "p[0]")]), write_articles(tmp_path / "xml", a=jats(111, BODY))


@pytest.fixture(scope="module")
def ingested(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("ingested")
    done = run_builder("ingest", "--source", corpus, "--work", work)
    assert done.returncode == 0, done.stderr
    return work / "paragraphs"


@pytest.fixture
def place(ingested: Path, tmp_path: Path) -> Iterator[Place]:
    """Where a recipe of ``pipelines/clusters/`` runs; what it left running is killed."""
    from tests.clusters import Place

    shutil.copytree(ingested, tmp_path / "work" / "paragraphs")
    found = Place(tmp_path)
    yield found
    for process in found.processes():
        os.kill(process, signal.SIGKILL)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub on 127.0.0.1, of which the client is the owner; nobody waits between attempts."""
    with HubServer() as running:
        running.use(monkeypatch, tmp_path / "home", OWNER_TOKEN)
        monkeypatch.setattr("builder.hub.time.sleep", lambda seconds: None)
        yield running


# where the fixtures of real clusters and of what is made on them are
from tests.executing import made_here, two_hundred  # noqa: E402, F401
from tests.ray_cluster import ray_address, ray_cluster  # noqa: E402, F401
from tests.slurm_cluster import munge, slurm_cluster  # noqa: E402, F401
