"""RAW files for tests."""

import numpy as np
import tifffile
import torch

from fastreg.operators import Mosaic

BLACK, WHITE, NEUTRAL = 64, 4095, (0.5, 1.0, 0.8)  # what a white object gives
XYZ_TO_SRGB = (3.2405, -1.5371, -0.4985, -0.9693, 1.8760, 0.0416, 0.0556, -0.2040, 1.0572)
COLOURS = torch.rand(1, 3, 40, 52, generator=torch.Generator().manual_seed(0))


def write_dng(path, pattern, orientation=1, image=COLOURS, letters=None, black=BLACK):
    """A DNG of a sensor with this pattern, that saw an image of linear colours."""
    light = Mosaic(pattern)(image * torch.tensor(NEUTRAL).reshape(3, 1, 1))[0, 0].numpy()
    samples = (black + light * (WHITE - black)).round().astype(np.uint16)

    def rational(values):
        return tuple(number for value in values for number in (round(value * 10000), 10000))

    codes = bytes("rgb".index(letter) for letter in letters or pattern)
    side = int(len(codes) ** 0.5)
    tags = [
        (33421, 3, 2, (side, side)),
        (33422, 1, len(codes), codes),
        (50706, 1, 4, bytes([1, 4, 0, 0])),
        (50708, 2, 0, "Test camera"),
        (50714, 3, 1, (black,)),
        (50717, 3, 1, (WHITE,)),
        (50728, 5, 3, rational(NEUTRAL)),
        (50721, 10, 9, rational(XYZ_TO_SRGB)),
        (50778, 3, 1, (21,)),
        (274, 3, 1, (orientation,)),
    ]
    extra = [(*tag, True) for tag in tags]
    tifffile.imwrite(path, samples, photometric=32803, extratags=extra, metadata=None, software=False)
