"""Fixtures for tests of every folder."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _nobodys_settings(tmp_path_factory):
    """Decisions are those of a processor that was not measured: neither the user's settings nor those that ship count."""
    from fastreg.kernels import settings

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setattr(settings, "cpu_name", lambda: "nobody's")
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
