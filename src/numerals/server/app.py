"""The HTTP routes: /v1/read, recognise, explain, corrections and model; health, metrics, the web page and /docs.

To add a route, define it in one of the `_add_..._routes` functions and describe its JSON in `schemas`. The models and
threads behind the routes are in `engine`, the checks that every request passes first in `middleware`.
"""

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
from numerals.errors import FailureError, InputError
from numerals.results import Page
from numerals.server import schemas
from numerals.server.access_log import AccessLog
from numerals.server.corrections import MAX_ID, CorrectionStore, DamagedError, FullError
from numerals.server.docs_page import docs_page
from numerals.server.engine import ReadingEngine
from numerals.server.json_body import JsonRoute
from numerals.server.metrics import ServerMetrics
from numerals.server.middleware import RETRY_AFTER, RequestChecks
from numerals.server.settings import (
    MAX_BODY_BYTES,
    MAX_DIGITS_PER_REQUEST,
    MAX_LISTED_BYTES,
    MAX_PICTURE_PIXELS,
    MIN_SEND_RATE,
    RECEIVE_TIMEOUT_SECONDS,
    RESPONSE_TIMEOUT_SECONDS,
    SEND_TIMEOUT_SECONDS,
    ServerSettings,
)

CONTENT_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Python's default, 0.005, would delay health checks by that much whenever a reading thread has its turn.
SWITCH_INTERVAL_SECONDS = 0.001
FILE_SCHEMA = {"type": "string", "format": "binary"}
PICTURE_TYPES = (
    "application/octet-stream",
    *("image/png", "image/jpeg", "image/webp", "image/gif", "image/tiff", "image/bmp"),
)
PICTURE_BODY = {
    "required": True,
    "content": {media_type: {"schema": FILE_SCHEMA} for media_type in PICTURE_TYPES}
    | {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {"file": FILE_SCHEMA}, "required": ["file"]},
        }
    },
}
API_DESCRIPTION = (
    "Reads handwritten digits in pictures. "
    f"Limits: {MAX_BODY_BYTES // 10**6} MB and {MAX_PICTURE_PIXELS // 10**6} megapixels per picture; a request must "
    f"arrive within {RECEIVE_TIMEOUT_SECONDS:g} seconds (else 408) and is answered within "
    f"{RESPONSE_TIMEOUT_SECONDS:g} seconds (else 503); take the answer within {SEND_TIMEOUT_SECONDS:g} seconds, a "
    f"large one at {MIN_SEND_RATE // 1000} kB per second. "
    'Errors are JSON, `{"detail": "..."}`, in one line. '
    "If the server has a token, send `Authorization: Bearer TOKEN` with `/v1/` and `/metrics`."
)
ERROR_DESCRIPTIONS = {
    400: "The form or the JSON cannot be parsed.",
    401: "The token is missing or wrong.",
    403: "The `Host` or `Origin` header is not this server's.",
    404: "There is no correction with this id.",
    413: f"The body is larger than {MAX_BODY_BYTES:,} bytes.",
    422: "The picture or a field cannot be used; `detail` says why.",
    429: "This client has sent too many wrong tokens; wait as `Retry-After` says.",
    500: "The file of corrections is damaged, or not one.",
    503: "The server is overloaded, stopping, or out of a resource; `detail` says which. Wait as `Retry-After` says.",
    507: "The file of corrections is full: delete some.",
}


