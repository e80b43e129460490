"""The data of the examples: labels by an independent evaluation, lengths, and repeatability."""

from __future__ import annotations

import re
import statistics

import numpy as np
import pytest
import tasks
from listops import OPERATORS, WORDS, Generator, Rules, value
from tasks import TASKS, Options

SMALL = {"size": (40, 30)}


@pytest.fixture
def mnist(tmp_path):
    """Return the path of an archive like mnist.npz, of a few random images."""
    rng = np.random.default_rng(5)
    parts = {"train": 12, "test": 7}
    images = {f"x_{p}": rng.integers(0, 256, (n, 28, 28), np.uint8) for p, n in parts.items()}
    labels = {f"y_{p}": rng.integers(0, 10, n, np.uint8) for p, n in parts.items()}
    np.savez(tmp_path / "mnist.npz", **images, **labels)
    return tmp_path / "mnist.npz"


def evaluated(words):
    """Evaluate a ListOps sequence by turning it into a Python expression."""
    names = {"[MIN": "least(", "[MAX": "most(", "[MED": "median(", "[SM": "total(", "]": "),"}
    text = "".join(names.get(word, f"{word},") for word in words).removesuffix(",")
    functions = {
        "least": lambda *a: sorted(a)[0],
        "most": lambda *a: sorted(a)[-1],
        "median": lambda *a: int(statistics.median(a)),
        "total": lambda *a: int(str(sum(a))[-1]),
    }
    return eval(text, {"__builtins__": {}}, functions)


def test_listops_by_hand():
    for text, want in {
        "7": 7,
        "[MAX 4 3 [MIN 2 3 ] 1 0 ]": 4,
        "[MED 1 4 ]": 2,  # 2.5, truncated
        "[MED 9 0 5 ]": 5,
        "[SM 9 8 7 ]": 4,
        "[MIN 5 [SM 5 5 ] 3 ]": 0,
    }.items():
        words = tuple(text.split())
        assert value(words) == evaluated(words) == want


@pytest.mark.parametrize("rules", [Rules(), Rules(4, 5, 8, 60), Rules(2, 2, 0, 5)], ids=str)
def test_listops_follows_its_rules(rules):
    generator, found = Generator(rules, seed=1), set()
    for _ in range(20 if rules == Rules() else 200):
        words = generator.draw()
        assert rules.shortest < len(words) < rules.longest
        assert value(words) == evaluated(words)
        assert words not in found
        found.add(words)
        depth, counts = 1, [0]
        for word in words:
            counts[-1] += word != "]"
            if word in OPERATORS:
                depth, counts = depth + 1, [*counts, 0]
                assert depth <= rules.depth
            elif word == "]":
                depth, arguments = depth - 1, counts.pop()
                assert 2 <= arguments <= rules.args
        assert depth == 1
        assert counts == [1]


def test_listops_has_every_operator_and_count_as_often_as_the_rules_say():
    generator = Generator(Rules(3, 4, 2, 100), seed=3)
    drawn = [generator.draw() for _ in range(4000)]
    words = [word for sequence in drawn for word in sequence]
    share = {word: words.count(word) / len(words) for word in WORDS}
    assert [share[op] for op in OPERATORS] == pytest.approx([share["]"] / 4] * 4, rel=0.1)
    digits = [share[word] for word in WORDS[:10]]
    assert digits == pytest.approx([np.mean(digits)] * 10, rel=0.1)


@pytest.mark.parametrize("rules", [{"args": 1}, {"depth": 0}, {"shortest": 9, "longest": 10}])
def test_listops_refuses_rules_that_nothing_follows(rules):
    with pytest.raises(ValueError, match="no sequence can follow"):
        Rules(**rules)


@pytest.mark.parametrize("name", TASKS)
def test_the_same_seed_gives_the_same_data_and_another_seed_others(name, mnist):
    def drawn(seed):
        task = TASKS[name](
            Options(mnist, seed=seed, length=0 if name != "listops" else 60, **SMALL)
        )
        data = task.train(0), task.train(1), task.test
        return [array for part in data for array in (part.x, part.y)]

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    by_seed = name in ("psmnist", "adding", "copy", "listops")
    assert np.array_equal(first[0], other[0]) != by_seed
    fresh = name in ("adding", "copy")
    assert np.array_equal(first[0], first[2]) != fresh


@pytest.mark.parametrize("name", TASKS)
def test_shapes_are_those_of_the_task(name, mnist):
    task = TASKS[name](Options(mnist, length=50, **SMALL))
    steps = {"rows": 28, "image": 1, "static": 6, "digits": 64, "adding": 50}
    steps = {**steps, "copy": 70, "listops": 50}.get(name, 784)
    for data in (task.train(0), task.test):
        x = task.encode(data.x)
        assert x.shape == (steps, len(data), task.inputs)
        assert x.min() >= 0
        assert 0.5 < x.max() * task.scale <= 1
        part = data.take(slice(3, 5))
        np.testing.assert_array_equal(part.x, data.x[:, 3:5])
        want = data.y[:, 3:5] if task.target == "steps" else data.y[3:5]
        np.testing.assert_array_equal(part.y, want)
        if task.target != "number":
            assert data.y.max() < task.outputs


