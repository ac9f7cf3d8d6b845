"""Labels of a language model, on Ray: a server on each GPU node of a cluster, the pipeline where this script runs.

    python pipelines/clusters/annotate_ray.py --model NAME --work WORK -- --sample 400000 --budget 900000000
    ray job submit --working-dir pipelines/clusters -- python annotate_ray.py --model NAME --work /w/work -- --sample 2000

What stands after the last ``--`` goes to ``biomed-builder annotate``. Every answer is kept in WORK: run the same command
again, and it goes on where it stopped. Only the machine that this script runs on reads and writes WORK.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

#: Runs a command and ends it, with all that it has started, when standard input ends: however this process dies, a server
#: does not stay behind on a GPU. First asked to end, then killed; a keeper that is asked to end waits for its command.
KEEPER = """
trap : TERM
exec 3<&0
"$@" 3<&- </dev/null &
child=$!
{ trap "" TERM; cat <&3; kill -TERM -- -$$; sleep 30; kill -KILL -- -$$; } >/dev/null 2>&1 &
wait "$child"; code=$?
while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done
exit "$code"
"""
_STOP_SECONDS = 40.0
_LOOK_SECONDS = 2.0


class Kept:
    """A command that ends with this process."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path | None = None) -> None:
        output = log.open("ab") if log else None
        self.process = subprocess.Popen(
            ["bash", "-c", KEEPER, "keeper", *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            env=os.environ | environment,
            start_new_session=True,
        )
        if output:
            output.close()

    def stop(self) -> None:
        """End it; it has time to do so itself."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Server:
    """A server on the node that this actor was placed on."""

    def __init__(self, command: list[str], environment: dict[str, str], host: str) -> None:
        self.command, self.environment, self.host = command, environment, host
        with socket.socket() as free:
            free.bind(("", 0))
            self.port = int(free.getsockname()[1])
        self.log = Path(tempfile.gettempdir()) / f"biomed-server-{os.getpid()}.log"
        self.kept: Kept | None = None

    def start(self) -> str:
        """Start it, or start it again at the same address, which is returned."""
        self.stop()
        here = self.environment | {"HOST": self.host, "PORT": str(self.port)}
        self.kept = Kept([part.replace("{port}", str(self.port)) for part in self.command], here, self.log)
        return f"http://{self.host}:{self.port}"

    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.kept is not None and self.kept.process.poll() is None

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_bytes()[-2000:].decode("utf-8", "replace") if self.log.exists() else ""

    def stop(self) -> None:
        """End it."""
        if self.kept is not None:
            self.kept.stop()
            self.kept = None


@dataclass(slots=True)
class Placed:
    """A server and where it is."""

    actor: Any
    node: str
    url: str = ""
    is_lost: bool = False


class Servers:
    """One server on each node that has the GPUs."""

    def __init__(self, ray: Any, options: argparse.Namespace, environment: dict[str, str]) -> None:
        self.ray, self.options = ray, options
        self.restarts: int = options.restarts
        command = server_command(options)
        self.placed = [self._place(node, command, environment) for node in self._nodes()]

    def _nodes(self) -> list[dict[str, Any]]:
        wanted, amount = self.options.resource, self.options.gpus
        nodes = [node for node in self.ray.nodes() if node["Alive"] and node["Resources"].get(wanted, 0) >= amount]
        if not nodes:
            sys.exit(f"annotate_ray: no node of the cluster has {amount} {wanted}; see `ray status`, --gpus and --resource")
        return sorted(nodes, key=lambda node: str(node["NodeID"]))[: self.options.nodes or None]

    def _place(self, node: dict[str, Any], command: list[str], environment: dict[str, str]) -> Placed:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        resource, amount = self.options.resource, self.options.gpus
        # by its own name Ray also tells the process which GPUs are its
        needs = {"num_gpus": amount} if resource == "GPU" else {"resources": {resource: amount}}
        where = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        actor = self.ray.remote(Server).options(num_cpus=0, scheduling_strategy=where, **needs)
        host = str(node["NodeManagerAddress"])
        return Placed(actor.remote(command, environment, host), host)

    def start(self) -> list[str]:
        """Start all and wait until they are ready; their addresses."""
        deadline = time.monotonic() + self.options.start_seconds
        try:
            urls = self.ray.get([each.actor.start.remote() for each in self.placed], timeout=self.options.start_seconds)
        except self.ray.exceptions.GetTimeoutError:
            sys.exit("annotate_ray: the cluster did not start all servers in time; are the GPUs taken? See `ray status`")
        for each, url in zip(self.placed, urls, strict=True):
            each.url = url
        for each in self.placed:
            while not is_healthy(each.url):
                if not self.ray.get(each.actor.is_running.remote()):
                    self._give_up(each, "ended before it was ready")
                if time.monotonic() > deadline:
                    self._give_up(each, "is not ready in time")
                time.sleep(_LOOK_SECONDS)
            say(f"{each.node} is ready at {each.url}")
        return list(urls)

    def _give_up(self, each: Placed, why: str) -> NoReturn:
        log = self.ray.get(each.actor.last_words.remote())
        sys.exit(f"annotate_ray: the server on {each.node} {why}; the end of its log:\n{log}")

    def look_after(self) -> None:
        """Start again those that ended; the pipeline waits for them (``--patience``)."""
        for each in self.placed:
            if each.is_lost:
                continue
            try:
                if self.restarts > 0 and not self.ray.get(each.actor.is_running.remote(), timeout=60):
                    self.restarts -= 1
                    say(f"the server on {each.node} ended; started again ({self.restarts} more times)")
                    self.ray.get(each.actor.start.remote(), timeout=60)
            except self.ray.exceptions.GetTimeoutError:
                pass  # a busy node is looked at again
            except self.ray.exceptions.RayError as error:
                each.is_lost = True
                say(f"the node {each.node} is gone ({type(error).__name__}); the others go on")

    def stop(self) -> None:
        """End all."""
        stopping = [each.actor.stop.remote() for each in self.placed if not each.is_lost]
        if stopping:
            self.ray.wait(stopping, num_returns=len(stopping), timeout=_STOP_SECONDS + 20)
        for each in self.placed:
            self.ray.kill(each.actor)


def say(text: str) -> None:
    """A line for who watches."""
    print(f"annotate_ray: {text}", flush=True)


def is_healthy(url: str) -> bool:
    """vLLM and TGI both answer there when the model is loaded. Not through a proxy: the address is in the cluster."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def server_command(options: argparse.Namespace) -> list[str]:
    """What an actor runs; ``{port}`` is filled in there."""
    if options.server_command:
        return ["bash", "-c", options.server_command]
    parallel = options.tensor_parallel or options.gpus
    command = ["vllm", "serve", options.model, "--host", "0.0.0.0", "--port", "{port}"]
    command += ["--tensor-parallel-size", str(parallel)]
    if options.gpus // parallel > 1:
        command += ["--data-parallel-size", str(options.gpus // parallel)]
    if options.revision:
        command += ["--revision", options.revision]
    return command + shlex.split(options.server_options)


def annotate_command(options: argparse.Namespace, urls: list[str]) -> list[str]:
    """The pipeline's command line."""
    command = [sys.executable, "-m", "pipelines.cli", "annotate", "--work", str(options.work), "--model", options.model]
    if options.revision:
        command += ["--revision", options.revision]
    for url in urls:
        command += ["--endpoint", url]
    return [*command, *options.annotate]


def arguments() -> argparse.ArgumentParser:
    """The options of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", required=True)
    add("--revision", default="", help="of the model: a commit, so that the labels can be made again")
    add("--work", type=Path, required=True, help="folder that holds paragraphs/, which ingest made")
    add("--gpus", type=int, default=1, help="of each node for its server")
    add("--tensor-parallel", type=int, default=0, help="GPUs that hold the model once; by default --gpus")
    add("--nodes", type=int, default=0, help="at most so many; 0 for all that have the GPUs")
    add("--server-options", default="", help="further options of vllm serve, in one string")
    add("--server-command", default="", help="another server: a line for bash, with HOST and PORT in its environment")
    add("--resource", default="GPU", help="what Ray counts --gpus in")
    add("--start-seconds", type=float, default=3600, help="for the servers to fetch and load the model")
    add("--restarts", type=int, default=3, help="of servers that end while the pipeline runs, all together")
    add("--ray-address", default="auto")
    add("annotate", nargs="*", help="after --: options of biomed-builder annotate, such as --sample 2000")
    return parser


def run(ray: Any, options: argparse.Namespace) -> int:
    """Servers, then the pipeline, then no servers any more, whatever happened; the pipeline's exit code."""
    # The servers listen on the network of the cluster, where others are: only those with the key may ask. It is in no
    # command line, where `ps` would show it.
    key = os.environ.get("BIOMED_API_KEY") or secrets.token_hex(16)
    servers = Servers(ray, options, {"VLLM_API_KEY": key})
    pipeline: Kept | None = None
    try:
        urls = servers.start()
        pipeline = Kept(annotate_command(options, urls), {"BIOMED_API_KEY": key})
        while (code := pipeline.process.poll()) is None:
            servers.look_after()
            time.sleep(_LOOK_SECONDS)
        return code
    finally:
        if pipeline:
            pipeline.stop()  # first, or it would see servers that go away
        servers.stop()


def main() -> None:
    """Connect to the cluster and run."""
    options = arguments().parse_args()
    try:
        import ray
    except ImportError:
        sys.exit("annotate_ray: needs Ray: pip install 'biomed-enriched-builder[ray]'")
    # its logs stay on the nodes: a server writes a line for each request
    ray.init(address=options.ray_address, log_to_driver=False)
    # `ray job stop` sends it; as an exception it reaches the end of run()
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        code = run(ray, options)
    finally:
        ray.shutdown()
    sys.exit(code)


if __name__ == "__main__":
    main()
