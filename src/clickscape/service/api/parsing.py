"""Parse a request by a pydantic model, and describe in OpenAPI what the model takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from clickscape.errors import printable
from clickscape.service.api.access import RefusedError

Model = TypeVar("Model", bound=BaseModel)


def parsed(kind: type[Model], given: bytes | Mapping[str, str]) -> Model:
    """Return a body of JSON, or a query, as `kind`; RefusedError with 422 and one line without what was sent."""
    try:
        return kind.model_validate_json(given) if isinstance(given, bytes) else kind.model_validate(given)
    except ValidationError as error:
        raise RefusedError(422, first_problem(error.errors(include_url=False, include_input=False))) from None


def first_problem(problems: Any) -> str:
    """Return the first problem of a validation as one line."""
    first = problems[0]
    place = ".".join(str(step) for step in first["loc"])
    return printable(f"{place}: {first['msg']}" if place else first["msg"])[:300]


def parameters_of(kind: type[BaseModel]) -> list[dict[str, Any]]:
    """Return the fields of a model as OpenAPI's description of query parameters."""
    schema = kind.model_json_schema()
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": field}
        for name, field in schema["properties"].items()
    ]


def body_of(kind: type[BaseModel]) -> dict[str, Any]:
    """Return OpenAPI's description of a body that the model reads."""
    schema = kind.model_json_schema()
    for name, inner in schema.pop("$defs", {}).items():
        _put(schema, f"#/$defs/{name}", inner)
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _put(schema: Any, reference: str, inner: Any) -> None:
    """Write a definition where it is referred to: OpenAPI has no room for a model's own definitions."""
    parts = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for part in list(parts):
        _put(part, reference, inner)
    if isinstance(schema, dict) and schema.get("$ref") == reference:
        del schema["$ref"]
        schema.update(inner)
