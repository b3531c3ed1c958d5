"""Many answers at once, by a model that counts: what follows a token is the token plus one."""

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Protocol

import pytest

torch: Any = pytest.importorskip("torch")

from pointsman.backends.worker.server import Stop, Stopped  # noqa: E402  # after the skip
from pointsman.backends.worker.transformers_batch import Batch, Job, Row, shared  # noqa: E402  # after the skip
from pointsman.backends.worker.transformers_sampling import Sampler, Sampling  # noqa: E402  # after the skip
from pointsman.backends.worker.transformers_slots import Piece  # noqa: E402  # after the skip
from pointsman.errors import PointsmanError, UpstreamError  # noqa: E402  # after the skip

GREEDY = Sampling(temperature=0)
WORDS = 1000


class Counting:
    """Keeps what each slot holds, and says no more than it was given leave for. `passes`: the pieces of each step."""

    max_piece = 4

    def __init__(self, can_rewind: bool) -> None:
        self.can_rewind = can_rewind
        self.is_awake = True
        self.problem: Exception | None = None
        self.passes: list[tuple[Piece, ...]] = []
        self.held: dict[int, list[int]] = {}
        self.leave = threading.Semaphore(10_000)

    def run(self, pieces: Sequence[Piece]) -> Any:
        self.leave.acquire()
        if self.problem:
            raise self.problem
        self.passes.append(tuple(pieces))
        for piece in pieces:
            self._remember(piece)
        return torch.eye(WORDS)[[(piece.tokens[-1] + 1) % WORDS for piece in pieces]]

    def hidden(self, piece: Piece) -> Any:
        self._remember(piece)
        return torch.tensor([[float(token), 1.0] for token in piece.tokens])

    def _remember(self, piece: Piece) -> None:
        held = self.held.setdefault(piece.slot, [])
        assert len(held) >= piece.start, "a hole in the memory"
        self.held[piece.slot] = [*held[: piece.start], *piece.tokens]


class Scene:
    """A batch and those who ask it, each in a thread of its own."""

    def __init__(self, model: Counting, slots: int) -> None:
        self.model = model
        self.batch = Batch(model, slots)

    def ask(self, *prompt: int, max_tokens: int = 3, ends: frozenset[int] = frozenset()) -> "Asking":
        return Asking(self.batch, Job(prompt=prompt, max_tokens=max_tokens, sampling=GREEDY, ends=ends))


class Asking:
    def __init__(self, batch: Batch, job: Job) -> None:
        self.row = Row(job, Sampler(job.sampling, job.prompt))
        self.stop = Stop()
        self.said: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(batch,), daemon=True)
        self._thread.start()

    def _run(self, batch: Batch) -> None:
        try:
            with closing(batch.say(self.row, self.stop)) as saying:
                for chosen in saying:
                    if chosen is not None:
                        self.said.put(chosen.token)
        except (PointsmanError, Stopped) as error:
            self.error = error

    def all(self) -> list[int]:
        self._thread.join(10)
        assert not self._thread.is_alive()
        return [self.said.get() for _ in range(self.said.qsize())]


class Build(Protocol):
    def __call__(self, slots: int = 2, can_rewind: bool = True) -> Scene: ...


@pytest.fixture
def scene() -> Iterator[Build]:
    built: list[Scene] = []

    def build(slots: int = 2, can_rewind: bool = True) -> Scene:
        built.append(Scene(Counting(can_rewind), slots))
        return built[-1]

    yield build
    for one in built:
        one.model.leave.release(10_000)
        one.batch.close()


def test_one_answer(scene: Build) -> None:
    asking = scene().ask(5, 6, 7)
    assert asking.all() == [8, 9, 10]
    assert (asking.row.reason, asking.row.reused) == ("length", 0)


def test_a_token_that_ends_is_not_said(scene: Build) -> None:
    asking = scene().ask(5, max_tokens=50, ends=frozenset({8, 9}))
    assert asking.all() == [6, 7]
    assert asking.row.reason == "stop"


