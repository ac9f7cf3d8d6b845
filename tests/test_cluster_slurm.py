"""The recipe for Slurm on a real one: two nodes on this machine, with GPUs that are only numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.clusters import CLUSTERS, MODEL, SAMPLE, Place, free_port, is_open, wait_for
from tests.slurm_cluster import SlurmCluster


@pytest.fixture
def slurm(slurm_cluster: SlurmCluster) -> dict[str, str]:
    """The environment in which Slurm's commands find it."""
    return slurm_cluster.environment


class SlurmJob:
    """The script, submitted."""

    def __init__(self, slurm: dict[str, str], place: Place, *options: str, **settings: str) -> None:
        command = 'echo "$TENSOR_PARALLEL GPUs"; ' + place.server_command("127.0.0.${SLURMD_NODENAME#n}", *options)
        # the key is the one of the job, which the test does not know
        command = command.replace("--port", '--api-key "$VLLM_API_KEY" --port')
        given = {
            "MODEL": MODEL,
            "SAMPLE": str(SAMPLE),
            "WORK": str(place.work),
            "SERVER_COMMAND": command,
            "BUILDER": str(Path(sys.executable).with_name("biomed-builder")),
        }
        self.environment = slurm | given | settings
        self.log = place.folder / f"job-{time.monotonic_ns()}.log"
        submit = ["sbatch", "--parsable", "--nodes=2", "--time=00:10:00", f"--output={self.log}"]
        self.id = self._run(*submit, str(CLUSTERS / "annotate_slurm.sh"), "--json").strip()

    def _run(self, *command: str) -> str:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    def facts(self) -> dict[str, str]:
        return dict(word.split("=", 1) for word in self._run("scontrol", "show", "job", self.id).split() if "=" in word)

    def tell(self, *command: str) -> None:
        self._run(*command, self.id)

    def wait(self, *states: str) -> dict[str, str]:
        ended = states or ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")
        wait_for(lambda: self.facts()["JobState"] in ended, 600)
        return self.facts()


@pytest.mark.slow
def test_a_slurm_job_labels_on_two_nodes_and_a_second_does_nothing(slurm: dict[str, str], place: Place) -> None:
    # a server that is given no time by a busy machine would else leave all to the other
    job = SlurmJob(slurm, place, "--latency", "1")
    facts = job.wait()
    assert (facts["JobState"], facts["ExitCode"]) == ("COMPLETED", "0:0"), job.log.read_text()
    place.check_annotations()
    assert set(place.asked()) == {"127.0.0.2", "127.0.0.3"}
    assert min(place.asked().values()) >= SAMPLE / 4
    for log in (place.work / "server-logs").iterdir():
        assert "4 GPUs" in log.read_text()
    assert place.processes() == []
    asked = place.total()
    again = SlurmJob(slurm, place)
    assert again.wait()["JobState"] == "COMPLETED", again.log.read_text()
    assert place.total() == asked


@pytest.mark.slow
def test_a_slurm_job_at_the_end_of_its_time_comes_back_and_goes_on(slurm: dict[str, str], place: Place) -> None:
    job = SlurmJob(slurm, place, "--latency", "1", "--slots", "1")
    wait_for(lambda: place.answers() >= 4)
    job.tell("scancel", "--batch", "--signal=TERM")
    facts = job.wait("PENDING")
    assert facts["Restarts"] == "1"
    assert "back into the queue" in job.log.read_text()
    assert place.processes() == []
    kept, asked = place.answers(), place.total()
    # Slurm waits two minutes before it starts a job again
    subprocess.run(["scontrol", "update", f"JobId={job.id}", "StartTime=now"], env=slurm, check=True)
    assert job.wait()["JobState"] == "COMPLETED", job.log.read_text()
    place.check_annotations()
    # a few more than are missing: both servers are looked at and tried out
    assert SAMPLE - kept <= place.total() - asked <= SAMPLE - kept + 10


@pytest.mark.slow
def test_a_slurm_job_that_is_cancelled_stays_away(slurm: dict[str, str], place: Place) -> None:
    job = SlurmJob(slurm, place, "--latency", "1", "--slots", "1")
    wait_for(lambda: place.answers() >= 4)
    job.tell("scancel")
    wait_for(lambda: not place.processes())
    assert job.wait()["JobState"] == "CANCELLED"
    assert "back into the queue" not in job.log.read_text()


@pytest.mark.slow
def test_a_server_of_a_slurm_job_that_dies_is_started_again(slurm: dict[str, str], place: Place) -> None:
    job = SlurmJob(slurm, place, "--latency", "1", "--slots", "1")
    wait_for(lambda: place.answers() >= 4)
    os.kill(place.processes()[0], signal.SIGKILL)
    assert job.wait()["JobState"] == "COMPLETED", job.log.read_text()
    place.check_annotations()
    assert "started again (2 more times)" in job.log.read_text()


@pytest.mark.slow
def test_a_slurm_job_does_not_take_the_server_of_another(slurm: dict[str, str], place: Place) -> None:
    port = str(free_port())
    other = subprocess.Popen(["bash", "-c", place.server_command("127.0.0.3")], env=os.environ | {"PORT": port})
    try:
        wait_for(lambda: is_open("127.0.0.3", int(port)))
        job = SlurmJob(slurm, place, PORT=port)
        assert job.wait()["JobState"] == "FAILED"
        assert f"another server answers at http://127.0.0.3:{port} already; give a free PORT" in job.log.read_text()
        assert place.processes() == [other.pid]
    finally:
        other.kill()
        other.wait(60)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"SERVER_COMMAND": "echo out of memory; exit 3"}, "ended before it was ready"),
        ({"SERVER_COMMAND": "sleep 100", "START_SECONDS": "5"}, "is not ready after 5 s"),
        ({"MODEL": "other/model"}, "other/model"),
        ({"WORK": "/nowhere"}, "no folder that ingest made"),
    ],
)
def test_a_slurm_job_that_cannot_go_fails_with_a_sentence(
    slurm: dict[str, str], place: Place, settings: dict[str, str], says: str
) -> None:
    job = SlurmJob(slurm, place, **settings)
    facts = job.wait()
    assert (facts["JobState"], facts["ExitCode"]) == ("FAILED", "1:0")
    assert says in job.log.read_text()
    assert place.processes() == []
