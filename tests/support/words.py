"""Whether a word can hold a coefficient, by its definition."""

from __future__ import annotations


def held(whole, word, frac):
    """Return whether some magnitude and shift give the number K, as `program.words` says."""
    plain = word.form == "plain"
    zeros = [frac - word.bits + 1] if plain else range(frac + 1)
    sizes = (abs(whole), 2**frac - abs(whole))  # the second: from one
    return any(
        0 <= size >> z < 2 ** (word.bits - 1) and size >> z << z == size
        for size in sizes
        for z in zeros
    )
