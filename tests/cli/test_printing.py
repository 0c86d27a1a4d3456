import io
import sys

import pytest

from fastreg.cli import main


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_text_can_be_printed_in_every_encoding(monkeypatch, encoding):
    errors = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stderr", errors)
    with pytest.raises(SystemExit) as caught:
        main(["restore", "Δ…\udcff.png", "-o", "out", "--task", "denoise", "--sigma", "0.1"])
    errors.flush()
    assert caught.value.code == 2
    assert errors.buffer.getvalue().startswith(b"fastreg: error: there is no file or folder ")
