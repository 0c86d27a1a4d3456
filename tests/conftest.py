"""Fixtures for tests of every folder."""

import pytest


@pytest.fixture
def run(capsys):
    """Run the command line in this process; returns exit code, output and errors."""
    from fastreg.cli import main

    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return caught.value.code, captured.out, captured.err

    return call
