"""Energy of a chain of convolutions, and its gradient with respect to the image."""
