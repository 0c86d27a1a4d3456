"""A run that is killed again and again ends with the same bytes as one that is not."""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fastreg.batch import folder
from fastreg.io import images

SETTINGS = {"sigma": 0.1}


@pytest.fixture
def photos(tmp_path):
    """A folder of 60 images."""
    generator = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for k in range(60):
        pixels = generator.random((3, 8, 8), np.float32)
        images.write(images.Image(pixels), tmp_path / "in" / f"{k:02d}.{('png', 'tif', 'webp')[k % 3]}")
    return tmp_path / "in"


def contents(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def restore(photos, output):
    jobs = folder.plan([photos], output)
    left, known = folder.survey(jobs, SETTINGS)
    with folder.running(output, SETTINGS, 60 * 64):
        work = lambda image: (dataclasses.replace(image, pixels=1 - image.pixels), {})  # noqa: E731
        return [outcome.status for outcome in (*known, *folder.run(left, images.read, work, SETTINGS))]


def killed(photos, output, moment):
    """In a process of its own, killed at a system call: before a file is made, is complete, or takes its place."""
    child = os.fork()
    if child == 0:
        calls = 0

        def counted(call):
            def kill(*arguments, **options):
                nonlocal calls
                calls += 1
                if calls == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **options)

            return kill

        for name in ("fsync", "replace", "unlink", "mkdir"):
            setattr(os, name, counted(getattr(os, name)))
        try:
            restore(photos, output)
        finally:
            os._exit(1)
    return os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def test_killed_at_any_system_call(photos, tmp_path):
    assert restore(photos, tmp_path / "whole") == ["done"] * 60
    expected = contents(tmp_path / "whole")
    assert len(expected) == 120  # images and notes
    moments = random.Random(0).sample(range(1, 80), 10)
    for moment in moments:
        assert killed(photos, tmp_path / "out", moment)
        assert folder.unfinished(tmp_path / "out", SETTINGS) in (60 * 64, None)
    statuses = restore(photos, tmp_path / "out")
    assert set(statuses) == {"done", "skipped"} and statuses.count("skipped") > 20
    assert contents(tmp_path / "out") == expected


@pytest.mark.slow
def test_killed_at_random_moments(photos, prior, tmp_path):
    def start(output):
        options = ("--task", "denoise", "--sigma", "0.1", "--prior", prior)
        command = (sys.executable, "-m", "fastreg.cli", "restore", str(photos), "-o", str(output), *options)
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    assert start(tmp_path / "whole").wait() == 0
    moments = random.Random(0)
    for k in range(10):
        process = start(tmp_path / "out")
        enough = 6 * k + moments.randint(1, 3)  # the process is killed soon after it has written some more
        while process.poll() is None and len(list((tmp_path / "out").glob("[0-9]*"))) < enough:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.02))
        process.kill()
        process.wait()
    assert start(tmp_path / "out").wait() == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
