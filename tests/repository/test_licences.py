from envs.licences import ENVS, accepted, licence, locked


def test_every_installed_package_has_an_accepted_licence():
    refused = {name: licence(name) for name in locked() if not accepted(name, licence(name))}
    assert refused == {}


def test_a_licence_that_is_not_known_is_not_accepted():
    assert not accepted("mine", "unknown")
    assert not accepted("mine", "MIT AND GPL-3.0-only")
    assert accepted("mine", "MIT AND Apache-2.0")


def test_the_page_lists_what_is_installed():
    page = (ENVS.parent / "docs" / "licences.md").read_text()
    for name in locked():
        assert f"| {name} |" in page, f"{name}: make audit"
