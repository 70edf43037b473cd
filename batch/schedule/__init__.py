"""The scheduler: a durable queue of jobs, started by cron, drift or hand within quotas."""
