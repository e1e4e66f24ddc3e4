import numpy as np
import pytest

from xvectors.config.resolving import resolve_config
from xvectors.sharding.limits import NO_LIMITS, Limits


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (NO_LIMITS, [False, False, False, False]),
        (Limits(min_seconds=2), [True, False, False, False]),
        (Limits(max_seconds=20), [False, False, False, True]),
        (Limits(2, 20), [True, False, False, True]),
    ],
)
def test_durations_equal_to_a_limit_are_within_it(limits, expected):
    assert limits.exclude(np.array([1.9999, 2.0, 20.0, 20.0001])).tolist() == expected


def test_limits_of_settings():
    assert not Limits.of(resolve_config({"xvector": {}}))
    limits = Limits.of(resolve_config({"xvector": {"min_seconds": 1, "max_seconds": "null"}}))
    assert limits
    assert limits == (1.0, None)
