"""The table of keys in ``config/README.md``: ``python -m xvectors.config.table config/README.md``.

It stands between the two markers of a file, and is written again from the settings' definition.
"""

import json
import sys
from pathlib import Path

from pydantic.fields import FieldInfo

from xvectors.config.settings import Settings, XVectorSettings

BEGIN = "<!-- keys: written by python -m xvectors.config.table -->"
END = "<!-- end of keys -->"


def key_table() -> str:
    """Return all keys with their defaults and meanings, as Markdown."""
    top = {"data_dir": Settings.model_fields["data_dir"]}
    return f"{_table(top)}\n\nUnder `xvector:`\n\n{_table(XVectorSettings.model_fields)}"


def with_key_table(page: str) -> str:
    """Return `page` with the table between its markers replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{key_table()}\n\n{END}{after}"


def _table(fields: dict[str, FieldInfo]) -> str:
    rows = [
        f"| `{name}` | {_shown_default(field)} | {field.description} |"
        for name, field in fields.items()
    ]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows])


def _shown_default(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "shown_default" in extra:
        return str(extra["shown_default"])
    in_yaml = json.dumps(field.default).replace('"', "")
    return f"`{in_yaml}`"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_key_table(path.read_text(encoding="utf-8")), encoding="utf-8")
