import pytest

from xvectors.config.paths import expand_path


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
