"""Files are written whole or not at all."""

import os

import pytest

from fastreg.io import images


def test_replacing_is_whole_or_nothing(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fail():
        with images.replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        fail()
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]
    with images.replacing(path) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_text("after")
    assert path.read_text() == "after"
    assert os.listdir(tmp_path) == ["a.txt"]
