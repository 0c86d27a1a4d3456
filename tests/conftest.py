"""Fixtures for tests of every folder."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _nobodys_settings(tmp_path_factory):
    """Decisions are those of the stored settings: what `fastreg tune` wrote for this user does not count in tests."""
    from fastreg.kernels import settings

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        settings.load.cache_clear()
        yield


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
