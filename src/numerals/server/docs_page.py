"""GET /docs: the OpenAPI schema as one static HTML page.

FastAPI's own page loads Swagger from a CDN; this server's pages load nothing from elsewhere.
"""

from collections.abc import Iterator
from html import escape
from typing import Any

PAGE_START = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>numerals: HTTP API</title>
<link rel="icon" href="/page/icon.svg">
<link rel="stylesheet" href="/page/style.css">
</head>
<body class="docs">
"""


def docs_page(schema: dict[str, Any]) -> str:
    """Render an OpenAPI schema as HTML: endpoints with their parameters, bodies and responses, then JSON objects."""
    return PAGE_START + "\n".join(_parts(schema)) + "\n</body>\n</html>\n"


def _parts(schema: dict[str, Any]) -> Iterator[str]:
    info = schema["info"]
    yield f'<header><h1><a href="/">{escape(info["title"])}</a></h1>'
    yield '<nav><a href="/openapi.json">OpenAPI</a></nav></header>'
    yield f"<main><h2>HTTP API</h2><p>{_text(info['description'])}</p>"
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            yield from _operation(method, path, operation)
    yield "<h2>JSON objects</h2>"
    for name, definition in sorted(schema["components"]["schemas"].items()):
        yield from _definition(name, definition)
    yield "</main>"


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<section><h3><code>{method.upper()} {escape(path)}</code> {escape(operation.get('summary', ''))}</h3>"
    yield f"<p>{_text(operation.get('description', ''))}</p><table>"
    for parameter in operation.get("parameters", []):
        name = f"<code>{escape(parameter['name'])}</code>"
        details = f"in the {escape(parameter['in'])}; {_constraints(parameter['schema'])}"
        yield _table_row(name, _text(parameter.get("description", "")), details)
    body = operation.get("requestBody", {}).get("content", {})
    if body:
        types = {_type(content["schema"]) for content in body.values()}
        yield _table_row("body", escape(", ".join(body)), " or ".join(sorted(types)))
    for status, response in operation["responses"].items():
        types = {_type(content["schema"]) for content in response.get("content", {}).values() if content["schema"]}
        yield _table_row(escape(status), _text(response["description"]), " or ".join(sorted(types)))
    yield "</table></section>"


def _definition(name: str, definition: dict[str, Any]) -> Iterator[str]:
    yield f'<section id="{escape(name)}"><h3><code>{escape(name)}</code></h3>'
    yield f"<p>{_text(definition.get('description', ''))}</p><table>"
    required = definition.get("required", [])
    for field, field_schema in definition.get("properties", {}).items():
        details = _constraints(field_schema) + ("" if field in required else "; optional")
        yield _table_row(f"<code>{escape(field)}</code>", _text(field_schema.get("description", "")), details)
    yield "</table></section>"


def _type(schema: dict[str, Any]) -> str:
    """Describe a JSON type in words, with a link if it is a named object."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if "properties" in schema:
        return f"object with {escape(', '.join(schema['properties']))}"
    return escape("file" if schema.get("format") == "binary" else schema.get("type", "any"))


def _constraints(schema: dict[str, Any]) -> str:
    """Describe a value's type, range and default."""
    words = [_type(schema)]
    for option in schema.get("anyOf", [schema]):
        if "minimum" in option:
            words.append(f"{int(option['minimum'])} to {int(option['maximum'])}")  # all bounds here are whole numbers
    if schema.get("default") is not None:
        words.append(f"default {str(schema['default']).lower()}")
    return ", ".join(words)


def _table_row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _text(text: str) -> str:
    """Escape text and turn `code` into HTML."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))
