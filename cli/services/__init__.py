"""Servers run as child processes: an embedded Valkey and broker, and a local Apache Kafka."""
