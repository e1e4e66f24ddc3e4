import pytest

from xvectors.config.imports import import_class
from xvectors.errors import ConfigError, XVectorsError


def test_a_class_by_its_name():
    assert import_class("xvectors.errors.XVectorsError", "xvector.runner") is XVectorsError


@pytest.mark.parametrize("name", ["nowhere.Class", "xvectors.errors.Nothing", "bare", ""])
def test_a_class_that_cannot_be_imported_is_a_one_line_error_with_the_key(name):
    with pytest.raises(ConfigError) as error:
        import_class(name, "xvector.runner")
    assert str(error.value).startswith(f"xvector.runner: cannot import {name!r} (")
    assert str(error.value).endswith("is its folder on PYTHONPATH?")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("error", ["RuntimeError", "SystemExit"])
def test_a_module_that_raises_is_no_traceback(tmp_path, monkeypatch, error):
    (tmp_path / f"raising_{error}.py").write_text(f"raise {error}('first\\nsecond')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=rf"xvector.runner: .* \({error}: first\)"):
        import_class(f"raising_{error}.Runner", "xvector.runner")
