"""The HTTP interface: what is asked, and where it is answered. Knows nothing about sockets and processes.

Models are opened once, when the application starts: `work`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.routing import Route

import numerals
from numerals.errors import InputError, StorageError
from numerals.results import Page, Recognition
from numerals.server import schemas
from numerals.server.docs_page import docs_page
from numerals.server.engine import Work
from numerals.server.metrics import Metrics
from numerals.server.middleware import AGAIN, Gate
from numerals.server.settings import ServerSettings

FOLDER = "page"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PICTURE = {"type": "string", "format": "binary"}
MEDIA = ("application/octet-stream", "image/png", "image/jpeg", "image/webp", "image/gif", "image/tiff", "image/bmp")
BODY = {
    "required": True,
    "content": {kind: {"schema": PICTURE} for kind in MEDIA}
    | {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {"file": PICTURE}, "required": ["file"]},
        }
    },
}
WHY = {
    400: "Not a request of this interface",
    401: "No token, or not the one of this server",
    403: "A foreign Host or Origin",
    404: "No such correction",
    413: "Over ten million bytes",
    422: "Not readable: one line says why",
    503: "Too many requests at once, or not ready; Retry-After says when to come again",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What an endpoint may answer besides success."""
    return {status: {"model": schemas.Problem, "description": WHY[status]} for status in statuses}


def application(settings: ServerSettings) -> Gate:
    """The whole as ASGI."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sys.setswitchinterval(0.001)  # else a thread that reads keeps a health check waiting for five at each turn
        app.state.work = Work(settings, metrics)
        yield
        app.state.work.close()

    app = FastAPI(
        title="numerals",
        version=numerals.__version__,
        description="Reads handwritten digits in pictures. Errors have one line, `detail`. A server with a token wants "
        "`Authorization: Bearer TOKEN`.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    gate = Gate(app, settings, metrics)
    _answer_errors(app)
    _add_reading(app)
    _add_corrections(app)
    _add_state(app, gate, metrics)
    _add_page(app)
    return gate


def _answer_errors(app: FastAPI) -> None:
    """Every refusal is a line in JSON."""

    async def problem(request: Request, error: Exception) -> Response:
        if isinstance(error, RequestValidationError):
            first = error.errors()[0]
            return _problem(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        if isinstance(error, StorageError):
            return _problem(503, str(error), AGAIN)
        return _problem(422, str(error))

    async def wrong_method(request: Request, error: Exception) -> Response:
        """Starlette names the methods of the first endpoint at a path only."""
        places = [route for route in app.routes if isinstance(route, Route)]
        allowed = {each for route in places if route.path_regex.match(request.url.path) for each in route.methods or ()}
        return _problem(405, "not a method of this path", {"Allow": ", ".join(sorted(allowed))})

    app.add_exception_handler(405, wrong_method)
    for kind in (RequestValidationError, InputError, StorageError):
        app.add_exception_handler(kind, problem)


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"detail": detail}, status, headers)


def _add_reading(app: FastAPI) -> None:
    limits = refusals(400, 401, 403, 413, 422, 503)

    @app.post(
        "/v1/read",
        summary="The digits in a picture",
        responses={200: {"model": schemas.PageOut}, **limits},
        openapi_extra={"requestBody": BODY},
    )
    async def read(
        request: Request,
        seen: Annotated[bool, Query(description="Give the 28x28 that the network saw of each digit, too")] = False,
        drawn: Annotated[bool, Query(description="Drawn on an empty pad: upright, a straight stroke is a 1")] = False,
    ) -> Response:
        """A photograph, scan or drawing, as the body or as the form field `file`: rows of digits, each with its box and
        how sure it is. PNG, JPEG, WebP, GIF, TIFF, BMP and PPM, up to ten million bytes and 25 megapixels."""
        work: Work = request.app.state.work
        picture = await _picture(request)
        async with work.queue.place():
            page = await work.read(picture, drawn)
        return JSONResponse(_page(page, seen))

    @app.post(
        "/v1/recognise", summary="Many single digits", responses={200: {"model": schemas.RecognitionOut}, **limits}
    )
    async def recognise(request: Request, asked: schemas.RecogniseIn) -> Response:
        """Pictures of one digit each, of 28x28 pixels."""
        work: Work = request.app.state.work
        digits = schemas.digits_of(asked.digits, asked.n)
        async with work.queue.place():
            found: Recognition = await work.recognise(digits)
        return JSONResponse(found.to_dict())

    @app.post("/v1/explain", summary="Why a digit", responses={200: {"model": schemas.ExplanationOut}, **limits})
    async def explain(request: Request, asked: schemas.ExplainIn) -> Response:
        """The ten probabilities of one digit, and which parts of its ink spoke for one of them: those without which it
        would be less likely."""
        work: Work = request.app.state.work
        digit = schemas.digits_of(asked.seen, 1)[0]
        async with work.queue.place():
            found = await work.explain(digit, asked.digit)
        return JSONResponse(
            {
                "probabilities": found.probabilities.tolist(),
                "is_digit": found.is_digit,
                "heat": [[round(value, 3) for value in row] for row in found.heat.tolist()],
            }
        )


async def _picture(request: Request) -> bytes:
    """The body, or the file in the form."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await request.body()
    try:
        form = await MultiPartParser(request.headers, request.stream(), max_files=1, max_fields=8).parse()
    except (MultiPartException, KeyError) as error:
        raise HTTPException(400, f"the form cannot be read ({getattr(error, 'message', 'no boundary')})") from error
    try:
        file = form.get("file")
        if file is None or isinstance(file, str):
            raise HTTPException(422, "the form has no file named file")
        return await file.read()
    finally:
        await form.close()


