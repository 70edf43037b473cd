"""A real cluster of three Valkey nodes on loopback."""

from __future__ import annotations

import dataclasses
import time
from contextlib import ExitStack
from pathlib import Path

import redis

from cli.services.ports import LOOPBACK, free_port
from cli.services.process import Launch
from cli.services.valkey import EmbeddedValkey

SLOTS, NODES, PATIENCE_SECONDS = 16_384, 3, 30.0


class ClusterNode(EmbeddedValkey):
    """One node; it takes its slots from `ValkeyCluster`."""

    def __init__(self, data_directory: Path) -> None:
        super().__init__(data_directory)
        self.bus_port = free_port()

    def restart_on(self, port: int) -> None:
        """Start again where the others expect it."""
        self._requested_port = port
        self.start()

    def _launch(self, port: int) -> Launch:
        launch = super()._launch(port)
        extra = ("--cluster-enabled", "yes", "--cluster-port", str(self.bus_port))
        timeout = ("--cluster-node-timeout", "2000")
        return dataclasses.replace(launch, arguments=(*launch.arguments, *extra, *timeout))


class ValkeyCluster:
    """Three nodes that share the slots evenly; a context manager."""

    def __init__(self, directory: Path) -> None:
        self.nodes = [ClusterNode(directory / f"node{number}") for number in range(NODES)]
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        """The first node's."""
        return self.nodes[0].url

    def __enter__(self) -> ValkeyCluster:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            self._join()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _join(self) -> None:
        bounds = [SLOTS * number // NODES for number in range(NODES + 1)]
        clients = [redis.Redis(port=node.port) for node in self.nodes]
        for number, (node, client) in enumerate(zip(self.nodes, clients, strict=True)):
            first, last = bounds[number], bounds[number + 1] - 1
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            clients[0].execute_command("CLUSTER MEET", LOOPBACK, node.port, node.bus_port)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not all(self._is_whole(client) for client in clients):
            assert time.monotonic() < deadline, "the nodes did not find each other"
            time.sleep(0.05)
        for client in clients:
            client.close()

    @staticmethod
    def _is_whole(client: redis.Redis) -> bool:
        found = client.execute_command("CLUSTER INFO")
        found = found if isinstance(found, dict) else {}
        return found.get("cluster_state") == "ok" and int(found["cluster_known_nodes"]) == NODES
