"""Sound files to samples and back."""

import io
import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest

from pointsman.backends.worker import media
from pointsman.backends.worker.media import AudioFormat, Pcm
from pointsman.errors import RequestError
from pointsman.testing.samples import tone, wav

RATE = 22_050


def heard(data: bytes) -> Pcm:
    samples = np.concatenate([piece.samples for piece in media.pieces(data, "file", 7200)])
    return (samples * 32767).astype(np.int16)


def loudness(pcm: Pcm) -> float:
    return float(np.sqrt(np.square(pcm.astype(np.float64)).mean()))


def pitch_hz(pcm: Pcm, rate_hz: int) -> float:
    spectrum = np.abs(np.fft.rfft(pcm.astype(np.float64)))
    return float(spectrum.argmax() * rate_hz / len(pcm))


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac", "flac", "wav"])
def test_what_is_encoded_decodes_to_the_same_sound(audio_format: AudioFormat) -> None:
    spoken = tone(3, 440, RATE)
    chunks = list(media.encoded(iter(np.array_split(spoken, 3)), RATE, audio_format))
    assert len(chunks) >= (2 if audio_format in media.STREAMABLE else 1)
    back = heard(b"".join(chunks))
    assert len(back) / media.HEARING_HZ == pytest.approx(3, abs=0.1)
    assert pitch_hz(back, media.HEARING_HZ) == pytest.approx(440, abs=3)
    assert loudness(back) == pytest.approx(loudness(spoken), rel=0.1)


def test_pcm_is_24_khz_without_a_header() -> None:
    data = b"".join(media.encoded(iter([tone(1, 440, RATE)]), RATE, "pcm"))
    assert len(data) == pytest.approx(2 * 24_000, abs=100)
    assert pitch_hz(np.frombuffer(data, np.int16), 24_000) == pytest.approx(440, abs=3)


def test_the_wav_header_is_exact() -> None:
    (data,) = media.encoded(iter([tone(1, rate_hz=RATE)]), RATE, "wav")
    with wave.open(io.BytesIO(data)) as file:
        assert file.getparams()[:4] == (1, 2, RATE, RATE)
    assert int.from_bytes(data[4:8], "little") == len(data) - 8


def test_a_streamed_wav_begins_before_its_length_is_known() -> None:
    first, second = media.streamed_wav(iter([tone(1, rate_hz=RATE), tone(1, rate_hz=RATE)]), RATE)
    assert first.startswith(b"RIFF\xff\xff\xff\xff")
    assert len(heard(first + second)) == pytest.approx(2 * media.HEARING_HZ, abs=50)


@pytest.mark.parametrize("tempo", [0.55, 1.5, 3.0])
def test_stretching_keeps_the_pitch(tempo: float) -> None:
    made = media.stretched(tone(2, 440, RATE), RATE, tempo)
    assert len(made) / RATE == pytest.approx(2 / tempo, rel=0.03)
    assert pitch_hz(made, RATE) == pytest.approx(440, abs=10)


def test_pieces_are_cut_where_it_is_quiet_and_lose_nothing() -> None:
    loud, silence = tone(8), np.zeros(8_000, np.int16)
    recording = np.concatenate([loud, silence] * 5)
    pieces = list(media.pieces(wav(recording), "file", 7200, piece_s=6))
    assert [piece.start_s for piece in pieces] == [0.0, pytest.approx(8.25, abs=0.25), pytest.approx(16.75, abs=0.25)]
    assert pieces[-1].end_s == pytest.approx(42.5, abs=0.01)
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), recording.astype(np.float32) / 32768)


def test_memory_is_bounded_by_a_piece() -> None:
    recording = wav(np.tile(tone(1), 300))
    tracemalloc.start()
    for _ in media.pieces(recording, "file", 7200, piece_s=5):
        pass
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 0.6 * len(recording)


@pytest.mark.parametrize(
    "data",
    [
        b"no sound at all, just words " * 50,
        b"\0" * 5000,
        wav(tone(1))[:30],
        wav(np.zeros(0, np.int16)),
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/hostname\n#EXT-X-ENDLIST\n",
    ],
    ids=["words", "zeros", "header cut short", "no samples", "playlist"],
)
def test_what_cannot_be_decoded(data: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        list(media.pieces(data, "file", 7200))
    assert (caught.value.code, caught.value.param) == ("invalid_media", "file")


def test_a_list_of_files_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wav(tone(1)))
    for listing in (f"ffconcat version 1.0\nfile {secret}\n", f"#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n"):
        with pytest.raises(RequestError):
            list(media.pieces(listing.encode(), "file", 7200))


def test_a_recording_cut_short_counts_as_far_as_it_goes() -> None:
    whole = b"".join(media.encoded(iter([tone(4, rate_hz=RATE)]), RATE, "mp3"))
    assert len(heard(whole[: len(whole) // 2])) / media.HEARING_HZ == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize("audio_format", ["wav", "mp3"])
def test_too_long(audio_format: AudioFormat) -> None:
    data = b"".join(media.encoded(iter([tone(90, rate_hz=RATE)]), RATE, audio_format))
    with pytest.raises(RequestError, match="longer than 1 minutes"):
        list(media.pieces(data, "file", 60, piece_s=20))
