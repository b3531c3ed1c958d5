"""Texts that are no requests in the ten languages, to teach novelty: made by chance, and other languages' sentences.

Knows: how keyboards are mashed, what dumps look like. Does not know: the held-out set, which has noise of its own.
"""

import json
import random
import string
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq

EACH, FOREIGN = 250, 600
ROWS = ("asdfghjkl", "qwertyuiop", "zxcvbnm", "asdfjkl;", "qwertyuiopasdfghjklzxcvbnm")
LETTERS = (
    "कखगघचछजटडतदनपबमयरलवशसहािीुूे", "অআকখগঘচছজটডতদনপবমযরলশসহািীু", "கஙசஞடணதநபமயரலவழளறனாிீுூெ", "కఖగఘచజటడతదనపబమయరలవశసహాిీుూ",
    "ಕಖಗಘಚಜಟಡತದನಪಬಮಯರಲವಶಸಹಾಿೀುೂ", "കഖഗഘചജടഡതദനപബമയരലവശസഹാിീുൂ", "કખગઘચજટડતદનપબમયરલવશસહાિીુૂ", "ਕਖਗਘਚਜਟਡਤਦਨਪਬਮਯਰਲਵਸਹਾਿੀੁੂ",
    string.ascii_lowercase,
)  # fmt: skip
TAGS = "div span p li ul a td tr section svg path item node entry".split()
SIGNS = "!@#$%^&*()_+-=[]{}|;:,.<>?/~` ●■◆★☆♠♣→←↑↓"
OURS = frozenset("en hi ta te bn mr gu kn ml pa".split())
OTHERS = frozenset("as or ur ne si".split())


def noise(requests: Sequence[str], data: Path | None, seed: int) -> list[str]:
    """EACH of every kind, and foreign sentences where there are public data (CC0 and public domain)."""
    rng = random.Random(seed)  # noise, no secret
    words = [word for text in requests for word in text.split()]
    kinds: tuple[Callable[[], str], ...] = (
        lambda: _words(rng, lambda: rng.choice(ROWS), 3, 14, 8),
        lambda: _letters(rng),
        lambda: b64encode(rng.randbytes(rng.randint(12, 300))).decode(),
        lambda: rng.randbytes(rng.randint(6, 120)).hex(),
        lambda: "".join(_element(rng) for _ in range(rng.randint(3, 25))),
        lambda: _record(rng),
        lambda: "\n".join(_log_line(rng) for _ in range(rng.randint(2, 12))),
        lambda: "".join(rng.choices(SIGNS, k=rng.randint(3, 80))),
        lambda: " ".join(str(rng.randint(0, 10 ** rng.randint(1, 9))) for _ in range(rng.randint(1, 20))),
        lambda: " ".join([rng.choice(words)[:9]] * rng.randint(4, 25)),
        lambda: " ".join(rng.choices(words, k=rng.randint(4, 25))),
    )
    return [kind() for kind in kinds for _ in range(EACH)] + (_foreign(rng, data) if data else [])


def _foreign(rng: random.Random, data: Path) -> list[str]:
    voices = pq.read_table(data / "lid/common_voice_cc0.parquet").to_pylist()
    rights = pq.read_table(data / "lid/udhr2.parquet").to_pylist()
    near = [row["text"] for row in voices if row["lang"] in OTHERS]
    far = [row["text"] for row in rights if row["lang"] not in OURS]
    return rng.sample(near, min(FOREIGN, len(near))) + rng.sample(far, min(FOREIGN, len(far)))


def _words(rng: random.Random, letters: Callable[[], str], least: int, most: int, count: int) -> str:
    own = letters()
    return " ".join("".join(rng.choices(own, k=rng.randint(least, most))) for _ in range(rng.randint(1, count)))


def _letters(rng: random.Random) -> str:
    return _words(rng, lambda: rng.choice(LETTERS), 1, 11, 14)


def _name(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_lowercase + "_", k=rng.randint(2, 9)))


def _element(rng: random.Random) -> str:
    tag = rng.choice(TAGS)
    return f'<{tag} {rng.choice(("class", "id", "href", "d"))}="{_name(rng)}">{rng.choice(("", "x", "12"))}</{tag}>'


def _record(rng: random.Random) -> str:
    if rng.random() < 0.5:
        count = rng.randint(2, 14)
        return json.dumps(
            {_name(rng): rng.choice((rng.randint(0, 9999), _name(rng), None, True)) for _ in range(count)}
        )
    cells = [
        [str(rng.choice((rng.randint(0, 99999), _name(rng)))) for _ in range(5)] for _ in range(rng.randint(2, 15))
    ]
    return "\n".join(",".join(row) for row in cells)


def _log_line(rng: random.Random) -> str:
    hour = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"
    level = rng.choice(("INFO", "WARN", "DEBUG"))
    day = f"2026-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}"
    return f"{day}T{hour}Z {level} {rng.randbytes(4).hex()} {_name(rng)}={rng.randint(0, 9999)}"
