import xvectors
from xvectors import (
    UtteranceError,
)


def test_the_public_names():
    assert set(xvectors.__all__) == {
        "BaseRunner",
        "EnvironmentProvider",
        "UtteranceError",
        "XVectorProvider",
        "XVectorRunner",
        "XVectorsError",
        "__version__",
    }


def test_an_utterance_error_is_the_projects_own():
    assert issubclass(UtteranceError, xvectors.XVectorsError)
