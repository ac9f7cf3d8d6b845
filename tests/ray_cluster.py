"""A real Ray: two nodes on this machine, with GPUs that are only numbers."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from tests.running import ROOT

_CLUSTER = """
    import sys
    from ray.cluster_utils import Cluster

    node = dict(num_cpus=2, num_gpus=2, memory=2**30, object_store_memory=100 * 2**20)
    head = dict(include_dashboard=False, node_ip_address="127.0.0.2")
    cluster = Cluster(initialize_head=True, head_node_args=node | head)
    second = None
    print("ready", cluster.address, flush=True)
    for line in sys.stdin:
        if line == "add\\n":
            second = cluster.add_node(**node, node_ip_address="127.0.0.3")
            cluster.wait_for_nodes(timeout=300)
        elif line == "lose\\n":
            cluster.remove_node(second, allow_graceful=False)
        print("ready", flush=True)
    cluster.shutdown()
"""


class RayCluster:
    """In a process of its own: what Ray leaves behind there does not matter to other tests."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_CLUSTER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)},
        )
        self.address = self._answer()[0]
        self.add_node()

    def _answer(self) -> list[str]:
        assert self._process.stdout is not None
        line = next((line for line in self._process.stdout if line.startswith("ready")), "")
        assert line, "the cluster has ended"
        return line.split()[1:]

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        self._answer()

    def add_node(self) -> None:
        self._tell("add")

    def lose_node(self) -> None:
        """Kill the second node with all that runs on it."""
        self._tell("lose")

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(300)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[RayCluster]:
    """A Ray of two nodes with two cores, two GPUs and 1 GB each."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'biomed-enriched-builder[ray]'")
    cluster = RayCluster()
    yield cluster
    cluster.stop()


@pytest.fixture
def ray_address(ray_cluster: RayCluster) -> str:
    """Where it is."""
    return ray_cluster.address
