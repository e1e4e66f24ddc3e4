import io

from xvectors.audio.wrapped_file import WrappedFile


def test_it_can_be_read_and_searched_and_closes_the_other_file():
    inner = io.BytesIO(b"audio")
    with WrappedFile(inner) as file:
        assert file.readable()
        assert file.seekable()
        assert not inner.closed
    assert inner.closed
