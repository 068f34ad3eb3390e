"""A real peer of an IPFS Cluster over a Kubo: loopback only, no discovery, stopped by its process id."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .daemon import Daemon
from .kubo import DAEMONS, Kubo, url_of_address

_READY = "IPFS Cluster is READY"


class ClusterPeer:
    """A context manager. Peers of one cluster share a `secret`; later ones are given an earlier one to `join`."""

    def __init__(
        self,
        folder: Path,
        kubo: Kubo,
        secret: str,
        *,
        join: ClusterPeer | None = None,
        replicas: tuple[int, int] = (-1, -1),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self._tags = dict(tags or {})
        self.folder, self._kubo, self._secret, self._join, self._replicas = folder, kubo, secret, join, replicas
        self._daemon: Daemon | None = None
        self.url = self.address = ""

    def __enter__(self) -> ClusterPeer:
        if not self.folder.exists():
            self._run("init", "--consensus", "crdt", "--randomports")
            self._configure()
        settings = self._settings()
        self.url = url_of_address(settings["api"]["restapi"]["http_listen_multiaddress"])
        identity = json.loads((self.folder / "identity.json").read_text())["id"]
        self.address = f"{settings['cluster']['listen_multiaddress'][0]}/p2p/{identity}"
        joining = ["--bootstrap", self._join.address] if self._join else []
        command = [DAEMONS / "ipfs-cluster-service", "daemon", *joining]
        self._daemon = Daemon(command, self._environment(), _READY).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._daemon is not None:
            self._daemon.stop()

    def _configure(self) -> None:
        found = self._settings()
        kubo = urlsplit(self._kubo.api)
        cluster = found["cluster"]
        cluster["secret"] = self._secret
        port = cluster["listen_multiaddress"][0].rpartition("/")[2]
        cluster["listen_multiaddress"] = [f"/ip4/127.0.0.1/tcp/{port}"]
        cluster["mdns_interval"] = "0s"
        cluster["enable_relay_hop"] = False
        cluster["monitor_ping_interval"] = "2s"
        cluster["replication_factor_min"], cluster["replication_factor_max"] = self._replicas
        found["api"].pop("ipfsproxy")
        found["api"].pop("pinsvcapi")
        found["ipfs_connector"]["ipfshttp"]["node_multiaddress"] = f"/ip4/{kubo.hostname}/tcp/{kubo.port}"
        found["ipfs_connector"]["ipfshttp"]["pin_timeout"] = "5s"
        if self._tags:
            found["informer"]["tags"] = {"metric_ttl": "2s", "tags": {"group": "default", **self._tags}}
        found["monitor"]["pubsubmon"]["check_interval"] = "2s"
        (self.folder / "service.json").write_text(json.dumps(found))

    def _settings(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "service.json").read_text())
        return found

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            [DAEMONS / "ipfs-cluster-service", *arguments],
            env=self._environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("IPFS_", "CLUSTER_"))}
        return {**kept, "IPFS_CLUSTER_PATH": str(self.folder)}
