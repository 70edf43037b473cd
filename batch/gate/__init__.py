"""The gate: a candidate against the champion on the newest matured data, before publishing."""
