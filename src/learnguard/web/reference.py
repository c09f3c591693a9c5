"""From the OpenAPI document to what the reference page shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_PREFIX: Final = "#/components/schemas/"


@dataclass(frozen=True, slots=True)
class Kind:
    """The type of a value in words; ``links`` names the schemas that it is made of."""

    text: str
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FieldShown:
    """One field or parameter."""

    name: str
    kind: Kind
    is_required: bool
    doc: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """One possible answer of an operation."""

    status: str
    doc: str
    media: str
    kind: Kind
    example: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One method at one path."""

    method: str
    path: str
    summary: str
    doc: str
    parameters: tuple[FieldShown, ...]
    body: Kind | None
    body_example: str
    answers: tuple[Answered, ...]


@dataclass(frozen=True, slots=True)
class SchemaShown:
    """One named shape."""

    name: str
    doc: str
    fields: tuple[FieldShown, ...]


@dataclass(frozen=True, slots=True)
class Described:
    """The whole API."""

    title: str
    version: str
    doc: str
    needs_token: bool
    operations: tuple[Operation, ...]
    schemas: tuple[SchemaShown, ...]


def describe(openapi: Mapping[str, Any]) -> Described:
    """The OpenAPI document as plain values for the page."""
    operations = [
        _operation(method, path, item[method])
        for path, item in openapi["paths"].items()
        for method in _METHODS
        if method in item
    ]
    schemas = [
        SchemaShown(name, schema.get("description", ""), _fields(schema))
        for name, schema in openapi.get("components", {}).get("schemas", {}).items()
    ]
    info = openapi["info"]
    return Described(
        title=info["title"],
        version=info["version"],
        doc=info.get("description", ""),
        needs_token=bool(openapi.get("security")),
        operations=tuple(operations),
        schemas=tuple(schemas),
    )


def _operation(method: str, path: str, said: Mapping[str, Any]) -> Operation:
    content = said.get("requestBody", {}).get("content", {})
    media = next(iter(content.values()), None)
    return Operation(
        method=method.upper(),
        path=path,
        summary=said.get("summary", ""),
        doc=said.get("description", ""),
        parameters=tuple(
            FieldShown(p["name"], _kind(p["schema"]), p.get("required", False), p.get("description", ""), p["in"])
            for p in said.get("parameters", ())
        ),
        body=_kind(media["schema"]) if media else None,
        body_example=_example(media),
        answers=tuple(_answered(status, a) for status, a in sorted(said.get("responses", {}).items())),
    )


def _answered(status: str, said: Mapping[str, Any]) -> Answered:
    contents: Mapping[str, Mapping[str, Any]] = said.get("content", {})
    media = next(iter(contents), "")
    content = contents.get(media, {})
    kind = _kind(content["schema"]) if "schema" in content else Kind("")
    return Answered(status, said.get("description", ""), media, kind, _example(content))


def _example(media: Mapping[str, Any] | None) -> str:
    if not media or "example" not in media:
        return ""
    return json.dumps(media["example"], ensure_ascii=False, indent=2)


def _fields(schema: Mapping[str, Any]) -> tuple[FieldShown, ...]:
    required = set(schema.get("required", ()))
    return tuple(
        FieldShown(name, _kind(s), name in required, s.get("description", ""))
        for name, s in schema.get("properties", {}).items()
    )


def _kind(schema: Mapping[str, Any]) -> Kind:
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_PREFIX)
        return Kind(name, (name,))
    if "anyOf" in schema:
        parts = [_kind(s) for s in schema["anyOf"]]
        return Kind(" | ".join(p.text for p in parts), tuple(n for p in parts for n in p.links))
    if "enum" in schema or "const" in schema:
        return Kind(" | ".join(str(v) for v in schema.get("enum", [schema.get("const")])))
    kind = str(schema.get("type", "any"))
    if kind == "array":
        inner = _kind(schema.get("items", {}))
        return Kind(f"[{inner.text}, …]", inner.links)
    if kind == "object":
        return _object(schema)
    return Kind(f"{kind} ({schema['format']})" if "format" in schema else kind)


def _object(schema: Mapping[str, Any]) -> Kind:
    if isinstance(schema.get("additionalProperties"), dict):
        inner = _kind(schema["additionalProperties"])
        return Kind(f"{{…: {inner.text}}}", inner.links)
    parts = {n: _kind(s) for n, s in schema.get("properties", {}).items()}
    text = ", ".join(f"{n}: {k.text}" for n, k in parts.items())
    return Kind(f"{{{text}}}" if parts else "object", tuple(n for k in parts.values() for n in k.links))
