"""Other ways to run the same solve, and the proof that it is the same."""

from fastreg.compiled.choosing import COMPILE_MODES, compile, pays, prepare
from fastreg.compiled.restorer import CompiledRestorer, rounded

__all__ = ["COMPILE_MODES", "CompiledRestorer", "compile", "pays", "prepare", "rounded"]
