"""PNG files of 16 bits, which fastreg reads and writes itself."""

import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from fastreg.io import png


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.sampled_from([1, 3]),
    with_alpha=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_16_bit_png_of_any_size(height, width, channels, with_alpha, seed):
    samples = np.random.default_rng(seed).integers(0, 65536, (height, width, channels + with_alpha)).astype(np.uint16)
    data = png.encode_deep(samples)
    np.testing.assert_array_equal(png.decode_deep(png.split(data)), samples)
    # Pillow, which keeps the high bytes, agrees; of grey images it keeps everything
    seen = np.asarray(Pillow.open(io.BytesIO(data)))
    if channels == 1 and not with_alpha:
        np.testing.assert_array_equal(seen, samples[..., 0])
    elif channels == 3:
        np.testing.assert_array_equal(seen, samples >> 8)


def test_16_bit_png_with_all_filters():
    """Rows filtered by each of the five rules of the PNG specification, section 9.2, decode to the same samples."""
    import struct
    import zlib

    random = np.random.default_rng(3)
    samples = random.integers(0, 65536, (10, 6, 3)).astype(np.uint16)
    rows = samples.astype(">u2").view(np.uint8).reshape(10, -1).astype(int)
    stream = bytearray()
    for k, row in enumerate(rows):
        left = np.concatenate([np.zeros(6, int), row[:-6]])
        above = rows[k - 1] if k else np.zeros_like(row)
        corner = np.concatenate([np.zeros(6, int), above[:-6]])
        guess = left + above - corner
        distances = np.abs(guess - np.stack([left, above, corner]))
        paeth = np.stack([left, above, corner])[distances.argmin(0), np.arange(len(row))]
        predictor = [np.zeros_like(row), left, above, (left + above) // 2, paeth][k % 5]
        stream += bytes([k % 5]) + ((row - predictor) % 256).astype(np.uint8).tobytes()

    header = struct.pack(">IIBBBBB", 6, 10, 16, 2, 0, 0, 0)
    packed = zlib.compress(bytes(stream))
    chunks = ((b"IHDR", header), (b"IDAT", packed[:50]), (b"IDAT", packed[50:]), (b"IEND", b""))
    parts = [png.chunk(kind, body) for kind, body in chunks]
    np.testing.assert_array_equal(png.decode_deep(png.split(png.SIGNATURE + b"".join(parts))), samples)