def create_app(settings: ServerSettings, access_log: AccessLog) -> RequestChecks:
    """Load the models and create the ASGI application.

    Raises:
        ModelError: the model cannot be used.
        FailureError: no process that decodes pictures can be started.
    """
    metrics = ServerMetrics()
    engine = ReadingEngine(settings, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
        yield
        engine.close()

    app = FastAPI(
        title="numerals",
        version=numerals.__version__,
        description=API_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.engine = engine
    app.router.route_class = JsonRoute
    checked_app = RequestChecks(app, settings, metrics, access_log)
    _add_error_handlers(app)
    _add_reading_routes(app)
    _add_correction_routes(app)
    _add_status_routes(app, checked_app, metrics)
    _add_page_routes(app)
    return checked_app


def _error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the error responses of a route for OpenAPI."""
    all_statuses = (*statuses, 429) if 401 in statuses else statuses
    return {status: {"model": schemas.ErrorOut, "description": ERROR_DESCRIPTIONS[status]} for status in all_statuses}


def _error(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"detail": detail}, status, headers)


def _engine(request: Request) -> ReadingEngine:
    engine: ReadingEngine = request.app.state.engine
    return engine


def _add_error_handlers(app: FastAPI) -> None:
    """Turn every error into one line of JSON."""

    async def handle_error(request: Request, error: Exception) -> Response:
        if isinstance(error, RequestValidationError):
            first = error.errors()[0]
            return _error(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        if isinstance(error, DamagedError):
            return _error(500, str(error))
        if isinstance(error, FullError):
            return _error(507, str(error))
        if isinstance(error, FailureError):
            return _error(503, str(error), RETRY_AFTER)
        return _error(422, str(error))

    async def handle_wrong_method(request: Request, error: Exception) -> Response:
        """Allow lists the methods of all routes at the path; Starlette lists only those of the first one."""
        routes = [route for route in app.routes if isinstance(route, Route)]
        allowed = {
            method for route in routes if route.path_regex.match(request.url.path) for method in route.methods or ()
        }
        names = ", ".join(sorted(allowed))
        return _error(405, f"{request.method} is not allowed here; use {names}", {"Allow": names})

    app.add_exception_handler(405, handle_wrong_method)
    for error_type in (RequestValidationError, InputError, FailureError):
        app.add_exception_handler(error_type, handle_error)


def _add_reading_routes(app: FastAPI) -> None:
    errors = _error_responses(400, 401, 403, 413, 422, 503)

    @app.post(
        "/v1/read",
        summary="Read the digits in a picture",
        response_model=schemas.PageOut,
        response_description="The rows of digits.",
        responses=errors,
        openapi_extra={"requestBody": PICTURE_BODY},
    )
    async def read(
        request: Request,
        seen: Annotated[bool, Query(description="Also return the 28x28 network input of each digit")] = False,
        drawn: Annotated[
            bool,
            Query(description="The picture is a drawing on an empty pad: upright, and a straight stroke is a 1"),
        ] = False,
    ) -> Response:
        """Send a photo, scan or drawing as the request body, or as the field `file` of a form. Formats: PNG, JPEG,
        WebP, GIF, TIFF, BMP and PPM. You get the rows of digits, each digit with its bounding box and confidence."""
        engine = _engine(request)
        picture = await _uploaded_picture(request)
        async with engine.queue.slot(request.scope):
            page = await engine.read(picture, drawn)
        return JSONResponse(_page_json(page, seen))

    @app.post(
        "/v1/recognise",
        summary="Recognise single digits",
        description=f"Send up to {MAX_DIGITS_PER_REQUEST} pictures of 28x28 pixels, one digit in each. For each you "
        "get the most probable digit, all ten probabilities, and whether it looks like a digit at all.",
        response_model=schemas.RecognitionOut,
        response_description="One result per picture.",
        responses=errors,
    )
    async def recognise(request: Request, body: schemas.RecogniseIn) -> Response:
        engine = _engine(request)
        digits = schemas.decode_digits(body.digits, body.n, "digits")
        async with engine.queue.slot(request.scope):
            recognition = await engine.recognise(digits)
        return JSONResponse(recognition.to_dict())

    @app.post(
        "/v1/explain",
        summary="Explain a digit",
        response_model=schemas.ExplanationOut,
        response_description="The probabilities and the heat map.",
        responses=errors,
    )
    async def explain(request: Request, body: schemas.ExplainIn) -> Response:
        """Send the network input of one digit and a class. You get the ten probabilities, and a heat map that shows
        which parts of the ink make the class more or less probable: each part is covered in turn."""
        engine = _engine(request)
        digit = schemas.decode_digits(body.seen, 1, "seen")[0]
        async with engine.queue.slot(request.scope):
            explanation = await engine.explain(digit, body.digit)
        return JSONResponse(
            {
                "probabilities": explanation.probabilities.tolist(),
                "is_digit": explanation.is_digit,
                "heat": [[round(value, 3) for value in row] for row in explanation.heat.tolist()],
            }
        )


async def _uploaded_picture(request: Request) -> bytes:
    """Return the picture file in the request: its body, or the field `file` of a form."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await request.body()
    try:
        parser = MultiPartParser(request.headers, request.stream(), max_files=1, max_fields=8)
        parser.spool_max_size = MAX_BODY_BYTES  # in memory, like every body: the disk may be full
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        reason = getattr(error, "message", "Content-Type has no boundary")
        raise HTTPException(400, f"request body: not a valid form ({reason}); send the picture as the body") from error
    try:
        file = form.get("file")
        if file is None or isinstance(file, str):
            raise HTTPException(422, "request body: the form has no file in its field file; send the picture there")
        return await file.read()
    finally:
        await form.close()


def _page_json(page: Page, with_seen: bool) -> dict[str, Any]:
    content = page.to_dict()
    if with_seen:
        for row_content, row in zip(content["rows"], page.rows, strict=True):
            for digit_content, digit in zip(row_content["digits"], row.digits, strict=True):
                digit_content["seen"] = schemas.encode_base64(digit.seen.tobytes())
    return content


def _add_correction_routes(app: FastAPI) -> None:
    @app.post(
        "/v1/corrections",
        status_code=201,
        summary="Save a correction",
        response_model=schemas.CorrectionIdOut,
        response_description="The correction is saved.",
        responses=_error_responses(400, 401, 403, 413, 422, 500, 503, 507),
    )
    async def create_correction(request: Request, body: schemas.CorrectionIn) -> Response:
        """Send the picture of a misread digit and the correct digit. To train the model on saved corrections, run
        `numerals adapt FILE`."""
        engine = _engine(request)
        picture = schemas.decode_base64(body.picture, "picture")
        seen = None if body.seen is None else schemas.decode_digits(body.seen, 1, "seen").tobytes()
        async with engine.queue.slot(request.scope):
            png = await engine.reencode(picture)
            correction_id = await engine.use_corrections(lambda store: store.add(body.digit, body.read, png, seen))
        return JSONResponse({"id": correction_id}, 201)

    @app.get(
        "/v1/corrections",
        summary="List corrections",
        response_model=schemas.CorrectionsOut,
        response_description="One page of corrections.",
        responses=_error_responses(401, 403, 422, 500, 503),
    )
    async def list_corrections(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=200, description="Maximum number of corrections to return")] = 50,
        before: Annotated[
            int | None,
            Query(ge=1, le=MAX_ID, description="Return only corrections with a smaller id: the next page of a list"),
        ] = None,
    ) -> Response:
        """List saved corrections, newest first; fewer than `limit` if their pictures are large."""
        engine = _engine(request)

        def list_page(store: CorrectionStore) -> Response:
            """Also makes the JSON: in the corrections' thread, the answers are made one after the other."""
            corrections = [
                {
                    "id": correction.id,
                    "at": correction.at,
                    "digit": correction.digit,
                    "read": correction.read,
                    "picture": schemas.encode_base64(correction.picture),
                }
                for correction in store.latest(limit, before, MAX_LISTED_BYTES)
            ]
            return JSONResponse({"count": store.count(), "file": str(store.path), "corrections": corrections})

        async with engine.queue.slot(request.scope):
            return await engine.use_corrections(list_page)

    @app.delete(
        "/v1/corrections/{number}",
        status_code=204,
        summary="Delete a correction",
        response_description="The correction is deleted.",
        responses=_error_responses(401, 403, 404, 422, 500, 503),
    )
    async def delete_correction(
        request: Request, number: Annotated[int, Path(ge=1, le=MAX_ID, description="Id of the correction")]
    ) -> Response:
        """Delete the correction with this id."""
        engine = _engine(request)
        async with engine.queue.slot(request.scope):
            is_deleted = await engine.use_corrections(lambda store: store.delete(number))
        if not is_deleted:
            return _error(404, f"no correction with id {number}; GET /v1/corrections lists them")
        return Response(status_code=204)


