import numpy as np
import pytest

from fastreg.io import images


@pytest.fixture
def photos(tmp_path):
    """A folder of a colour, a grey and a deep image."""
    random = np.random.default_rng(0)
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name, channels, dtype in (("a.png", 3, "uint8"), ("b.tif", 1, "uint16"), ("sub/c.npy", 3, "float32")):
        pixels = 0.5 + 0.1 * random.standard_normal((channels, 24, 32)).astype(np.float32)
        images.write(images.Image(pixels.clip(0, 1), dtype=dtype), tmp_path / "in" / name)
    return tmp_path / "in"
