"""Fuzzes a running server with schemathesis, from its OpenAPI schema. tests/server/test_security.py runs this module
with pytest, which does not collect it by itself.

NUMERALS_URL is the server's address; NUMERALS_EXAMPLES the number of examples per operation, 500 by default. All of
schemathesis's checks run. Its random strings are replaced by real pictures and real base64 where the schema can only
say "binary" or "string": the server rightly rejects random ones, which schemathesis cannot know.
"""

import base64
import os
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks

from tests.helpers.serving import drawing_png

PICTURES = [drawing_png(number) for number in ("2", "10", "571")]
PICTURE_TYPES = (
    "application/octet-stream",
    *("image/png", "image/jpeg", "image/webp", "image/gif", "image/tiff", "image/bmp"),
)
BLANK_DIGIT = base64.b64encode(bytes(784)).decode()

load_all_checks()
# Any bytes match "binary", so a body of /v1/read cannot violate its schema: what schemathesis takes for a violation, a
# real picture in the form, is read as it should be.
EXCLUDED_FOR_READ = CHECKS.get_by_names(["negative_data_rejection"])
for media_type in PICTURE_TYPES:
    schemathesis.openapi.media_type(media_type, st.sampled_from(PICTURES))
schema = schemathesis.openapi.from_url(f"{os.environ['NUMERALS_URL']}/openapi.json")


def with_real_data(body: Any) -> Any:
    """Replace the strings of a body by base64 of the right length or a real picture, if its other fields are valid."""
    if not isinstance(body, dict):
        return body
    if set(body) == {"file"} and isinstance(body["file"], bytes):
        return {"file": PICTURES[0]}
    n, keys = body.get("n", 0), set(body)
    n_is_valid = type(n) in (int, float) and n == int(n) and 1 <= n <= 1000
    if keys == {"digits", "n"} and n_is_valid and isinstance(body["digits"], str):
        return {**body, "digits": base64.b64encode(bytes(784 * int(n))).decode()}
    if keys == {"seen", "digit"} and isinstance(body["seen"], str):
        return {**body, "seen": BLANK_DIGIT}
    if keys <= {"picture", "digit", "read", "seen"} and isinstance(body.get("picture"), str):
        seen = {"seen": BLANK_DIGIT} if isinstance(body.get("seen"), str) else {}
        return {**body, **seen, "picture": base64.b64encode(PICTURES[0]).decode()}
    return body


@schema.parametrize()
@settings(
    max_examples=int(os.environ.get("NUMERALS_EXAMPLES", "500")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_operation_conforms_to_its_schema(case: Any) -> None:
    case.body = with_real_data(case.body)
    excluded = EXCLUDED_FOR_READ if case.path == "/v1/read" else []
    case.call_and_validate(checks=CHECKS.get_all(), excluded_checks=excluded)