def _add_status_routes(app: FastAPI, checked_app: RequestChecks, metrics: ServerMetrics) -> None:
    @app.get(
        "/v1/model",
        summary="Describe the models",
        response_model=schemas.ModelOut,
        response_description="The model cards.",
        responses=_error_responses(401, 403),
    )
    async def describe_models(request: Request) -> Response:
        """Get the cards of both models: accuracy, calibration, training data, versions."""
        return JSONResponse({"version": numerals.__version__, **_engine(request).reader.cards})

    @app.get(
        "/healthz",
        summary="Check liveness",
        response_model=schemas.StatusOut,
        response_description="The process is alive.",
        responses=_error_responses(403),
    )
    async def check_liveness() -> Response:
        """Check whether the process answers at all."""
        return JSONResponse({"status": "alive"})

    @app.get(
        "/readyz",
        summary="Check readiness",
        response_model=schemas.StatusOut,
        response_description="The server accepts requests.",
        responses=_error_responses(403, 503),
    )
    async def check_readiness(request: Request) -> Response:
        """Check whether to send requests; 503 as soon as the server begins to stop, and while it cannot decode
        pictures."""
        if checked_app.shutting_down:
            return _error(503, "the server is stopping")
        if not await _engine(request).is_ready():
            return _error(503, "no process that decodes pictures can be started; see the server's limits", RETRY_AFTER)
        return JSONResponse({"status": "ready"})

    @app.get(
        "/metrics",
        summary="Get metrics for Prometheus",
        response_description="Prometheus's text format.",
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_error_responses(401, 403)},
    )
    async def get_metrics() -> Response:
        """Get the number of requests, their latencies, the length of the queue, and rejections by reason."""
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4")


def _add_page_routes(app: FastAPI) -> None:
    """Serve the web page and its files from memory."""
    folder = resources.files("numerals") / "server" / "page"
    files = {file.name: file.read_bytes() for file in folder.iterdir() if "." in file.name}

    def file_response(name: str) -> Response:
        return Response(files[name], media_type=CONTENT_TYPES[name[name.rindex(".") :]])

    @app.get("/", include_in_schema=False)
    async def get_page() -> Response:
        return file_response("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def get_page_file(name: str) -> Response:
        return file_response(name) if name in files else _error(404, f"no page file {name!r}")

    @app.get("/docs", include_in_schema=False)
    async def get_docs() -> Response:
        return Response(docs_page(app.openapi()), media_type="text/html")
