"""The scripts of ``pipelines/clusters/``, and HF Jobs: asked with ``--dry-run``; what the job would run is run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clusters import CLUSTERS, MODEL, SAMPLE, SCRIPTS, TOKEN, Place, free_port, wait_for

# those that run a job start servers and the builder, which a busy machine does slowly
pytestmark = pytest.mark.timeout(1800)

# Scripts


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    assert os.access(script, os.X_OK)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_scripts_pass_shellcheck(tmp_path: Path) -> None:
    inside = tmp_path / "inside.sh"
    inside.write_text(f"#!/usr/bin/env bash\n# shellcheck disable=SC2153,SC2317,SC2329\n{Job.made(tmp_path).inside}\n")
    done = subprocess.run(["shellcheck", *SCRIPTS, inside], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# HF Jobs


def send(hf: str | Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"BUCKET": "my-org/biomed", "HF": str(hf), "HF_TOKEN": TOKEN, "MODEL": MODEL} | settings
    command = [CLUSTERS / "annotate_hf_jobs.sh", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@dataclass(frozen=True)
class Job:
    """What the script calls ``hf`` with."""

    words: list[str]

    @classmethod
    def made(cls, folder: Path, *arguments: str, **settings: str) -> Job:
        fake = folder / "hf"
        fake.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
        fake.chmod(0o755)
        done = send(fake, *arguments, **settings)
        assert done.returncode == 0, done.stderr
        return cls(json.loads(done.stdout))

    @property
    def command(self) -> list[str]:
        return self.words[self.words.index("bash") :]

    @property
    def inside(self) -> str:
        return self.command[2]

    @property
    def environment(self) -> dict[str, str]:
        pairs = (self.words[i + 1] for i, word in enumerate(self.words) if word == "--env")
        return dict(pair.split("=", 1) for pair in pairs)


def test_hf_takes_the_job_and_sends_nothing(tmp_path: Path) -> None:
    hf = Path(sys.executable).with_name("hf")
    done = send(hf, "--price-hour", "10", DRY_RUN="1", BUDGET="5000", SERVER_OPTIONS="--max-model-len 8192", COLUMNS="200")
    assert done.returncode == 0, done.stderr
    # a name, then what it is; the command goes on over many lines
    lines = (line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("  ") and line[2:3].strip())
    said = {words[0]: words[1] for words in lines if len(words) == 2}
    assert said["image"].startswith("vllm/vllm-openai:v")
    assert said["flavor"] == "h200x2"
    assert said["timeout"] == "24h"
    assert said["attempts"] == "3"
    assert said["volumes"] == "hf://buckets/my-org/biomed:/bucket:rw"
    assert said["secrets"] == "HF_TOKEN=***"
    assert "name=biomed-annotate" in said["labels"]
    assert "(dry run)" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
    for line in ("BUDGET=5000", f"MODEL={MODEL}", "SERVER_OPTIONS=--max-model-len 8192", "annotate --price-hour 10"):
        assert line in done.stdout


def test_what_hf_is_sent_holds_no_token_and_the_words_as_given(tmp_path: Path) -> None:
    job = Job.made(tmp_path, "--price-hour", "a b", SERVER="tgi")
    assert TOKEN not in json.dumps(job.words)
    assert job.command[3:] == ["annotate", "--price-hour", "a b"]
    assert "--dry-run" not in job.words
    assert job.words[job.words.index("bash") - 1].startswith("ghcr.io/huggingface/text-generation-inference:")


@pytest.mark.parametrize(("settings", "says"), [({"BUCKET": ""}, "give the bucket"), ({"SERVER": "other"}, "vllm or tgi")])
def test_settings_of_hf_jobs_that_cannot_be_are_a_sentence(settings: dict[str, str], says: str) -> None:
    done = send("hf", **settings)
    assert done.returncode == 1
    assert says in done.stderr


class Container:
    """What the job would run, on this machine: its bucket is a folder, its disk another one."""

    def __init__(self, place: Place, *options: str, **settings: str) -> None:
        self.place, self.bucket = place, place.work
        self.disk = place.folder / f"disk-{time.monotonic_ns()}"
        given = {
            "MOUNT": str(self.bucket),
            "SERVER_COMMAND": place.server_command("127.0.0.1", *options),
            "SAMPLE": str(SAMPLE),
            "PORT": str(free_port()),
            "BUILDER": str(Path(sys.executable).with_name("biomed-builder")),
            "SAVE_SECONDS": "1",
        }
        self.job = Job.made(place.folder, **given | settings)
        environment = os.environ | self.job.environment | {"SCRATCH": str(self.disk)}
        self.process = subprocess.Popen(
            self.job.command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def end(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=600)
        return self.process.returncode, output


def test_the_job_labels_keeps_in_the_bucket_and_asks_for_nothing_twice(place: Place) -> None:
    code, output = Container(place).end()
    assert code == 0, output
    place.check_annotations()
    assert place.processes() == []
    asked = place.total()
    assert asked >= SAMPLE
    code, output = Container(place).end()  # a new machine: only the bucket is the same
    assert code == 0, output
    assert place.total() == asked
    place.check_annotations()


@pytest.mark.slow
def test_a_machine_that_dies_loses_a_minute_and_the_next_goes_on(place: Place) -> None:
    first = Container(place, "--latency", "1", "--slots", "2")
    wait_for(lambda: place.answers() >= 5)
    os.killpg(first.process.pid, signal.SIGKILL)
    first.end()
    for process in place.processes():
        os.kill(process, signal.SIGKILL)
    kept, asked = place.answers(), place.total()
    code, output = Container(place).end()
    assert code == 0, output
    place.check_annotations()
    # a few more than are missing: the server is looked at and tried out
    assert SAMPLE - kept <= place.total() - asked <= SAMPLE - kept + 5


@pytest.mark.slow
def test_a_job_that_is_told_to_stop_saves_what_there_is(place: Place) -> None:
    container = Container(place, "--latency", "2", "--slots", "2", SAVE_SECONDS="1000")
    wait_for(lambda: place.answers(container.disk / "work") >= 5)
    container.process.terminate()
    code, _ = container.end()
    assert code == 143
    assert place.processes() == []
    assert place.answers() == place.answers(container.disk / "work") >= 5


def test_a_server_that_does_not_start_ends_the_job_with_a_sentence(place: Place) -> None:
    code, output = Container(place, SERVER_COMMAND="echo out of memory; exit 3").end()
    assert code == 1
    assert "out of memory" in output
    assert "the server ended before it was ready" in output


def test_a_pipeline_that_fails_fails_the_job(place: Place) -> None:
    code, output = Container(place, MODEL="other/model").end()
    assert code == 1
    assert "other/model" in output
    assert place.processes() == []
