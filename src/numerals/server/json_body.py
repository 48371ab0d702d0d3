"""JSON bodies, refused before they are parsed if they would take far more time and memory than their bytes."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

MARKS = (b",", b":", b"[", b"{")  # one of them is before each value, and none is in base64
MAX_MARKS = 100  # a body has eight at most


class _JsonRequest(Request):
    async def json(self) -> Any:
        """Parse the body.

        A list or object takes a hundred times as much memory as its two bytes, and Pydantic describes each field that
        it does not know in a kilobyte.
        """
        body = await self.body()
        if sum(map(body.count, MARKS)) > MAX_MARKS:
            raise HTTPException(422, "body: over 100 values; send only the fields in the documentation")
        return await super().json()


class JsonRoute(APIRoute):
    """A route that limits the number of values in a JSON body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_JsonRequest(request.scope, request.receive))

        return handle
