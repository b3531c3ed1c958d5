"""A small world of graded answers with a known truth: three kinds of questions, three models good at one each."""

import json
from pathlib import Path

import numpy as np

from pointsman.learning.rows import Answer, Graded, graded

KINDS = {
    "code": ("write a python function that {} the list of {}", ("sorts", "reverses", "filters", "counts", "merges")),
    "maths": ("what is {} plus {} times the square root", ("seven", "eleven", "forty", "ninety", "twelve")),
    "talk": ("tell my friend {} a kind story about {}", ("Asha", "Ravi", "Meera", "John", "Kiran")),
}
THINGS = ("trains", "rivers", "apples", "numbers", "words", "houses", "stones", "birds", "books", "lamps")
STRENGTHS = {  # chance of a right answer
    "coder": {"code": 0.95, "maths": 0.3, "talk": 0.4},
    "reckoner": {"code": 0.2, "maths": 0.95, "talk": 0.3},
    "talker": {"code": 0.5, "maths": 0.5, "talk": 0.8},
}
COSTS = {"coder": 2.0, "reckoner": 1.0, "talker": 0.5}


def answers(size: int = 300, seed: int = 0, *, models: tuple[str, ...] = tuple(STRENGTHS)) -> list[Answer]:
    """`size` questions, each answered by every model; no question occurs under two seeds."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(size):
        kind = tuple(KINDS)[number % 3]
        form, words = KINDS[kind]
        things = generator.choice(THINGS, 2, replace=False)
        prompt = f"{form.format(generator.choice(words), things[0])} and {things[1]} {seed}-{number}"
        for model in models:
            right = generator.random() < STRENGTHS[model][kind]
            found.append(Answer(prompt=prompt, model=model, score=float(right), cost=COSTS[model], group=kind))
    return found


def world(size: int = 300, seed: int = 0, *, models: tuple[str, ...] = tuple(STRENGTHS)) -> Graded:
    """The same as a table."""
    return graded(answers(size, seed, models=models))


def write_rows(path: Path, rows: list[Answer]) -> Path:
    """The rows as JSON lines."""
    kept = ("prompt", "model", "score", "cost")
    path.write_text("".join(json.dumps({name: getattr(row, name) for name in kept}) + "\n" for row in rows))
    return path
