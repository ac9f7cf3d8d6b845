"""The recipe for Ray on a real one: two nodes on this machine, with GPUs that are only numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.clusters import CLUSTERS, MODEL, SAMPLE, Place, wait_for
from tests.running import ROOT


def start_on_ray(address: str, place: Place, *options: str, command: str = "", model: str = MODEL) -> subprocess.Popen[str]:
    server = place.server_command("$HOST").replace("--port", '--api-key "$VLLM_API_KEY" --port')
    script = [
        sys.executable,
        CLUSTERS / "annotate_ray.py",
        "--ray-address",
        address,
        "--model",
        model,
        "--work",
        place.work,
    ]
    given = ["--gpus", "2", "--server-command", command or server]
    return subprocess.Popen(
        [*script, *given, *options, "--", "--sample", str(SAMPLE), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


@pytest.mark.slow
def test_ray_labels_on_two_nodes_and_a_second_run_does_nothing(ray_address: str, place: Place) -> None:
    # a server that is given no time by a busy machine would else leave all to the other
    both = place.server_command("$HOST", "--latency", "1").replace("--port", '--api-key "$VLLM_API_KEY" --port')
    code, output = end_of(start_on_ray(ray_address, place, command=both))
    assert code == 0, output
    place.check_annotations()
    assert set(place.asked()) == {"127.0.0.2", "127.0.0.3"}
    assert min(place.asked().values()) >= SAMPLE / 4
    assert place.processes() == []
    asked = place.total()
    code, output = end_of(start_on_ray(ray_address, place))
    assert code == 0, output
    assert place.total() == asked


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_servers_on_ray_end_with_the_driver_however_it_ends(ray_address: str, place: Place, number: int) -> None:
    slow = place.server_command("$HOST", "--latency", "1", "--slots", "1")
    process = start_on_ray(ray_address, place, command=slow)
    wait_for(lambda: place.answers() >= 4)
    assert len(place.processes()) == 2
    process.send_signal(number)
    code, output = end_of(process)
    assert code == (143 if number == signal.SIGTERM else -number), output
    wait_for(lambda: not place.processes())
    code, output = end_of(start_on_ray(ray_address, place))
    assert code == 0, output
    place.check_annotations()


@pytest.mark.slow
def test_a_server_on_ray_that_dies_is_started_again(ray_address: str, place: Place) -> None:
    process = start_on_ray(ray_address, place, command=place.server_command("$HOST", "--latency", "1", "--slots", "1"))
    wait_for(lambda: place.answers() >= 4)
    os.kill(place.processes()[0], signal.SIGKILL)
    code, output = end_of(process)
    assert code == 0, output
    assert "started again (2 more times)" in output
    place.check_annotations()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "given", "says"),
    [
        ([], {"command": "echo out of memory; exit 3"}, "ended before it was ready; the end of its log:\nout of memory"),
        (["--start-seconds", "8"], {"command": "sleep 100"}, "is not ready in time"),
        (["--resource", "TPU"], {}, "no node of the cluster has 2 TPU"),
        ([], {"model": "other/model"}, "other/model"),
    ],
)
def test_a_run_on_ray_that_cannot_go_fails_with_a_sentence(
    ray_address: str, place: Place, options: list[str], given: dict[str, str], says: str
) -> None:
    code, output = end_of(start_on_ray(ray_address, place, *options, **given))
    assert code == 1
    assert says in output
    assert place.processes() == []
