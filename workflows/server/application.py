"""The web application that answers for a package: MLflow's, with bounds on what it takes in."""

import json
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from offsite.errors import InputError
from offsite.evaluation.tracking.staging import stage_model
from offsite.workflows.package.folder import Package
from offsite.workflows.server.identity import DIGEST
from offsite.workflows.server.image_root import IMAGES, ImageRoot

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

_TOO_LARGE = b'{"error": "the request is larger than this server takes"}'
_TOO_DEEP = b'{"error": "the request is nested more deeply than any table"}'


def run_server(
    package: Package,
    images: Path,
    outputs: Mapping[str, str],
    *,
    host: str,
    port: int,
    most_bytes: int,
) -> None:
    """Answer requests until interrupted.

    Parameters
    ----------
    package : Package
        Verified: compared with the registry where it comes from there.
    images : path
        The only folder that images are read from.
    outputs : mapping of str to str
        Columns of an answer and their MLflow types (`offsite.workflows.serving.served_types`).
    host, port : str, int
        Where it listens.
    most_bytes : int
        Largest request.
    """
    import uvicorn

    app = application(package, images, outputs, most_bytes)
    uvicorn.run(app, host=host, port=port, log_level="warning")


def application(
    package: Package, images: Path, outputs: Mapping[str, str], most_bytes: int
) -> Application:
    """Return the application (ASGI) for a package.

    Raises
    ------
    InputError
        There is no such folder of images, or MLflow is here without its server.
    """
    root = ImageRoot(images)
    try:
        import mlflow.pyfunc
        from mlflow.pyfunc import scoring_server
    except ImportError as error:
        raise InputError(
            f"MLflow's model server is not installed ({error.name})",
            remedy="pip install 'offsite[mlflow]'",
            code="no_model_server",
        ) from error
    os.environ[DIGEST] = package.digest
    os.environ[IMAGES] = str(root.folder)
    with TemporaryDirectory(prefix="offsite-serve-") as folder:
        staged = Path(folder) / "model"
        stage_model(package.path, staged, outputs=outputs)
        model = mlflow.pyfunc.load_model(str(staged))
        shutil.rmtree(staged)  # all of it is in memory
    return BodyLimit(scoring_server.init(model), most_bytes)


class BodyLimit:
    """An application that never sees a request of more than so many bytes.

    The body is read whole first, which its bound makes affordable; a larger one is answered with
    status 413 as soon as it is known to be larger, also where it does not say its length. One of
    endless brackets, which would exhaust whatever parses it, is answered with status 400.
    """

    def __init__(self, application: Application, most_bytes: int) -> None:
        self._application, self._most = application, most_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        body = await self._body(scope, receive)
        if body is None or _is_too_deep(body):
            await _refuse(send, *((413, _TOO_LARGE) if body is None else (400, _TOO_DEEP)))
            return
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._application(scope, replay, send)

    async def _body(self, scope: Message, receive: Receive) -> bytes | None:
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._most:
            return None
        parts: list[bytes] = []
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            if sum(map(len, parts)) > self._most:
                return None
            more = message.get("more_body", False)
        return b"".join(parts)


def _is_too_deep(body: bytes) -> bool:
    try:
        json.loads(body)
    except RecursionError:
        return True
    except ValueError:  # no JSON: MLflow says so
        pass
    return False


async def _refuse(send: Send, status: int, why: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": why})