def test_answers_share_steps(scene: Build) -> None:
    it = scene()
    it.model.leave = threading.Semaphore(0)
    first, second = it.ask(10, max_tokens=20), it.ask(500, max_tokens=20)
    it.model.leave.release(100)
    assert first.all() == list(range(11, 31))
    assert second.all() == list(range(501, 521))
    assert sum(len(pieces) == 2 for pieces in it.model.passes) >= 18


def test_a_prompt_is_read_in_pieces_beside_an_answer_under_way(scene: Build) -> None:
    it = scene()
    it.model.leave = threading.Semaphore(3)
    talking = it.ask(10, max_tokens=30)
    while len(it.model.passes) < 3:
        pass
    reading = it.ask(*range(100, 111), max_tokens=1)
    it.model.leave.release(100)
    assert (talking.all(), reading.all()) == (list(range(11, 41)), [111])
    pieces = [piece for step in it.model.passes for piece in step if piece.tokens[0] >= 100]
    assert [len(piece.tokens) for piece in pieces] == [4, 4, 3]
    assert all(len(step) == 2 for step in it.model.passes if any(piece.tokens[0] >= 100 for piece in step))


def test_a_short_prompt_does_not_wait_for_a_long_one(scene: Build) -> None:
    it = scene()
    it.model.leave = threading.Semaphore(0)
    long = it.ask(*range(400), max_tokens=1)
    while not it.batch.busy:
        pass
    short = it.ask(500, 501, max_tokens=1)
    it.model.leave.release(4)
    assert short.said.get(timeout=5) == 502
    assert long.said.empty()
    it.model.leave.release(200)
    assert long.all() == [400]


def test_more_than_the_slots_wait_their_turn(scene: Build) -> None:
    it = scene(slots=2)
    asked = [it.ask(100 * i, max_tokens=5) for i in range(7)]
    assert [asking.all() for asking in asked] == [[100 * i + n for n in range(1, 6)] for i in range(7)]
    assert max(len(step) for step in it.model.passes) <= 2


def test_who_leaves_is_gone_before_the_next_step(scene: Build) -> None:
    it = scene(slots=1)
    it.model.leave = threading.Semaphore(2)
    leaving = it.ask(10, max_tokens=10_000)
    assert leaving.said.get(timeout=5) == 11
    leaving.stop.ask()
    leaving.all()
    assert isinstance(leaving.error, Stopped)
    steps = len(it.model.passes)
    it.model.leave.release(50)
    assert it.ask(500, max_tokens=1).all() == [501]
    assert len(it.model.passes) <= steps + 2


def test_who_leaves_while_waiting_is_never_begun(scene: Build) -> None:
    it = scene(slots=1)
    it.model.leave = threading.Semaphore(0)
    first, waiting = it.ask(10), it.ask(600)
    while not it.batch.busy:
        pass
    late = waiting if first.row.slot >= 0 else first  # whichever came second
    late.stop.ask()
    late.all()
    it.model.leave.release(50)
    assert (first if late is waiting else waiting).all()
    it.ask(1, max_tokens=1).all()
    begun = {piece.tokens[0] for step in it.model.passes for piece in step}
    assert late.row.job.prompt[0] not in begun


# ---------------------------------------------------------------- what is remembered


def test_a_conversation_goes_on_where_it_was(scene: Build) -> None:
    it = scene()
    first = it.ask(*range(10), max_tokens=3)
    said = first.all()
    second = it.ask(*range(10), *said, 700, 701, max_tokens=2)
    assert second.all() == [702, 703]
    assert second.row.reused == 12  # the last thing said was never read
    assert second.row.slot == first.row.slot


def test_one_token_is_read_anew_where_all_are_remembered(scene: Build) -> None:
    it = scene()
    it.ask(1, 2, 3, max_tokens=1).all()
    again = it.ask(1, 2, 3, max_tokens=1)
    assert (again.all(), again.row.reused) == ([4], 2)


