import json

import pytest

from xvectors.files.checksummed_json import dump_checksummed, load_checksummed

CONTENT = {"names": ["Ægir", 'a"b', ",sha256"], "empty": {}, "none": None, "nested": {"x": [1.5]}}


@pytest.mark.parametrize("indent", [None, 2])
def test_what_is_sealed_comes_back_and_is_json(indent):
    sealed = dump_checksummed(CONTENT, indent)
    assert load_checksummed(sealed) == CONTENT
    assert {**CONTENT, "sha256": json.loads(sealed)["sha256"]} == json.loads(sealed)


@pytest.mark.parametrize("indent", [None, 2])
def test_no_flipped_bit_and_no_cut_passes(indent):
    sealed = dump_checksummed(CONTENT, indent)
    for place in range(len(sealed)):
        with pytest.raises(ValueError, match="damaged, its checksum is wrong"):
            load_checksummed(sealed[:place])
        flipped = bytearray(sealed)
        flipped[place] ^= 1 << place % 8
        with pytest.raises(ValueError, match="damaged, its checksum is wrong"):
            load_checksummed(bytes(flipped))