def _page(page: Page, seen: bool) -> dict[str, Any]:
    found = page.to_dict()
    if seen:
        for row, read in zip(found["rows"], page.rows, strict=True):
            for digit, one in zip(row["digits"], read.digits, strict=True):
                digit["seen"] = schemas.encoded(one.seen.tobytes())
    return found


def _add_corrections(app: FastAPI) -> None:
    @app.post(
        "/v1/corrections",
        status_code=201,
        summary="Keep a correction",
        responses={201: {"model": schemas.Kept}, **refusals(400, 401, 403, 413, 422, 503)},
    )
    async def correct(request: Request, asked: schemas.CorrectionIn) -> Response:
        """A digit that was misread, with its picture: `numerals train --init shipped --data corrections:FILE` learns
        from them."""
        work: Work = request.app.state.work
        picture = schemas.decoded(asked.picture, "picture")
        seen = None if asked.seen is None else schemas.digits_of(asked.seen, 1).tobytes()
        async with work.queue.place():
            png = await work.digit(picture)
            kept = await asyncio.to_thread(work.corrections.add, asked.digit, asked.read, png, seen)
        return JSONResponse({"id": kept}, 201)

    @app.get(
        "/v1/corrections",
        summary="What was corrected",
        responses={200: {"model": schemas.CorrectionsOut}, **refusals(401, 403, 422, 503)},
    )
    def listed(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        before: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Those kept before this id")] = None,
    ) -> Response:
        """The newest first."""
        kept = request.app.state.work.corrections
        found = [
            {"id": each.id, "at": each.at, "digit": each.digit, "read": each.read}
            | {"picture": schemas.encoded(each.picture)}
            for each in kept.latest(limit, before)
        ]
        return JSONResponse({"count": kept.count(), "file": str(kept.path), "corrections": found})

    @app.delete(
        "/v1/corrections/{number}",
        status_code=204,
        summary="Forget a correction",
        responses={**refusals(401, 403, 404, 422, 503)},
    )
    def delete(request: Request, number: Annotated[int, Path(ge=1, le=2**63 - 1)]) -> Response:
        """Forget the correction with this id."""
        if not request.app.state.work.corrections.delete(number):
            return _problem(404, f"no correction {number}")
        return Response(status_code=204)


def _add_state(app: FastAPI, gate: Gate, metrics: Metrics) -> None:
    @app.get("/v1/model", summary="Which models", responses={200: {"model": schemas.ModelOut}, **refusals(401, 403)})
    def model(request: Request) -> Response:
        """What the models' cards say: accuracy, calibration, data, versions."""
        return JSONResponse({"version": numerals.__version__, **request.app.state.work.reader.cards})

    @app.get("/healthz", summary="Alive", responses={200: {"model": schemas.Status}, **refusals(403)})
    async def alive() -> Response:
        """Whether the process answers."""
        return JSONResponse({"status": "alive"})

    @app.get("/readyz", summary="Ready", responses={200: {"model": schemas.Status}, **refusals(403, 503)})
    async def ready() -> Response:
        """Whether to send requests: no more once it was told to end."""
        return _problem(503, "ending") if gate.closing else JSONResponse({"status": "ready"})

    @app.get(
        "/metrics",
        summary="Counters for Prometheus",
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **refusals(401, 403)},
    )
    async def counted() -> Response:
        """Requests, latencies, the queue, what was refused."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")


def _add_page(app: FastAPI) -> None:
    """The page and its parts, from memory."""
    folder = resources.files("numerals") / "server" / FOLDER
    parts = {part.name: part.read_bytes() for part in folder.iterdir() if "." in part.name}

    def send(name: str) -> Response:
        return Response(parts[name], media_type=KINDS[name[name.rindex(".") :]])

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return send("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def part(name: str) -> Response:
        return send(name) if name in parts else _problem(404, "no such page")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(docs_page(app.openapi()), media_type="text/html")
