"""Sealed JSON: with a checksum of itself, so that damage does not pass for other content."""

import hashlib
import json
from typing import Any

_SEAL = b',"sha256":"'


def seal(content: dict[str, Any], indent: int | None = None) -> bytes:
    """Return a dict with at least one entry as JSON whose last entry is ``sha256``.

    It is the hash of all bytes before that entry.
    """
    separators = None if indent else (",", ":")
    text = json.dumps(content, ensure_ascii=False, indent=indent, separators=separators)
    body = text.removesuffix("}").rstrip().encode()
    return body + _seal_of(body)


def unseal(sealed: bytes) -> dict[str, Any]:
    """Return what was sealed.

    Raises:
        ValueError: It is cut off, or not as it was.

    """
    body, separator, rest = sealed.rpartition(_SEAL)
    if separator + rest != _seal_of(body):
        raise ValueError("damaged, its checksum is wrong")
    content: dict[str, Any] = json.loads(body + b"}")
    return content


def _seal_of(body: bytes) -> bytes:
    return _SEAL + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
