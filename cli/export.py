"""`tidemill models export`: a release as ONNX, checked equal before it is written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated

import typer

from cli.command import AsJson, ProjectFile, check_out, errors_as_exit_codes, prepare


def export(
    file: ProjectFile,
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="Its name, such as r0001.")],
    onnx: Annotated[Path, typer.Option("--onnx", metavar="FILE", help="Where the graph goes.")],
    as_json: AsJson = False,
) -> None:
    """Write a release as ONNX, once it answered as the release does (needs the extra `onnx`).

    It is asked for vectors that lie on its own thresholds and categories, missing values included.
    """
    with errors_as_exit_codes():
        check_out("--onnx", onnx)
        project, settings = prepare(file)
        from batch.onnx_export import check_onnx, to_onnx
        from cli.wiring import registry_of
        from learners.release import read_model, read_model_file
        from tidemill.durable import write_whole

        registry = registry_of(settings, project.name)
        model = read_model_file(registry, registry.manifest(registry.check_name(release)))
        data = to_onnx(model, project)
        from batch.onnx_graphs.probes import probes

        vectors = probes(read_model(model, project))
        distance = check_onnx(data, model, project, vectors)
        write_whole(onnx, data)
        found = {
            "release": release, "file": str(onnx), "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(), "checked_rows": len(vectors),
            "largest_difference": distance,
        }  # fmt: skip
        words = (
            f"{onnx}: {len(data)} bytes, within {distance:.2g} of release {release} "
            f"on {len(vectors)} rows"
        )
        typer.echo(json.dumps(found) if as_json else words)
