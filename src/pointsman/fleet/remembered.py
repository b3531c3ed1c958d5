"""What was measured in earlier runs, in one small file: so that the first admission of this one is right.

Knows: the file. Does not know: who measures, how figures are used. A figure belongs to what determines it: the settings
of the model that its engine reads, the size of its weights, this version of ours.
Invariants: the file is replaced whole, never written in place; one that cannot be read counts as empty, is said to be
(`problem`) and is written anew; a disk that cannot be written costs the figures and nothing else.
"""

import contextlib
import hashlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pointsman import __version__
from pointsman.fleet.memory import Sizes, most
from pointsman.settings import ManagedBase, ModelBase
from pointsman.settings_changes import terms_of
from pointsman.types import Value

MAX_ENTRIES = 500


class Figures(Value, frozen=True):
    """Of one deployment: memory when ready, on the host and on GPUs, and when asleep; how long a load and a wake took.

    0 and None: not measured yet.
    """

    host_bytes: int = 0
    gpu_bytes: Sizes = ()
    asleep_bytes: int = 0
    load_s: float | None = None
    wake_s: float | None = None


class _File(msgspec.Struct):
    version: int
    figures: dict[str, Figures]


VERSION = 1


def fingerprint(model: ModelBase) -> str:
    """Of all settings that its process is started with: they may change how much memory it takes."""
    settings = model.model_dump_json(exclude={"id", *terms_of(model)})
    return hashlib.sha256(f"{__version__} {settings}".encode()).hexdigest()[:24]


class Remembered:
    """`fingerprints`: deployment id → `fingerprint`; of a deployment that is not there, nothing is remembered.

    `problem`: why the file was ignored, empty where it was not.
    """

    def __init__(self, path: Path | None = None, fingerprints: Mapping[str, str] | None = None) -> None:
        self._path = path
        self._fingerprints = dict(fingerprints or {})
        self._figures: dict[str, Figures] = {}
        self._writing = threading.Lock()
        self.problem = ""
        if path is None:
            return
        try:
            file = msgspec.json.decode(path.read_bytes(), type=_File)
            self._figures = file.figures if file.version == VERSION else {}
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            self.problem = f"{path}: {type(error).__name__}: {error}"

    @classmethod
    def of_models(cls, path: Path, models: Mapping[str, ModelBase]) -> "Remembered":
        """`models`: deployment id → model."""
        return cls(path, {name: fingerprint(model) for name, model in models.items() if isinstance(model, ManagedBase)})

    def enrol(self, deployment_id: str, model: ModelBase) -> None:
        """Of this one, too."""
        if isinstance(model, ManagedBase):
            self._fingerprints[deployment_id] = fingerprint(model)

    def forget(self, deployment_id: str) -> None:
        """That there is such a deployment; what was measured stays, for another like it."""
        self._fingerprints.pop(deployment_id, None)

    def figures(self, deployment_id: str, weights_bytes: int) -> Figures:
        """What is known of it with these weights."""
        return self._figures.get(self._key(deployment_id, weights_bytes), Figures())

    def keep(self, deployment_id: str, weights_bytes: int, figures: Figures) -> bool:
        """Whether that changed anything. Memory once seen is expected again: a later, lower figure lowers nothing."""
        if deployment_id not in self._fingerprints:
            return False
        key = self._key(deployment_id, weights_bytes)
        old = self._figures.pop(key, Figures())
        new = self._figures[key] = Figures(  # last again: what was seen last is kept longest
            host_bytes=max(old.host_bytes, figures.host_bytes),
            gpu_bytes=most(old.gpu_bytes, figures.gpu_bytes),
            asleep_bytes=figures.asleep_bytes or old.asleep_bytes,
            load_s=old.load_s if figures.load_s is None else round(figures.load_s, 3),
            wake_s=old.wake_s if figures.wake_s is None else round(figures.wake_s, 3),
        )
        return new != old

    def write(self) -> None:
        """To disk. Blocks; from any thread."""
        if self._path is None:
            return
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with self._writing, contextlib.suppress(OSError):
            kept = dict(list(self._figures.items())[-MAX_ENTRIES:])
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(_File(version=VERSION, figures=kept))))
            temporary.replace(self._path)

    def _key(self, deployment_id: str, weights_bytes: int) -> str:
        return f"{self._fingerprints.get(deployment_id, '')}-{weights_bytes}"

    def __repr__(self) -> str:
        return f"Remembered({len(self._figures)} in {self._path or 'no file'})"
