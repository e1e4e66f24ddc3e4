from xvectors.config.layout import shard_names


def test_names_are_padded_to_the_width_of_the_number():
    assert shard_names(11)[0] == "00-of-11"
    assert shard_names(9)[8] == "8-of-9"