def test_the_slot_that_remembers_most_is_taken_else_the_longest_unused(scene: Build) -> None:
    it = scene(slots=3)
    rows = [it.ask(*prompt, max_tokens=1) for prompt in [(1, 2, 3)]]
    rows[0].all()
    other = it.ask(9, 9, 9, max_tokens=1)
    other.all()
    assert other.row.slot != rows[0].row.slot
    assert (row := it.ask(1, 2, 5, max_tokens=1)).all() == [6]
    assert (row.row.slot, row.row.reused) == (rows[0].row.slot, 2)


def test_a_memory_that_cannot_rewind_is_never_reused(scene: Build) -> None:
    it = scene(can_rewind=False)
    it.ask(1, 2, 3, max_tokens=1).all()
    again = it.ask(1, 2, 3, max_tokens=1)
    assert (again.all(), again.row.reused) == ([4], 0)


def test_nothing_is_remembered_of_a_step_that_failed(scene: Build) -> None:
    it = scene(slots=1)
    it.ask(1, 2, 3, max_tokens=1).all()
    it.model.problem = UpstreamError("out of memory", code="out_of_memory")
    failed = it.ask(1, 2, 3, 4)
    failed.all()
    assert isinstance(failed.error, PointsmanError)
    assert failed.error.code == "out_of_memory"
    it.model.problem = None
    again = it.ask(1, 2, 3, max_tokens=1)
    assert (again.all(), again.row.reused) == ([4], 0)


@pytest.mark.parametrize(
    ("known", "asked", "common"), [((), (), 0), ((1, 2), (1, 2, 3), 2), ((1, 2, 3), (1, 2), 2), ((1, 5), (1, 6), 1)]
)
def test_shared(known: tuple[int, ...], asked: tuple[int, ...], common: int) -> None:
    assert shared(known, asked) == common


# ---------------------------------------------------------------- embeddings, chores, failures


def test_an_embedding_is_the_mean(scene: Build) -> None:
    it = scene()
    assert it.batch.embed((1, 2, 3, 4, 5, 6), Stop()) == [3.5, 1.0]
    assert it.ask(1, 2, 3, 4, 5, 6, 7, max_tokens=1).all() == [8]


def test_an_unknown_problem_fails_the_answers_and_not_the_thread(scene: Build) -> None:
    it = scene()
    it.model.problem = ZeroDivisionError("surprise")
    failed = it.ask(1)
    failed.all()
    assert isinstance(failed.error, PointsmanError)
    assert "ZeroDivisionError: surprise" in failed.error.message
    it.model.problem = None
    assert it.ask(1, max_tokens=1).all() == [2]


def test_nobody_is_answered_asleep(scene: Build) -> None:
    it = scene()
    it.model.is_awake = False
    failed = it.ask(1)
    failed.all()
    assert isinstance(failed.error, UpstreamError)
    assert failed.error.retryable
    assert "asleep" in failed.error.message


def test_a_chore_is_done_between_answers_and_forgets_them(scene: Build) -> None:
    it, done = scene(), []
    it.ask(1, 2, 3, max_tokens=1).all()
    it.batch.between(lambda: done.append(threading.current_thread().name))
    assert done == ["batch"]
    again = it.ask(1, 2, 3, max_tokens=1)
    assert (again.all(), again.row.reused) == ([4], 0)


def test_a_chore_is_refused_while_answers_are_under_way(scene: Build) -> None:
    it = scene()
    it.model.leave = threading.Semaphore(1)
    talking = it.ask(1, max_tokens=5)
    assert talking.said.get(timeout=5) == 2
    threading.Timer(0.05, lambda: it.model.leave.release(100)).start()
    with pytest.raises(UpstreamError, match="1 requests are under way") as caught:
        it.batch.between(lambda: None)
    assert caught.value.code == "sleep_failed"
    assert talking.all() == [3, 4, 5, 6]


def test_a_chores_problem_is_told(scene: Build) -> None:
    it = scene()
    with pytest.raises(PointsmanError, match="OSError: gone"):
        it.batch.between(lambda: (_ for _ in ()).throw(OSError("gone")))
    assert it.ask(1, max_tokens=1).all() == [2]


def test_it_ends(scene: Build) -> None:
    it = scene()
    it.ask(1, max_tokens=1).all()
    it.batch.close()
    assert not it.batch.thread.is_alive()
