"""The recipes of ``pipelines/clusters/`` run, with the protocol server in the place of vLLM: HF Jobs, Slurm, Ray.

What Slurm and Ray are asked here is real: a Slurm of two nodes and a Ray of two nodes on this machine, with GPUs that are
only numbers. HF Jobs is asked with ``--dry-run``, and what the job would run is run.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pytest

from tests.conftest import ROOT, run_builder

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


@pytest.fixture(scope="module")
def ingested(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("ingested")
    done = run_builder("ingest", "--source", corpus, "--work", work)
    assert done.returncode == 0, done.stderr
    return work / "paragraphs"


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


@pytest.fixture
def place(ingested: Path, tmp_path: Path) -> Iterator[Place]:
    shutil.copytree(ingested, tmp_path / "work" / "paragraphs")
    found = Place(tmp_path)
    yield found
    for process in found.processes():
        os.kill(process, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(condition: Callable[[], Any], seconds: float = 90) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)
    return found


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
    assert said["volumes"] == "hf://buckets/my-org/biomed:/work:rw"
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
        output, _ = self.process.communicate(timeout=120)
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
    first = Container(place, "--latency", "0.5", "--slots", "2")
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
    container = Container(place, "--latency", "0.5", "--slots", "2", SAVE_SECONDS="1000")
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


# Slurm

_SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MailProg=/bin/true
MinJobAge=600
KillWait=5
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.2 Port={ports[1]} CPUs=1 RealMemory=1000 Gres=gpu:4 State=UNKNOWN
NodeName=n3 NodeHostname={host} NodeAddr=127.0.0.3 Port={ports[2]} CPUs=1 RealMemory=1000 Gres=gpu:4 State=UNKNOWN
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def answers_with_munge() -> bool:
    return subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a Slurm of two nodes with four GPUs each, all on this machine."""
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "munged", "munge") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and the Debian packages slurm-wlm and munge ({', '.join(missing) or 'not root'})")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool-n2", "spool-n3"):
        (folder / name).mkdir()
    for number in range(4):
        (folder / f"gpu{number}").touch()
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-3]\n")
    host = socket.gethostname().split(".")[0]
    ports = [free_port() for _ in range(3)]
    (folder / "slurm.conf").write_text(_SLURM_CONF.format(host=host, folder=folder, ports=ports))
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    munged = None
    if not answers_with_munge():
        for name in ("/run/munge", "/var/log/munge", "/var/lib/munge"):
            Path(name).mkdir(parents=True, exist_ok=True)
            shutil.chown(name, "munge", "munge")
        munged = subprocess.Popen(["su", "-s", "/bin/sh", "munge", "-c", "exec munged --foreground"])
        wait_for(answers_with_munge)
    daemons = []
    try:
        for command in (["slurmctld", "-D", "-c"], ["slurmd", "-D", "-N", "n2"], ["slurmd", "-D", "-N", "n3"]):
            log = (folder / f"{command[-1]}.out").open("wb")
            daemons.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        idle = ["sinfo", "--noheader", "--format=%T %D"]
        wait_for(
            lambda: subprocess.run(idle, env=environment, capture_output=True, text=True).stdout.split() == ["idle", "2"]
        )
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(60)
        if munged:
            munged.terminate()
            munged.wait(60)


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
        wait_for(lambda: self.facts()["JobState"] in ended, 150)
        return self.facts()


@pytest.mark.slow
def test_a_slurm_job_labels_on_two_nodes_and_a_second_does_nothing(slurm: dict[str, str], place: Place) -> None:
    job = SlurmJob(slurm, place)
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


# Ray

_RAY_CLUSTER = """
    import sys
    from ray.cluster_utils import Cluster

    node = dict(num_cpus=2, num_gpus=2, memory=2**30, object_store_memory=100 * 2**20)
    head = dict(include_dashboard=False, node_ip_address="127.0.0.2")
    cluster = Cluster(initialize_head=True, head_node_args=node | head)
    cluster.add_node(**node, node_ip_address="127.0.0.3")
    cluster.wait_for_nodes()
    print("ready", cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()
"""


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """A Ray of two nodes with two GPUs each, all on this machine."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'biomed-enriched-builder[ray]'")
    # in a process of its own: what Ray leaves behind there does not matter to other tests
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_RAY_CLUSTER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    line = next((line for line in process.stdout if line.startswith("ready ")), "")
    assert line, "the cluster did not start"
    yield line.split()[1]
    process.stdin.close()
    process.wait(60)


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
    output, _ = process.communicate(timeout=180)
    return process.returncode, output


@pytest.mark.slow
def test_ray_labels_on_two_nodes_and_a_second_run_does_nothing(ray_address: str, place: Place) -> None:
    code, output = end_of(start_on_ray(ray_address, place))
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
