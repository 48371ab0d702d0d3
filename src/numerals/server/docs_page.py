"""The interface as a page: OpenAPI's description in plain HTML. Knows nothing about what it describes.

Swagger's own page is loaded from elsewhere, which ours never is.
"""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

START = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>numerals: the interface</title>
<link rel="icon" href="/page/icon.svg">
<link rel="stylesheet" href="/page/style.css">
</head>
<body class="docs">
"""


def docs_page(schema: dict[str, Any]) -> str:
    """One page for the whole schema: each operation with what it takes and what it answers, then the shapes."""
    return START + "\n".join(_parts(schema)) + "\n</body>\n</html>\n"


def _parts(schema: dict[str, Any]) -> Iterator[str]:
    info = schema["info"]
    yield f'<header><h1><a href="/">{escape(info["title"])}</a></h1>'
    yield '<nav><a href="/openapi.json">OpenAPI</a></nav></header>'
    yield f"<main><p>{_text(info['description'])}</p>"
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            yield from _operation(method, path, operation)
    yield "<h2>Shapes</h2>"
    for name, shape in sorted(schema["components"]["schemas"].items()):
        yield f'<section id="{escape(name)}"><h3>{escape(name)}</h3><p>{_text(shape.get("description", ""))}</p>'
        yield f"<pre>{escape(json.dumps(shape.get('properties', {}), indent=1))}</pre></section>"
    yield "</main>"


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<section><h3><code>{method.upper()} {escape(path)}</code> {escape(operation.get('summary', ''))}</h3>"
    yield f"<p>{_text(operation.get('description', ''))}</p><table>"
    for one in operation.get("parameters", []):
        kind = one["schema"].get("type", "")
        yield _row(f"<code>{escape(one['name'])}</code>", f"{escape(one['in'])}, {kind}", one.get("description", ""))
    body = operation.get("requestBody", {}).get("content", {})
    if body:
        yield _row("body", escape(", ".join(body)), "".join(sorted(set(map(_shape, body.values())))))
    for status, answer in operation["responses"].items():
        shapes = ", ".join(filter(None, map(_shape, answer.get("content", {}).values())))
        yield _row(escape(status), _text(answer["description"]), shapes)
    yield "</table></section>"


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _shape(content: dict[str, Any]) -> str:
    """A link to a shape; nothing where it has no name."""
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    return f'<a href="#{escape(name)}">{escape(name)}</a>' if name else ""


def _text(words: str) -> str:
    """Escaped, with `code` as such."""
    parts = escape(words).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))
