"""Which files of a hub's repository make a model. Pure.

Knows: the names that weights, configurations and tokenizers go by. Does not know: the hub's address, how files travel.

The choice, numbered as in `chosen`:
1. patterns are given → the files that match one, caseless, `*` matching `/` too
2. there are safetensors → those, with the small files beside them; Mistral's second copy of the same weights left out
3. there is one GGUF file, or the parts of one → that
4. there are several → whoever asks must say which
5. there are other weights (`*.bin`) → those, with the small files; a trainer's leavings left out
"""

import re
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from pointsman.sources import manifest
from pointsman.sources.base import fetch_failed, megabytes
from pointsman.types import Value

SMALL = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.spm")
PROSE = ("readme*", "license*", "notice*", "requirements*", "*/*readme*")
LEAVINGS = (
    "training_args.bin",
    "optimizer.*",
    "scheduler.*",
    "rng_state*",
    "trainer_state.json",
    "original/*",
    "onnx/*",
)
SHARD = re.compile(r"^(.*)-(\d{5})-of-(\d{5})\.gguf$")
MOST_SHOWN = 12


class HubFile(Value, frozen=True):
    """One file of a repository. `sha256` is empty where the hub knows only `git_id`, the SHA-1 of git's blob."""

    path: str
    size_bytes: int
    sha256: str = ""
    git_id: str = ""

    @property
    def pin(self) -> str:
        """What its bytes must hash to, as a file name."""
        return self.sha256 or self.git_id


def chosen(files: tuple[HubFile, ...], include: tuple[str, ...], shown: str) -> tuple[HubFile, ...]:
    """The files to fetch, by path. Raises UpstreamError `fetch_failed` that lists what there is."""
    if include:  # 1
        picked = _matching(files, include)
        if not picked:
            raise fetch_failed(f"{shown}: no file matches {', '.join(include)}; correct `include`. {_listed(files)}")
        return _safe(picked, shown)
    useful = tuple(file for file in files if not _matches(file, (*PROSE, *LEAVINGS)))
    small = _matching(useful, SMALL)
    if tensors := _without_twins(_matching(useful, ("*.safetensors",))):  # 2
        return _safe((*tensors, *small), shown)
    ggufs = _matching(useful, ("*.gguf",))
    if ggufs and first_shard(ggufs) is not None:  # 3
        return _safe(ggufs, shown)
    if ggufs:  # 4
        raise fetch_failed(f"{shown}: has {len(ggufs)} GGUF files; name one by `include`. {_listed(ggufs)}")
    if others := _matching(useful, ("*.bin",)):  # 5
        return _safe((*others, *small), shown)
    raise fetch_failed(f"{shown}: has no weights that an engine here reads; name files by `include`. {_listed(files)}")


def opened(files: tuple[HubFile, ...]) -> str:
    """What an engine is given: the only file, the first part of a split GGUF, else `.` for the folder."""
    return first_shard(files) or "."


def first_shard(files: tuple[HubFile, ...]) -> str | None:
    """The path of a single file, or of the first of all the parts of one GGUF file."""
    if len(files) == 1:
        return files[0].path
    shards = [SHARD.match(file.path) for file in sorted(files, key=lambda file: file.path)]
    whole = {(shard[1], shard[3]) for shard in shards if shard}
    is_one = len(whole) == 1 and all(shards) and len(shards) == int(next(iter(whole))[1])
    return min(file.path for file in files) if is_one else None


def _matching(files: tuple[HubFile, ...], patterns: tuple[str, ...]) -> tuple[HubFile, ...]:
    return tuple(file for file in files if _matches(file, patterns))


def _matches(file: HubFile, patterns: tuple[str, ...]) -> bool:
    """Caseless: the same quantisation is `Q4_K_M` to one and `q4_k_m` to another."""
    return any(fnmatchcase(file.path.lower(), pattern.lower()) for pattern in patterns)


def _without_twins(tensors: tuple[HubFile, ...]) -> tuple[HubFile, ...]:
    """Without `consolidated*.safetensors` where the same weights lie there as `model*.safetensors`."""
    if not _matching(tensors, ("model*",)):
        return tensors
    return tuple(file for file in tensors if not _matches(file, ("consolidated*",)))


def _safe(files: tuple[HubFile, ...], shown: str) -> tuple[HubFile, ...]:
    """The same, if every path stays inside the folder it is written to."""
    for file in files:
        parts = PurePosixPath(file.path).parts
        odd = any(part in ("..", manifest.NAME) or "\\" in part or not part.isprintable() for part in parts)
        if odd or not parts or file.path.startswith("/"):
            raise fetch_failed(f"{shown}: lists {file.path!r}, which is no plain path; do not trust this repository")
        if not file.pin:
            raise fetch_failed(f"{shown}: {file.path} comes without a hash; use another hub")
    return tuple(sorted(files, key=lambda file: file.path))


def _listed(files: tuple[HubFile, ...]) -> str:
    names = [f"{file.path} ({megabytes(file.size_bytes)})" for file in files]
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return f"There are {', '.join(names[:MOST_SHOWN])}{more}" if names else "It is empty"
