"""Mutated files become images or one line of a ValueError, within a bounded memory."""

from bench import fuzz


def test_mutated_files():
    faults = []
    read = fuzz.run(range(500), 0, lambda number, text: faults.append((number, text)) if text else None)
    assert faults == []
    assert 100 < read < 450
