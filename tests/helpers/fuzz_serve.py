"""schemathesis over the OpenAPI schema of the server at NUMERALS_URL; test_serve.py runs it, pytest finds it not.

All checks, 500 examples an operation; NUMERALS_EXAMPLES for fewer. Pictures and base64 are real ones where the schema
can only say "binary" or "a string": random ones are rightly refused, which a check on valid input cannot know.
"""

import base64
import os
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks

from tests.helpers.serving import drawing

PICTURES = [drawing(text) for text in ("2", "10", "571")]
KINDS = ("application/octet-stream", "image/png", "image/jpeg", "image/webp", "image/gif", "image/tiff", "image/bmp")
DIGIT = base64.b64encode(bytes(784)).decode()

load_all_checks()
# Whatever bytes are sent are "binary" to the schema, so nothing can violate it: what schemathesis takes for a violation
# there, a picture of its own in the form, is one that is rightly read.
LEFT_OUT = CHECKS.get_by_names(["negative_data_rejection"])
for kind in KINDS:
    schemathesis.openapi.media_type(kind, st.sampled_from(PICTURES))
schema = schemathesis.openapi.from_url(f"{os.environ['NUMERALS_URL']}/openapi.json")


def made_whole(body: Any) -> Any:
    """Where the rest of a body is as it must be, its strings become base64 of the right length, and a real picture."""
    if not isinstance(body, dict):
        return body
    if set(body) == {"file"} and isinstance(body["file"], bytes):
        return {"file": PICTURES[0]}
    count, keys = body.get("n", 0), set(body)
    whole = type(count) in (int, float) and count == int(count) and 1 <= count <= 1000
    if keys == {"digits", "n"} and whole and isinstance(body["digits"], str):
        return {**body, "digits": base64.b64encode(bytes(784 * int(count))).decode()}
    if keys == {"seen", "digit"} and isinstance(body["seen"], str):
        return {**body, "seen": DIGIT}
    if keys <= {"picture", "digit", "read", "seen"} and isinstance(body.get("picture"), str):
        seen = {"seen": DIGIT} if isinstance(body.get("seen"), str) else {}
        return {**body, **seen, "picture": base64.b64encode(PICTURES[0]).decode()}
    return body


@schema.parametrize()
@settings(
    max_examples=int(os.environ.get("NUMERALS_EXAMPLES", "500")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_an_operation(case: Any) -> None:
    case.body = made_whole(case.body)
    case.call_and_validate(checks=CHECKS.get_all(), excluded_checks=LEFT_OUT if case.path == "/v1/read" else [])
