"""A real Kafka that speaks TLS: one listener wants the client's certificate, another a password."""

from __future__ import annotations

import subprocess
from pathlib import Path

from certificates import Authority, Pair

from cli.services.kafka import LocalKafka
from cli.services.ports import LOOPBACK, free_port

USER, PASSWORD = "tidemill", "kafka-secret-1f8a"
_PROPERTIES = """
listeners={old},MUTUAL://{host}:{mutual},SECRET://{host}:{secret}
advertised.listeners=PLAINTEXT://{host}:{port},MUTUAL://{host}:{mutual},SECRET://{host}:{secret}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,MUTUAL:SSL,SECRET:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location=tls/server.pem
ssl.truststore.type=PEM
ssl.truststore.location=tls/ca.pem
listener.name.mutual.ssl.client.auth=required
listener.name.secret.ssl.client.auth=none
listener.name.secret.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.secret.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.secret.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


class SecureKafka(LocalKafka):
    """`mutual` and `secret` are the addresses of the two listeners, `client` is its certificate."""

    def __init__(self, home: Path, data_directory: Path) -> None:
        super().__init__(home, data_directory)
        self.authority = Authority(self.data_directory / "tls")
        server: Pair = self.authority.sign("server")
        assert server.both.name == "server.pem"
        self.client = self.authority.sign("client")
        self._mutual, self._secret = free_port(), free_port()

    @property
    def mutual(self) -> str:
        """Where a client shows its certificate."""
        return f"{LOOPBACK}:{self._mutual}"

    @property
    def secret(self) -> str:
        """Where a client logs in, over TLS."""
        return f"{LOOPBACK}:{self._secret}"

    def add_scram_user(self) -> None:
        """Give the user a SCRAM password; PLAIN knows it from the properties."""
        config = f"SCRAM-SHA-512=[iterations=4096,password={PASSWORD}]"
        subprocess.run(
            [
                self.home / "bin" / "kafka-configs.sh", "--bootstrap-server", self.address,
                "--alter", "--add-config", config, "--entity-type", "users", "--entity-name", USER,
            ],
            check=True, capture_output=True, timeout=60, env=dict(self._environment),
        )  # fmt: skip

    def _write_properties(self, port: int, log: str) -> str:
        name = super()._write_properties(port, log)
        file = self.data_directory / name
        lines = file.read_text().splitlines()
        old = next(line for line in lines if line.startswith("listeners=")).partition("=")[2]
        replaced = ("listeners=", "advertised.listeners=", "listener.security.protocol.map=")
        kept = [line for line in lines if not line.startswith(replaced)]
        added = _PROPERTIES.format(
            old=old, host=LOOPBACK, port=port, mutual=self._mutual, secret=self._secret,
            user=USER, password=PASSWORD,
        )  # fmt: skip
        file.write_text("\n".join(kept) + added)
        return name
