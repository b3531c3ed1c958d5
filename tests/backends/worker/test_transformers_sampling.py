"""Which token comes next: bounds and penalties against what they say, shares against what they should be."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch: Any = pytest.importorskip("torch")

from pointsman.backends.worker.transformers_sampling import Sampler, Sampling  # noqa: E402  # after the skip

NUMBERS = (0.0, 3.0, 2.0, -1.0, 2.5)


def chosen(sampling: Sampling, times: int = 200, numbers: tuple[float, ...] = NUMBERS) -> list[int]:
    """Many first tokens of the same distribution, each by another seed."""
    seeded = [msgspec.structs.replace(sampling, seed=seed) for seed in range(times)]
    return [Sampler(one, ()).choose(torch.tensor(numbers)).token for one in seeded]


def test_no_temperature_is_the_likeliest() -> None:
    assert set(chosen(Sampling(temperature=0), 5)) == {1}


def test_the_same_seed_says_the_same() -> None:
    def said(seed: int | None) -> list[int]:
        sampler = Sampler(Sampling(seed=seed), ())
        return [sampler.choose(torch.zeros(1000)).token for _ in range(20)]

    assert said(7) == said(7)
    assert said(-7) == said(-7)
    assert said(7) != said(8)
    assert said(None) != said(None)


def test_shares_are_those_of_the_model() -> None:
    tokens = chosen(Sampling(), 3000)
    for token, share in enumerate(torch.tensor(NUMBERS).softmax(-1).tolist()):
        assert tokens.count(token) / len(tokens) == pytest.approx(share, abs=0.04)


def test_a_high_temperature_evens_and_a_low_one_sharpens() -> None:
    likeliest = [chosen(Sampling(temperature=t), 1000).count(1) for t in (0.2, 1.0, 10.0)]
    assert likeliest == sorted(likeliest, reverse=True)
    assert likeliest[2] < 320 < 850 < likeliest[0]


@pytest.mark.parametrize(
    ("sampling", "possible"),
    [
        (Sampling(top_k=1, temperature=5), {1}),
        (Sampling(top_k=2, temperature=5), {1, 4}),
        (Sampling(top_k=99, temperature=5), {0, 1, 2, 3, 4}),
        (Sampling(top_p=0.0, temperature=5), {1}),
        (Sampling(top_p=0.5), {1, 4}),
        (Sampling(top_p=0.8), {1, 4, 2}),
        (Sampling(top_k=3, top_p=0.6), {1, 4}),
        (Sampling(min_p=0.5), {1, 4}),
        (Sampling(min_p=1.0), {1}),
        (Sampling(logit_bias=((3, 100.0),)), {3}),
        (Sampling(logit_bias=((1, -100.0), (4, -100.0)), top_k=1), {2}),
    ],
)
def test_bounds(sampling: Sampling, possible: set[int]) -> None:
    assert set(chosen(sampling)) == possible


@settings(max_examples=25)
@given(st.lists(st.floats(-5, 5), min_size=300, max_size=600), st.floats(0.01, 0.999))
def test_top_p_is_exact_however_many_it_takes(numbers: list[float], top_p: float) -> None:
    """Whether the few that are looked at first are enough or not."""
    logits = torch.tensor(numbers)
    shares = logits.softmax(-1).sort(descending=True)
    kept = int((shares.values.cumsum(-1) - shares.values < top_p).sum())
    least = shares.values[kept - 1] * (1 - 1e-5)
    for seed in range(3):
        token = Sampler(Sampling(top_p=top_p, seed=seed), ()).choose(logits.clone()).token
        assert logits.softmax(-1)[token] >= least


def test_penalties() -> None:
    def two(sampling: Sampling, prompt: tuple[int, ...] = ()) -> list[int]:
        sampler = Sampler(sampling, prompt)
        return [sampler.choose(torch.tensor(NUMBERS)).token for _ in range(2)]

    assert two(Sampling(temperature=0)) == [1, 1]
    assert two(Sampling(temperature=0, presence_penalty=0.6)) == [1, 4]
    assert two(Sampling(temperature=0, frequency_penalty=0.6)) == [1, 4]
    assert two(Sampling(temperature=0, frequency_penalty=0.4)) == [1, 1]
    assert two(Sampling(temperature=0, repeat_penalty=1.3)) == [1, 4]
    assert two(Sampling(temperature=0, repeat_penalty=1.3), prompt=(1,)) == [4, 1]
    assert two(Sampling(temperature=0, presence_penalty=0.6), prompt=(1,)) == [1, 4]  # a prompt is not what was said


def test_probabilities_are_the_models_own() -> None:
    sampling = Sampling(temperature=0, logit_bias=((3, 100.0),), top_logprobs=2)
    said = Sampler(sampling, ()).choose(torch.tensor(NUMBERS))
    expected = torch.tensor(NUMBERS).log_softmax(-1).tolist()
    assert said.token == 3
    assert said.logprob == pytest.approx(expected[3])
    assert dict(said.top) == pytest.approx({1: expected[1], 4: expected[4]})
    assert Sampler(Sampling(top_logprobs=0), ()).choose(torch.tensor(NUMBERS)).top == ()
