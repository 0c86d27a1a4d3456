"""The operations where the time goes: for each a reference in plain torch, and faster implementations that agree with it."""
