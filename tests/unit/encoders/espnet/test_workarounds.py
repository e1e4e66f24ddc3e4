import subprocess
import sys

import pytest

from xvectors.config.toolkits import missing_packages

if missing_packages("espnet"):
    pytest.skip("espnet is not installed: make espnet", allow_module_level=True)

# In a process of its own, where ESPnet is not yet imported.
IMPORTING = """
import warnings

import nltk

asked = []
nltk.download = download = lambda *arguments, **_: asked.append(arguments)
from xvectors.encoders.espnet.workarounds import Speech2Embedding
print(Speech2Embedding.__name__, nltk.download is download, asked)
warnings.warn("torch.cuda.amp.autocast(args...) is deprecated", FutureWarning)
"""


def test_importing_espnet_downloads_nothing_and_its_known_warning_is_silent():
    command = [sys.executable, "-c", IMPORTING]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    # ESPnet itself prints, too.
    assert result.stdout.splitlines()[-1] == "Speech2Embedding True []"
    assert "autocast" not in result.stderr
