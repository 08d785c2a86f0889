"""``/docs``: the API as pages for people, made from the OpenAPI document. They load nothing and run nothing."""

from __future__ import annotations

import base64
import inspect
import re
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from html import escape
from typing import Any, Final

import msgspec

from .openapi import Schema, document, errors

STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --quiet: #667; }
@media (prefers-color-scheme: dark) { :root { --quiet: #99a; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h2 { border-top: 1px solid var(--line); margin-top: 2.5rem; padding-top: 1rem; }
code, pre { font: 14px/1.5 ui-monospace, monospace; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid var(--line); border-radius: 4px; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); }
nav a { display: inline-block; margin: 0 .75rem .25rem 0; }
.quiet { color: var(--quiet); }
"""
_HASH: Final = base64.b64encode(sha256(STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_CODE: Final = re.compile(r"`([^`]*)`")


@lru_cache(maxsize=8)
def operations_page(root: str) -> bytes:
    """Return the page of all operations, for an application that is mounted at the path ``root``."""
    api = msgspec.json.decode(document(root))
    paths = {path: item for path, item in api["paths"].items() if path.startswith("/v1/")}
    links = "".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in map(_name, paths))
    text = _inline(
        f"{api['info']['description']} Post a body to the path of an operation; reads are answered to GET too."
    )
    more = f'<a href="{escape(root)}/openapi.json">OpenAPI</a> <a href="{escape(root)}/docs/errors">Errors</a>'
    parts = [f"<h1>Solvent over HTTP</h1><p>{text}</p><p>{more}</p><nav>{links}</nav>"]
    schemas = api["components"]["schemas"]
    parts += [_operation(path, item, schemas, root) for path, item in paths.items()]
    used = sorted(name for name in schemas if not name.endswith(("Body", "Request")))
    parts.append("<h1>Objects</h1>")
    parts += [_object(name, schemas[name]) for name in used]
    return _page("Solvent over HTTP", parts)


@lru_cache(maxsize=8)
def errors_page(root: str) -> bytes:
    """Return the page of all errors: what the ``type`` of a problem document points to."""
    rows = [
        f'<tr id="{kind.code}"><td><code>{kind.code}</code></td><td>{kind.status}</td>'
        f"<td>{', '.join(f'<code>{name}</code>' for name in kind.fields)}</td>"
        f"<td>{_inline((inspect.getdoc(kind) or '').split(chr(10) * 2)[0])}</td></tr>"
        for kind in errors()
    ]
    head = "<tr><th>code</th><th>status</th><th>members</th><th>meaning</th></tr>"
    back = f'<p><a href="{escape(root)}/docs">Operations</a></p>'
    return _page("Errors of Solvent", ["<h1>Errors</h1>", back, f"<table>{head}{''.join(rows)}</table>"])


def _name(path: str) -> str:
    return path.split("/", 4)[4]


def _operation(path: str, item: dict[str, Any], schemas: dict[str, Schema], root: str) -> str:
    call = item.get("post") or item["get"]
    method = "POST" if "post" in item else "GET"
    methods = "POST or GET" if {"post", "get"} <= item.keys() else method
    parts = [
        f'<h2 id="{escape(_name(path))}">{escape(_name(path))}</h2><p>{_inline(call["summary"])} '
        f'<span class="quiet">{_inline(call.get("description", ""))}</span></p>',
        f"<pre>{methods} {escape(root + path)}</pre>",
    ]
    content = call.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = content.get("schema", {})
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if "properties" in schema:
        parts.append(_fields(schema))
    elif "parameters" in call:
        parts.append(_fields({"properties": {each["name"]: each for each in call["parameters"]}}))
    if "example" in content:
        parts.append(f"<pre>{escape(msgspec.json.encode(content['example']).decode())}</pre>")
    codes = [each["description"] for status, each in call["responses"].items() if status != "200"]
    answer = call["responses"]["200"].get("content", {}).get("application/json", {}).get("schema", {})
    parts.append(f"<p>Answer: {_type(answer)}. Refusals: {_inline(', '.join(codes))}.</p>")
    return "".join(parts)


def _object(name: str, schema: Schema) -> str:
    text = _inline(schema.get("description", "").split("\n\n")[0])
    return f'<h2 id="{name}">{name}</h2><p>{text}</p>{_fields(schema) if "properties" in schema else ""}'


def _fields(schema: Schema) -> str:
    required = schema.get("required", ())
    rows = [
        f"<tr><td><code>{escape(name)}</code></td><td>{_type(field.get('schema', field))}</td>"
        f"<td>{'required' if name in required else _default(field)}</td>"
        f"<td>{_inline(field.get('description', ''))}</td></tr>"
        for name, field in schema["properties"].items()
    ]
    return f"<table><tr><th>field</th><th>type</th><th></th><th>meaning</th></tr>{''.join(rows)}</table>"


def _default(field: Schema) -> str:
    value = field.get("default")
    return "" if value in (None, [], "") else f"<code>{escape(msgspec.json.encode(value).decode())}</code>"


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>' if not name.endswith(("Body", "Request")) else name
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[word]))
    if "enum" in schema or "const" in schema:
        return " or ".join(f"<code>{escape(str(each))}</code>" for each in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    kind: str = schema.get("type", "any")
    return escape({"decimal": "decimal string", "date-time": "time"}.get(schema.get("format", ""), kind))


def _inline(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(" ".join(text.replace("``", "`").split()), quote=False))


def _page(title: str, parts: Iterable[str]) -> bytes:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    body = f"<head>{head}<style>{STYLE}</style></head><body>{''.join(parts)}</body>"
    return f'<!doctype html><html lang="en">{body}</html>'.encode()
