"""Energy and input gradient of a convolution chain."""
