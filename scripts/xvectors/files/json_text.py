"""JSON, also with its own checksum inside, so that damage is noticed."""

import hashlib
import json
from typing import Any

_CHECKSUM_KEY = b',"sha256":"'


def parse_json(content: bytes | str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: It is not JSON, or nested too deep for Python's parser.

    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deep") from error


def canonical_json(value: dict[str, Any]) -> bytes:
    """Return a dict as JSON in one line, the same bytes for equal dicts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def dump_checksummed(content: dict[str, Any], indent: int | None = None) -> bytes:
    """Return a dict with at least one entry as JSON whose last entry is ``sha256``.

    That entry is the hash of all bytes before it.
    """
    separators = None if indent else (",", ":")
    text = json.dumps(content, ensure_ascii=False, indent=indent, separators=separators)
    body = text.removesuffix("}").rstrip().encode()
    return body + _checksum_entry(body)


def load_checksummed(content_bytes: bytes) -> dict[str, Any]:
    """Return the dict that `dump_checksummed` was given.

    Raises:
        ValueError: The content is cut off or changed.

    """
    body, separator, rest = content_bytes.rpartition(_CHECKSUM_KEY)
    if separator + rest != _checksum_entry(body):
        raise ValueError("damaged, its checksum is wrong")
    content: dict[str, Any] = json.loads(body + b"}")
    return content


def _checksum_entry(body: bytes) -> bytes:
    return _CHECKSUM_KEY + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
