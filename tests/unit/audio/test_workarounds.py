import subprocess
import sys
import textwrap

import pytest

SETUP = """
    import sys
    from xvectors.audio.workarounds import without_scipy_stats
"""


def output_of(code: str) -> str:
    """Return what code prints in a new interpreter, in which nothing is imported yet."""
    command = [sys.executable, "-c", textwrap.dedent(SETUP) + textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "modules",
    # In the order in which a job imports them.
    [
        "xvectors.audio.resampling",
        "xvectors.encoders.encoder, xvectors.encoders.speechbrain.encoder",
    ],
)
def test_speechbrain_is_imported_without_scipy_stats(modules):
    code = f"import {modules}; print('speechbrain' in sys.modules, 'scipy.stats' in sys.modules)"
    assert output_of(code) == "True False\n"


def test_the_sampler_that_needs_scipy_stats_computes_as_ever():
    found = output_of(
        """
        import torch
        with without_scipy_stats():
            from speechbrain.dataio.sampler import lognorm
        import scipy.stats
        x = [0.25, 0.5, 0.75]
        print((lognorm.ppf(x, 1) == scipy.stats.lognorm.ppf(x, 1)).all())
        """
    )
    assert found == "True\n"


def test_any_other_name_is_that_of_scipy_stats():
    found = output_of(
        """
        with without_scipy_stats():
            from scipy.stats import norm
            from scipy.stats import qmc
        import scipy.stats
        print(norm is scipy.stats.norm, qmc is scipy.stats.qmc)
        """
    )
    assert found == "True True\n"


def test_scipy_stats_that_is_imported_already_stays():
    found = output_of(
        """
        import scipy.stats
        before = scipy.stats
        with without_scipy_stats():
            from scipy.stats import lognorm
        print(lognorm is before.lognorm, sys.modules["scipy.stats"] is before)
        """
    )
    assert found == "True True\n"