@pytest.mark.parametrize("length", [2, 3, 100])
def test_adding_adds_the_two_marked_numbers_one_of_each_half(length):
    data = tasks.adding(500, length, np.random.default_rng(0))
    assert set(np.unique(data.x[..., 1])) <= {0.0, 1.0}
    for i in range(500):
        first, second = np.flatnonzero(data.x[:, i, 1])
        assert first < length // 2 <= second
        assert data.y[i, 0] == data.x[first, i, 0] + data.x[second, i, 0]
    if length == 100:
        assert np.mean((data.y - 1) ** 2) == pytest.approx(1 / 6, rel=0.1)
    with pytest.raises(ValueError, match="two steps"):
        tasks.adding(1, 1, np.random.default_rng(0))


@pytest.mark.parametrize("cue", ["held", "once"])
def test_copy_wants_the_first_ten_symbols_at_the_end(cue):
    data = tasks.copy(300, 40, np.random.default_rng(0), cue)
    x = tasks.one_hot(data.x[..., 0], 10)
    assert x.shape == (60, 300, 10)
    assert (x.sum(2) == 1).all()
    symbols = x.argmax(2)
    assert set(np.unique(symbols[:10])) == set(range(1, 9))
    assert (symbols[10:49] == 0).all()
    assert (symbols[49] == (9 if cue == "once" else 0)).all()
    assert (symbols[50:] == (0 if cue == "once" else 9)).all()
    np.testing.assert_array_equal(data.y[50:], symbols[:10])
    assert (data.y[:50] == 0).all()
    with pytest.raises(ValueError, match="no copy problem"):
        tasks.copy(1, 40, np.random.default_rng(0), "never")


def test_words_become_one_of_as_many_ones_and_padding_none():
    task = TASKS["listops"](Options(length=60, **SMALL))
    x = task.encode(task.test.x)
    ends = (task.test.x[..., 0] > 0).sum(0)
    for i, end in enumerate(ends):
        assert 15 < end <= 60
        assert (x[:end, i].sum(1) == 1).all()
        assert not x[end:, i].any()
        assert evaluated([WORDS[k] for k in x[:end, i].argmax(1)]) == task.test.y[i]


def test_nothing_that_is_tested_on_was_trained_on():
    for name in ("digits", "adding", "copy", "listops"):
        task = TASKS[name](Options(length=60, **SMALL))
        train = {task.train(epoch).x[:, i].tobytes() for epoch in range(3) for i in range(40)}
        assert not train & {task.test.x[:, i].tobytes() for i in range(len(task.test))}


def test_pixels_are_read_in_order_and_permuted_alike_for_all(mnist):
    with np.load(mnist) as file:
        images = file["x_test"]
    plain, rows, permuted = (TASKS[n](Options(mnist)).test.x for n in ("smnist", "rows", "psmnist"))
    for i, image in enumerate(images):
        np.testing.assert_array_equal(plain[:, i, 0], image.reshape(-1))
        np.testing.assert_array_equal(rows[:, i], image)
    order = np.random.default_rng(0).permutation(784)
    np.testing.assert_array_equal(permuted, plain[order])
    assert (permuted != plain).any()


def test_without_the_full_mnist_there_are_a_thousand_images_to_test_with():
    for name, steps in (("smnist", 784), ("psmnist", 784), ("rows", 28)):
        task = TASKS[name](Options())
        assert task.test.x.shape[:2] == (steps, 1000)
        with pytest.raises(ValueError, match=re.escape("--mnist")):
            task.train(0)
    with np.load(tasks.SHIPPED) as file:
        np.testing.assert_array_equal(TASKS["smnist"](Options()).test.x, file["x"])
        np.testing.assert_array_equal(
            TASKS["rows"](Options()).test.x.swapaxes(0, 1).reshape(1000, 784), file["x"][..., 0].T
        )


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    task, (x, y) = TASKS["digits"](Options()), load_digits(return_X_y=True)
    sizes = len(task.train(0)), len(task.test)
    assert sizes == (1437, 360)
    both = np.concatenate([task.train(0).x, task.test.x], 1)[..., 0].T
    labels = np.concatenate([task.train(0).y, task.test.y])
    mine = sorted((row.tobytes(), int(label)) for row, label in zip(both, labels, strict=True))
    theirs = zip(x.astype(np.uint8), y, strict=True)
    assert mine == sorted((row.tobytes(), int(label)) for row, label in theirs)
