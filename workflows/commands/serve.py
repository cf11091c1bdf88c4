"""``offsite model serve``: a model behind a web address."""

from pathlib import Path
from typing import Annotated

import typer

from offsite.workflows.commands.options import (
    Keys,
    RequireSignature,
    TrackingUri,
    refusing,
    trusted_keys,
)


def serve(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Folder of a package, or models:/name@alias.")
    ],
    images: Annotated[
        Path,
        typer.Option("--images", help="The only folder that images are read from."),
    ],
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 = all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 5000,
    max_mib: Annotated[
        float, typer.Option(min=0.001, max=1024, help="Largest request (MiB).")
    ] = 1.0,
    tracking_uri: TrackingUri = None,
    require_signature: RequireSignature = False,
    key: Keys = None,
) -> None:
    """Answer requests for images of one folder, until interrupted.

    Takes a package or a registered model, which is compared with the digest of its registration;
    gives the answers of `offsite predict` to requests in MLflow's form (docs/predict.md). Exit
    code 4: the model is refused. Nothing asks who calls: put it behind what does.

    Example: offsite model serve models:/grader@champion --images /data/incoming
    """
    from offsite.workflows.console.messages import say
    from offsite.workflows.predict.running import opened_model
    from offsite.workflows.server.application import run_server
    from offsite.workflows.serving import served_types

    with (
        refusing(),
        opened_model(model, tracking_uri, trusted_keys(require_signature, key)) as package,
    ):
        say(f"http://{host}:{port}/invocations answers for images in {images}")
        run_server(
            package,
            images,
            served_types(package.record.classes),
            host=host,
            port=port,
            most_bytes=int(max_mib * 2**20),
        )
