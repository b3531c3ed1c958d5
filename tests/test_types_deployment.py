"""What an ended child's log says to whom."""

import pytest

from pointsman.types_deployment import MAX_WORDS_CHARS, Exit

TRACEBACK = """loading
Traceback (most recent call last):
  File "/srv/engine.py", line 3, in <module>
    load()
    ^^^^^^
  File "/srv/engine.py", line 2, in load
    raise ValueError("no such file: x")
"""
PREFIXED = """(EngineCore pid=12) ERROR 11-21 17:00:01 [core.py:700]   File "/srv/vllm/core.py", line 691, in run
(EngineCore pid=12) ERROR 11-21 17:00:01 [core.py:700]     engine_core = EngineCoreProc(*args)
(EngineCore pid=12) ERROR 11-21 17:00:01 [core.py:700]               ^^^^^^^^^^^^^^^^^^^^^^
(EngineCore pid=12) ERROR 11-21 17:00:01 [core.py:700] torch.OutOfMemoryError: CUDA out of memory.
[rank0]:[W1121 17:00:02] Warning: destroy_process_group() was not called
"""


@pytest.mark.parametrize(
    ("log", "words", "fault"),
    [
        ("", "", ""),
        ("error: unknown model\n\n", "error: unknown model", ""),
        (f"{TRACEBACK}ValueError: no such file: x\n", "ValueError: no such file: x", "ValueError"),
        (f"{TRACEBACK}KeyboardInterrupt\n", "KeyboardInterrupt", "KeyboardInterrupt"),
        (f"{TRACEBACK}own.Odd: x\n", "own.Odd: x", ""),
        (f"{TRACEBACK}ValueError: of\n  two lines\nbye\n", "ValueError: of", "ValueError"),
        (TRACEBACK, "loading", ""),
        (f"{TRACEBACK}ValueError: x\n\nDuring handling of …:\n\n{TRACEBACK}OSError: y", "OSError: y", "OSError"),
        (PREFIXED, "torch.OutOfMemoryError: CUDA out of memory.", "torch.OutOfMemoryError"),
        ("ValueError: only mentioned\nno such file", "no such file", ""),
        ("x" * 9000, "x" * MAX_WORDS_CHARS, ""),
    ],
)
def test_one_line_is_for_everybody_and_no_frame_of_a_traceback(log: str, words: str, fault: str) -> None:
    ended = Exit(code=1, log_tail=log)
    assert (ended.last_words, ended.fault) == (words, fault)
