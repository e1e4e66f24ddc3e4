"""Every module of the package has a file of unit tests, at the same place."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE, TESTS = REPOSITORY / "scripts" / "xvectors", REPOSITORY / "tests" / "unit"
# Modules without one, and why.
EXCEPTIONS = {
    "audio/frames.py": "tested by what becomes of damaged files, in test_damaged.py",
    "audio/lengths.py": "tested by what becomes of damaged files, in test_damaged.py",
    "audio/ogg.py": "tested by what becomes of damaged files, in test_damaged.py",
    "audio/signal.py": "types without any behaviour",
    "audio/sndfile.py": "tested with files of every kind, in test_reading.py",
    "encoders/ragged_rawnet.py": "tested with ESPnet's network, in espnet/test_ragged.py",
    "encoders/speechbrain/ragged_xvector.py": "tested against SpeechBrain, in test_encoder.py",
}

# Tests of several modules together.
OTHERS = {"audio/test_damaged.py", "encoders/test_on_a_gpu.py", "job/test_decoded_audio.py"}


def place_of_tests(module: Path) -> Path:
    """Return where a module's tests lie: ``__main__`` is tested by ``test_main.py``."""
    return TESTS / module.parent / f"test_{module.stem.strip('_')}.py"


def modules() -> list[Path]:
    found = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]
    # What is in a room's __init__.py, a docstring and names from its modules, needs no test.
    return sorted(path for path in found if path == Path("__init__.py") or path.stem != "__init__")


def test_every_module_has_its_tests():
    found = [module for module in modules() if str(module) not in EXCEPTIONS]
    assert len(found) > 50
    assert [str(module) for module in found if not place_of_tests(module).is_file()] == []


def test_every_exception_is_a_module_without_tests():
    for module in map(Path, EXCEPTIONS):
        assert (PACKAGE / module).is_file()
        assert not place_of_tests(module).exists()


def test_no_tests_are_of_a_module_that_is_gone():
    expected = {place_of_tests(module) for module in modules()} | {TESTS / one for one in OTHERS}
    assert [str(path) for path in TESTS.rglob("test_*.py") if path not in expected] == []
