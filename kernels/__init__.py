"""The hot operations: for each one a plain-torch reference and the fast paths that agree with it."""
