import json

import pytest

from xvectors.files.json_text import dump_checksummed, load_checksummed, parse_json

CONTENT = {"names": ["Ægir", 'a"b', ",sha256"], "empty": {}, "none": None, "nested": {"x": [1.5]}}


@pytest.mark.parametrize("indent", [None, 2])
def test_a_checksummed_dict_comes_back_and_is_json(indent):
    dumped = dump_checksummed(CONTENT, indent)
    assert load_checksummed(dumped) == CONTENT
    assert {**CONTENT, "sha256": json.loads(dumped)["sha256"]} == json.loads(dumped)


@pytest.mark.parametrize("indent", [None, 2])
def test_no_flipped_bit_and_no_cut_passes(indent):
    dumped = dump_checksummed(CONTENT, indent)
    for place in range(len(dumped)):
        with pytest.raises(ValueError, match="damaged, its checksum is wrong"):
            load_checksummed(dumped[:place])
        flipped = bytearray(dumped)
        flipped[place] ^= 1 << place % 8
        with pytest.raises(ValueError, match="damaged, its checksum is wrong"):
            load_checksummed(bytes(flipped))


def test_json_that_is_nested_too_deep_is_a_value_error():
    assert parse_json(b"[[1]]") == [[1]]
    with pytest.raises(ValueError, match="nested too deep"):
        parse_json(b"[" * 100_000)
