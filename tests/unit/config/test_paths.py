import sys

import pytest

from xvectors.config.paths import expand_path, require_utf8
from xvectors.errors import ConfigError


@pytest.mark.parametrize(
    ("path", "expanded"),
    [
        ("~/xv", "/home/anna/xv"),
        ("~", "/home/anna"),
        ("$HOME/xv", "/home/anna/xv"),
        ("$HOME", "/home/anna"),
        ("./~/xv", "./~/xv"),
        ("a/~", "a/~"),
        ("a/$HOME", "a/$HOME"),
        ("$HOMELY/xv", "$HOMELY/xv"),
        ("$HOME.wav", "$HOME.wav"),
        ("~no_such_user_here/a", "~no_such_user_here/a"),
        ("/plain", "/plain"),
        ("", ""),
    ],
)
def test_home_at_the_beginning(path, expanded, monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.delenv("HOMELY", raising=False)
    assert expand_path(path) == expanded


def test_a_locale_that_is_not_utf8_is_a_one_line_error(monkeypatch):
    require_utf8()
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    with pytest.raises(ConfigError, match=r"^this locale's encoding is iso8859-1, .*C\.UTF-8"):
        require_utf8()
