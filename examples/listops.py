"""ListOps as the Long Range Arena generates it.

    [MAX 4 3 [MIN 2 3 ] 1 0 ]   ->   4

Nangia and Bowman 2018 (arXiv 1804.06028), with the rules of Tay et al. 2021 (arXiv 2011.04006): a
node is an operator with probability 1/4, if it is not at the greatest depth, and a digit
otherwise. An operator is MIN, MAX, MED or SM, each as likely, with 2 to `args` arguments, each a
node one deeper; the root has depth 1. Sequences are kept if their number of tokens, an operator
and its closing bracket being one each, is above `shortest` and below `longest`, both exclusive.
MED is the median, truncated to an integer; SM is the sum modulo 10. The defaults are those of the
published generator; no sequence occurs twice in what one generator draws.

The parentheses that the published files hold around every pair are left out, as published models
leave them out when they read the files.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
END = "]"
WORDS = (*map(str, range(10)), *OPERATORS, END)  # token i + 1 is WORDS[i]; 0 is padding
OPERATOR_SHARE = 0.25


@dataclass(frozen=True)
class Rules:
    """What sequences there are."""

    depth: int = 10
    args: int = 10
    shortest: int = 500
    longest: int = 2000

    def __post_init__(self) -> None:
        """Refuse rules that no sequence, or no operator, can follow."""
        if self.depth < 1 or self.args < 2 or self.longest - self.shortest < 2:
            raise ValueError(f"no sequence can follow {self}")


class _TooLongError(Exception):
    """A sequence grew to `longest`; it need not be finished to be refused."""


class Generator:
    """Draws distinct sequences; the same seed draws the same ones."""

    def __init__(self, rules: Rules, seed: int) -> None:
        self.rules, self.random, self.seen = rules, random.Random(seed), set[tuple[str, ...]]()

    def draw(self) -> tuple[str, ...]:
        """Return the words of one sequence that was not drawn before."""
        while True:
            words: list[str] = []
            try:
                self._grow(words, 1)
            except _TooLongError:
                continue
            found = tuple(words)
            if len(found) > self.rules.shortest and found not in self.seen:
                self.seen.add(found)
                return found

    def _grow(self, words: list[str], depth: int) -> None:
        if depth < self.rules.depth and self.random.random() <= OPERATOR_SHARE:
            words.append(self.random.choice(OPERATORS))
            for _ in range(self.random.randint(2, self.rules.args)):
                self._grow(words, depth + 1)
            words.append(END)
        else:
            words.append(str(self.random.randrange(10)))
        if len(words) >= self.rules.longest:
            raise _TooLongError

    def batch(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens [longest - 1, count], 0 behind the end, and labels [count]."""
        tokens = np.zeros((self.rules.longest - 1, count), np.uint8)
        labels = np.empty(count, np.int64)
        for i in range(count):
            words = self.draw()
            tokens[: len(words), i] = [WORDS.index(word) + 1 for word in words]
            labels[i] = value(words)
        return tokens, labels


def value(words: tuple[str, ...]) -> int:
    """Return what a sequence evaluates to."""
    stack: list[list[int]] = [[]]
    operators: list[str] = []
    for word in words:
        if word in OPERATORS:
            operators.append(word)
            stack.append([])
        elif word == END:
            arguments = stack.pop()
            stack[-1].append(_apply(operators.pop(), arguments))
        else:
            stack[-1].append(int(word))
    ((result,),) = stack
    return result


def _apply(operator: str, arguments: list[int]) -> int:
    if operator == "[MIN":
        return min(arguments)
    if operator == "[MAX":
        return max(arguments)
    if operator == "[SM":
        return sum(arguments) % 10
    return int(np.median(arguments))
