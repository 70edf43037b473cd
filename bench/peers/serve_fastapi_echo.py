"""FastAPI alone: a pydantic route that reads nothing and computes nothing."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel

from bench.peers.serving import Serve, run_app


class Asked(BaseModel):
    """The request."""

    card: str
    shop: str


def main() -> None:
    """Serve until SIGTERM."""
    task, app = Serve.from_arguments(), FastAPI()

    @app.post("/echo")
    async def echo(asked: Asked) -> Asked:
        return asked

    run_app(app, task.port)


if __name__ == "__main__":
    main()
