from pathlib import Path

from xvectors.config.settings import Settings, XVectorSettings
from xvectors.config.table import key_table, with_key_table

REPOSITORY = Path(__file__).resolve().parents[3]


def test_the_readme_has_the_table_of_the_definition():
    page = (REPOSITORY / "config" / "README.md").read_text(encoding="utf-8")
    assert with_key_table(page) == page, "run: python -m xvectors.config.table config/README.md"


def test_every_key_is_described():
    table = key_table()
    for section in (Settings, XVectorSettings):
        for name, field in section.model_fields.items():
            if name != "xvector":
                assert field.description
                assert f"| `{name}` | " in table
    assert "| `splits` | `[train, valid, test]` | the splits to embed |" in table
    assert "| `report` | `true` | " in table
    assert "| `device` | `null` | " in table
