"""What the C++ tests run is built once."""

from __future__ import annotations

import pytest

from tests.cpp.building import Built, build


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Library, programs, clients and artefacts."""
    return build(tmp_path_factory.mktemp("cpp"))
