"""espeak-ng: small synthetic voices for many languages.

Knows: the shared library of `espeakng_loader` (by ctypes), else the `espeak-ng` program. Does not know: piper, formats.
espeak-ng is licensed under GPL-3: it is loaded in this child process only, which talks to the gateway over HTTP and is
never imported by it; without the package nothing of it is present.
The library has one global state, so one thread speaks at a time.
"""

import ctypes
import io
import shutil
import subprocess
import threading
import wave
from collections.abc import Callable
from typing import Any

import numpy as np

from pointsman.backends.worker.media import Pcm

VOICES = {
    "en": "en-us",
    "hi": "hi",
    "ta": "ta",
    "te": "te",
    "bn": "bn",
    "mr": "mr",
    "gu": "gu",
    "kn": "kn",
    "ml": "ml",
    "pa": "pa",
}
"""Language → espeak-ng's voice."""

NORMAL_WPM = 175
SLOWEST_WPM, FASTEST_WPM = 80, 450
"""What espeak-ng speaks natively."""

AUDIO_OUTPUT_SYNCHRONOUS = 2
DONT_EXIT = 0x8000
POS_CHARACTER = 1
CHARS_UTF8 = 1
RATE = 1
BUFFER_MS = 500

Say = Callable[[str, str, int], Pcm]
"""(text, voice, words per minute) → samples. Raises RuntimeError."""


class Espeak:
    """All of espeak-ng's voices. Raises ImportError where neither the library nor the program is installed."""

    def __init__(self) -> None:
        self.rate_hz = 22_050
        self._say: Say
        try:
            import espeakng_loader
        except ImportError:
            self._say = _program()
        else:
            library = _Library(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())
            self._say, self.rate_hz = library.say, library.rate_hz

    def speak(self, text: str, language: str, wpm: int) -> Pcm:
        """Samples at `rate_hz`; none where nothing in the text can be spoken."""
        return self._say(text, VOICES[language], wpm)


class _Library:
    """libespeak-ng by ctypes; function signatures from its speak_lib.h."""

    def __init__(self, library_path: str, data_path: str) -> None:
        self._lib: Any = ctypes.CDLL(library_path)
        self._lock = threading.Lock()
        self._heard: list[Pcm] = []
        signature = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._callback = signature(self._hear)  # kept: the library holds a bare pointer to it
        self.rate_hz: int = self._lib.espeak_Initialize(
            AUDIO_OUTPUT_SYNCHRONOUS, BUFFER_MS, data_path.encode(), DONT_EXIT
        )
        if self.rate_hz <= 0:
            raise RuntimeError(f"espeak-ng cannot start with its data at {data_path}")

    def say(self, text: str, voice: str, wpm: int) -> Pcm:
        raw = text.encode() + b"\0"
        with self._lock:
            self._heard = [np.zeros(0, np.int16)]
            self._lib.espeak_SetSynthCallback(self._callback)  # each time: another object may have set its own
            if self._lib.espeak_SetVoiceByName(voice.encode()):
                raise RuntimeError(f"espeak-ng has no voice {voice}")
            self._lib.espeak_SetParameter(RATE, wpm, 0)
            status = self._lib.espeak_Synth(raw, ctypes.c_size_t(len(raw)), 0, POS_CHARACTER, 0, CHARS_UTF8, None, None)
            if status:
                raise RuntimeError(f"espeak-ng failed with status {status}")
            return np.concatenate(self._heard)

    def _hear(self, samples: Any, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


def _program() -> Say:
    path = shutil.which("espeak-ng")
    if path is None:
        raise ImportError(
            "espeak-ng is missing: neither the package espeakng-loader nor the program espeak-ng is there"
        )

    def say(text: str, voice: str, wpm: int) -> Pcm:
        arguments = [path, "-v", voice, "-s", str(wpm), "--stdin", "--stdout"]
        ran = subprocess.run(arguments, input=text.encode(), capture_output=True, check=False)
        if ran.returncode:
            raise RuntimeError(f"espeak-ng failed: {ran.stderr.decode('utf-8', 'replace').strip()}")
        with wave.open(io.BytesIO(ran.stdout)) as spoken:
            return np.frombuffer(spoken.readframes(2**30), np.int16)

    return say
