"""The pointwise part of a step of a solver, in one pass over memory."""
