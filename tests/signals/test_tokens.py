"""Estimates beside real counts."""

import pytest
from tests.signals.asking import CLASSIFIER, asked, conversation, measured

from pointsman.signals.tokens import PER_MEDIUM, prompt_tokens, text_tokens
from pointsman.types import Hints, Limits, Modality

# (text, tokens by SmolLM2's tokenizer, tokens by Qwen2.5's), counted with the vocabularies in their GGUF files.
COUNTED = [
    ("Draft a polite email to my landlord asking him to repair the geyser before Friday.", 19, 18),
    ("mere boss ke liye ek leave application email likh do, kal doctor ke paas jaana hai", 24, 21),
    ("def merge(a, b):\n    out = []\n    while a and b:\n        out.append((a if a[0] <= b[0] else b))", 36, 34),
    ('{"id": 17, "name": "Asha", "tags": ["blue", "green"], "score": 93.25, "active": true}', 38, 38),
    ("बारिश पर एक छोटी कविता लिखो और उसमें गाँव की यादें शामिल करो।", 65, 57),
    ("पावसावर एक कविता लिहा आणि ती छोटी असू द्या.", 47, 43),
    ("বৃষ্টি নিয়ে একটি কবিতা লেখো, যেন গ্রামের কথা মনে পড়ে।", 100, 59),
    ("வணக்கம், மழை பற்றி ஒரு கவிதை எழுதித் தர முடியுமா?", 85, 52),
    ("వర్షం మీద ఒక కవిత రాయండి, అందులో మా ఊరి గురించి చెప్పండి.", 149, 82),
    ("વરસાદ પર એક કવિતા લખો અને એમાં ગામની વાત કરો.", 115, 61),
    ("ಮಳೆಯ ಬಗ್ಗೆ ಒಂದು ಕವನ ಬರೆಯಿರಿ, ಅದರಲ್ಲಿ ನಮ್ಮ ಊರಿನ ನೆನಪು ಇರಲಿ.", 152, 74),
    ("മഴയെക്കുറിച്ച് ഒരു കവിത എഴുതൂ, അതിൽ ഗ്രാമത്തിന്റെ ഓർമ്മ വേണം.", 129, 82),
    ("ਮੀਂਹ ਬਾਰੇ ਇੱਕ ਕਵਿਤਾ ਲਿਖੋ ਜਿਸ ਵਿੱਚ ਪਿੰਡ ਦੀ ਯਾਦ ਹੋਵੇ।", 91, 78),
    ("مجھے ایک نظم لکھ کر دیں جو بارش کے بارے میں ہو", 57, 32),
    ("Объясни, как работает фотосинтез, и приведи два примера.", 45, 22),
    ("请解释光合作用的过程，并比较两种方法的优缺点。", 39, 14),
    ("9876543210 4111 2222 3333 4444 2024-11-21 18:45:09", 50, 50),
]  # fmt: skip


@pytest.mark.parametrize(("text", "smollm2", "qwen"), COUNTED)
def test_no_estimate_is_a_quarter_too_low(text: str, smollm2: int, qwen: int) -> None:
    assert text_tokens(text) >= 0.75 * smollm2
    assert text_tokens(text) >= 0.75 * qwen


@pytest.mark.parametrize(("text", "smollm2", "qwen"), COUNTED)
def test_nor_far_too_high_for_the_dearest_tokenizer(text: str, smollm2: int, qwen: int) -> None:
    assert text_tokens(text) <= 1.4 * max(smollm2, qwen)


def test_a_long_text_is_sampled_to_about_the_same() -> None:
    for text, _, _ in COUNTED:
        assert text_tokens(text * 400) == pytest.approx(400 * text_tokens(text), rel=0.12)


def test_all_that_is_sent_counts() -> None:
    alone = prompt_tokens(asked("Hello there"))
    assert prompt_tokens(asked("Hello there", Modality.IMAGE)) == alone + PER_MEDIUM[Modality.IMAGE]
    assert prompt_tokens(conversation(("system", "Be kind. " * 50), ("user", "Hello there"))) > alone + 100
    assert prompt_tokens(asked("Hello there", hints=Hints(context_docs=("word " * 100,)))) > alone + 100
    tools = b'[{"type": "function", "function": {"name": "weather"}}]' * 10
    assert prompt_tokens(asked("Hello there", has_tools=True, tools=tools)) > alone + 100


def test_the_answer_is_as_long_as_stated_or_usual() -> None:
    assert measured("Write about the sea in 500 words").output_tokens == 700
    assert measured("Write an essay about the sea").output_tokens > measured("What is the sea?").output_tokens
    assert (
        measured("मानसून पर निबंध लिखो").output_tokens
        > measured("monsoon essay in one line please, 1 line").output_tokens
    )
    short = CLASSIFIER.measure(asked("Write an essay about the sea", limits=Limits(max_output_tokens=50)))
    assert short.output_tokens == 50
