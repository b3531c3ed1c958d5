"""Public graded answers as tables, and the dumb rules that a router must beat on them.

Prices are list prices of the time, dollars a million output tokens; a token is taken as four characters. They turn
lengths of answers that were really given into costs; the ranking of models by cost is theirs, not ours.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

from pointsman.learning.rows import Answer, Graded, graded

PRICES = {
    "gemini-1.5-pro-002": 5.0, "gemini-1.5-flash-002": 0.30, "Meta-Llama-3_1-70B-Instruct": 0.88,
    "Meta-Llama-3_1-8B-Instruct": 0.18, "Mixtral-8x7B-Instruct-v0.1": 0.60, "Mistral-7B-Instruct-v0.2": 0.20,
    "Phi-3-mini-4k-instruct": 0.10, "Qwen1.5-72B-Chat": 0.90, "Qwen1.5-7B-Chat": 0.20, "c4ai-command-r-v01": 1.50,
    "jamba-1.5-large": 8.0,
}  # fmt: skip
WEAK, STRONG = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"
SMALL, LARGE = "Meta-Llama-3_1-8B-Instruct", "Meta-Llama-3_1-70B-Instruct"
ZERO_NAMES = {SMALL: "Meta-Llama-3.1-8B-Instruct", LARGE: "Meta-Llama-3.1-70B-Instruct"}

Rows = list[dict[str, Any]]


def _rows(data: Path, name: str) -> Rows:
    found: Rows = parquet.read_table(data / name).to_pylist()
    return found


def gold(data: Path) -> Graded:
    """1,500 questions of MMLU, Mixtral-8x7B and GPT-4, as RouteLLM publishes them; groups are subjects."""
    return graded(
        [
            Answer(prompt=row["prompt"], model=model, score=float(row[model]), group=row["domain"])
            for row in _rows(data, "routellm/mmlu_gold1500.parquet")
            for model in (WEAK, STRONG)
        ]
    )


def llmrouter(data: Path) -> Graded:
    """3,300 questions of 11 tasks, nine open models; groups are tasks; cost is the price alone."""
    prices = json.loads((data / "llmrouter/prices.json").read_text(encoding="utf-8"))
    rows = _rows(data, "llmrouter/scores.parquet")
    models = [name.removeprefix("score|") for name in rows[0] if name.startswith("score|")]
    return graded(
        [
            Answer(
                prompt=row["question"],
                model=model,
                score=float(np.clip(row[f"score|{model}"], 0, 1)),
                cost=prices[model]["output_price"],
                group=row["task_name"],
            )
            for row in rows
            for model in models
        ]
    )


def mmlu_pro(data: Path, models: tuple[str, ...] = tuple(PRICES)) -> Graded:
    """4,182 questions with their options; cost is the price of the answer really given; groups are categories."""
    found = []
    tables = (_rows(data, f"mmlu_pro/{name}.parquet") for name in ("questions", "correct", "output_chars"))
    for question, correct, chars in zip(*tables, strict=True):
        if any(correct[model] < 0 for model in models):  # somebody was not asked
            continue
        options = "\n".join(f"{chr(65 + at)}. {text}" for at, text in enumerate(json.loads(question["options"])))
        for model in models:
            cost = PRICES[model] * (chars[model] / 4 + 10) / 1e6
            text = f"{question['question']}\n{options}"
            found.append(
                Answer(prompt=text, model=model, score=float(correct[model]), cost=cost, group=question["category"])
            )
    return graded(found)


def zeroeval(data: Path) -> Graded:
    """554 hard questions of MATH; the two sizes of one model that MMLU-Pro has too, under its names."""
    tables = (_rows(data, f"zeroeval/{name}.parquet") for name in ("questions", "correct"))
    return graded(
        [
            Answer(prompt=question["question"], model=model, score=float(correct[name]))
            for question, correct in zip(*tables, strict=True)
            for model, name in ZERO_NAMES.items()
            if correct[name] >= 0
        ]
    )


def without_groups(table: Graded) -> Graded:
    """What a profile may see: the prompt alone."""
    return Graded(
        prompts=table.prompts, models=table.models, scores=table.scores, costs=table.costs,
        latencies_ms=table.latencies_ms,
    )  # fmt: skip


def group_means(table: Graded, train: Any, test: Any, prior: float = 10.0) -> Any:
    """Shrunken mean score of the group that a question is known to be of, `(n, M)`: told, not recognised."""
    groups = np.array(table.groups)
    overall = table.scores[train].mean(0)
    found = np.tile(overall, (len(test), 1))
    for name in np.unique(groups[test]):
        inside = table.scores[train][groups[train] == name]
        found[groups[test] == name] = (inside.sum(0) + prior * overall) / (len(inside) + prior)
    return found


def word_ridge(table: Graded, train: Any, test: Any, penalty: float = 10.0) -> Any:
    """TF-IDF of words and pairs, ridge regression of the scores, `(n, M)`."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge

    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    seen = vectors.fit_transform([table.prompts[row] for row in train])
    model = Ridge(alpha=penalty).fit(seen, table.scores[train])
    return model.predict(vectors.transform([table.prompts[row] for row in test]))


def length_line(table: Graded, train: Any, test: Any) -> Any:
    """Scores linear in the logarithm of the prompt's length, `(n, M)`."""
    logs = np.log1p([len(prompt) for prompt in table.prompts])
    design = np.column_stack((np.ones_like(logs), logs))
    weights, *_ = np.linalg.lstsq(design[train], table.scores[train], rcond=None)
    return design[test] @ weights
