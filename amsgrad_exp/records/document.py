"""Writes and reads JSON files that contain their own checksum."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from amsgrad_exp.errors import Damaged, NoSuchRun
from amsgrad_exp.records.files import sha256, write_atomically

Model = TypeVar("Model", bound=BaseModel)


def write_document(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file; its last key is the SHA-256 of the others."""
    document = json.dumps({**content, "sha256": _checksum(content)}, indent=2)
    write_atomically(path, document.encode() + b"\n")


def read_document(path: Path, kind: str) -> tuple[dict[str, Any], bool]:
    """Read such a file; ``kind`` says in error messages what it should be.

    Returns:
        The content, and whether it had a checksum.

    Raises:
        Damaged: it is not a JSON object, or its checksum is wrong.
        OSError: it cannot be read.
    """
    try:
        content = dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError, RecursionError) as error:
        raise Damaged(f"{path} is damaged: it is not {kind}") from error
    if "sha256" not in content:
        return content, False
    if content.pop("sha256") != _checksum(content):
        raise Damaged(f"{path} is damaged: its checksum is wrong")
    return content, True


def validated(model: type[Model], content: Mapping[str, Any], path: Path, kind: str, schema: int) -> Model:
    """Parse a document's content, whose schema may be at most ``schema``.

    Raises:
        NoSuchRun: it was written by a newer version.
        Damaged: it does not fit the model.
    """
    if isinstance(content.get("schema"), int) and content["schema"] > schema:
        raise NoSuchRun(f"{path.parent} was written by a newer version of amsgrad-exp")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise Damaged(f"{path} is damaged: it is not {kind}") from error


def _checksum(content: Mapping[str, Any]) -> str:
    return sha256(json.dumps(content).encode())
