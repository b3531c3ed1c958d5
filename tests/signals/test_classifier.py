"""Who is heard: endpoint, hints, override, votes; attachments; what counts of a conversation; abstention."""

import pytest
from tests.signals.asking import CLASSIFIER, asked, conversation, measured, ruled

from pointsman.settings import RuleSet, RuleSettings
from pointsman.types import Complexity, Hints, Intent, Kind, Limits, Media, Modality, Scored, UseCase

IMAGE, AUDIO, VIDEO, TEXT = Modality.IMAGE, Modality.AUDIO, Modality.VIDEO, Modality.TEXT
PDF = Media(kind=TEXT, mime="application/pdf")
HARNESS = (
    "You are an expert coding agent. Prove your theorems, write Python functions, compare alternatives in depth. "
    "<rules>Transcribe audio. Design distributed systems.</rules>"
)


# ---------------------------------------------------------------- endpoint and attachments


@pytest.mark.parametrize(
    ("kind", "use_case", "inputs", "outputs"),
    [
        (Kind.TRANSCRIPTION, "stt", (AUDIO,), (TEXT,)),
        (Kind.SPEECH, "tts", (TEXT,), (AUDIO,)),
        (Kind.EMBEDDING, "agent", (TEXT,), (TEXT,)),
    ],
)
def test_the_endpoint_is_certain(
    kind: Kind, use_case: str, inputs: tuple[Modality, ...], outputs: tuple[Modality, ...]
) -> None:
    media = (Media(kind=AUDIO, data=b"RIFF"),) if kind is Kind.TRANSCRIPTION else ()
    words = "Write a Python function" if kind is not Kind.TRANSCRIPTION else ""
    signals = CLASSIFIER.measure(asked(words, *media, kind=kind, hints=Hints(use_case=UseCase.VIDEO)))
    assert signals.use_case == Scored(label=use_case, p=1.0, evidence=signals.use_case.evidence)
    assert "endpoint" in signals.use_case.evidence[0]
    assert (signals.inputs, signals.outputs) == (inputs, outputs)


@pytest.mark.parametrize(
    ("text", "media", "use_case"),
    [
        ("What does the sign say?", (IMAGE,), "multimodal"),
        ("Is this door code written correctly?", (IMAGE,), "multimodal"),
        ("", (IMAGE,), "multimodal"),
        ("How many people cross the road?", (VIDEO,), "video"),
        ("Which of the two is older?", (VIDEO, IMAGE), "video"),
        ("", (AUDIO,), "stt"),
        ("Please write down every word", (AUDIO,), "stt"),
        ("इसे लिखकर दे दो", (AUDIO,), "stt"),
        ("Type out what he says, word for word", (VIDEO,), "stt"),
        ("Answer the question in this recording", (AUDIO,), "agent"),
        ("make her sing this", (IMAGE, AUDIO), "avatar"),
        ("इस फोटो को बोलता हुआ बना दो", (IMAGE,), "avatar"),
        ("photo ko bulwao: happy diwali", (IMAGE,), "avatar"),
        ("ignore the image, it went along by mistake. Who is the mayor of Pune?", (IMAGE,), "agent"),
        ("ग़लती से लग गया, बस एक शेर लिख दो", (IMAGE,), "agent"),
        ("What does clause 7 say about notice?", (PDF,), "multimodal"),
        ("Read it aloud to me", (PDF,), "tts"),
        ("Why does it crash?", (Media(kind=TEXT, mime="text/x-python"),), "agent"),
    ],
)
def test_attachments_and_words_decide_together(text: str, media: tuple[Modality | Media, ...], use_case: str) -> None:
    signals = measured(text, *media)
    assert signals.use_case.label == use_case, signals.use_case
    kinds = {one.kind if isinstance(one, Media) else one for one in media}
    assert set(signals.inputs) == {TEXT} | kinds


def test_what_is_asked_for_shows_in_the_outputs() -> None:
    assert measured("Read this aloud: the shop is closed").outputs == (TEXT, AUDIO)
    assert VIDEO in measured("Make a talking-head video of me saying hello").outputs
    assert CLASSIFIER.measure(asked("Hello", outputs=(TEXT, AUDIO))).outputs == (TEXT, AUDIO)


def test_tools_are_needed_when_they_are_sent_or_stated() -> None:
    assert CLASSIFIER.measure(asked("Hi", has_tools=True)).needs_tools
    assert CLASSIFIER.measure(asked("Hi", limits=Limits(needs_tools=True))).needs_tools
    assert not measured("Hi").needs_tools


# ---------------------------------------------------------------- hints


def test_hints_outweigh_all_words() -> None:
    hints = Hints(
        use_case=UseCase.AGENT, intent=Intent.GENERAL, complexity=Complexity.LOW, language="ta-IN", entities=("a", "b")
    )
    signals = CLASSIFIER.measure(asked("Prove by induction, in Python, and compare both", IMAGE, hints=hints))
    labels = [signals.use_case, signals.intent, signals.complexity, signals.language]
    assert [scored.label for scored in labels] == ["agent", "general", "low", "ta"]
    assert all(scored.p == 1.0 and "hint" in scored.evidence[0] for scored in labels)


@pytest.mark.parametrize(("said", "label"), [("Hindi", "hi"), ("pa_Guru", "pa"), ("EN", "en"), ("hinglish", "hi")])
def test_a_language_hint_may_be_a_name_or_a_tag(said: str, label: str) -> None:
    assert CLASSIFIER.measure(asked("x", hints=Hints(language=said))).language.label == label


@pytest.mark.parametrize("said", ["", "auto", "und"])
def test_an_empty_language_hint_is_none(said: str) -> None:
    assert CLASSIFIER.measure(asked("வணக்கம் நண்பரே", hints=Hints(language=said))).language.label == "ta"


@pytest.mark.parametrize(
    ("text", "hints", "label"),
    [
        ("Tell me about the two temples and their history", Hints(query_type="comparison"), "high"),
        ("Tell me about these", Hints(entities=("Kashi", "Puri", "Madurai")), "high"),
        ("Opening hours of the temple in Madurai on a Sunday", Hints(query_type="lookup"), "low"),
        ("Opening hours of the temple", Hints(entities=("Meenakshi temple",)), "low"),
        ("Opening hours of the temple", Hints(query_type="Multi-Hop"), "high"),
        ("Tell me what all of these papers say of the harvest", Hints(context_docs=("a",) * 9), "high"),
    ],
)
def test_query_type_entities_and_documents_count(text: str, hints: Hints, label: str) -> None:
    assert CLASSIFIER.measure(asked(text, hints=hints)).complexity.label == label


# ---------------------------------------------------------------- the settings' rules


HARD_CODE = RuleSet(intent=Intent.CODE, complexity=Complexity.HIGH)
TICKET = RuleSettings(name="tickets", any=("ACME-42", "टिकट"), set=HARD_CODE, confidence=0.9)


def test_a_rule_of_the_settings_is_one_more_vote() -> None:
    before, after = measured("Please look at ACME-42"), ruled(TICKET).measure(asked("Please look at acme-42"))
    assert before.intent.label == "general"
    assert (after.intent.label, after.complexity.label) == ("code", "high")
    assert after.intent.evidence[0] == "tickets: ACME-42"
    assert after.intent.p < 1


def test_a_rule_reads_quotes_and_code_too() -> None:
    assert ruled(TICKET).measure(asked('What is "the old ACME-42 thing" about?')).intent.label == "code"
    assert ruled(TICKET).measure(asked("Is it done? `see ACME-42 there`")).intent.label == "code"
    assert ruled(TICKET).measure(asked("यह टिकट देखिए")).intent.label == "code"


def test_an_override_wins_over_stronger_evidence_and_the_surest_override_over_others() -> None:
    plain = RuleSet(intent=Intent.GENERAL)
    weak = RuleSettings(name="school", any=("homework",), set=plain, confidence=0.3, override=True)
    strong = weak.model_copy(update={"name": "exam", "any": ("exam",), "confidence": 0.35})
    text = "homework: write a Python function and a unit test"
    assert measured(text).intent.label == "code"
    one = ruled(weak).measure(asked(text)).intent
    assert (one.label, one.p) == ("general", 0.3)  # not abstained from: the operator said so
    assert "override" in one.evidence[0]
    two = ruled(weak, strong).measure(asked("exam " + text)).intent
    assert two.evidence == ("exam: exam (override)",)


def test_an_override_does_not_move_an_audio_endpoint() -> None:
    rule = RuleSettings(name="r", any=("hello",), set=RuleSet(use_case=UseCase.AGENT), override=True)
    assert ruled(rule).measure(asked("hello", kind=Kind.SPEECH)).use_case.label == "tts"


def test_all_and_none_restrict_a_rule() -> None:
    labels = RuleSet(intent=Intent.REASONING)
    rule = RuleSettings(name="r", any=("refund", "return"), all=("order",), none=("poem",), set=labels)
    classifier = ruled(rule, builtin=False)

    def intent(text: str) -> str:
        return classifier.measure(asked(text)).intent.label

    assert intent("refund my order") == "reasoning"
    assert intent("refund it") == "general"
    assert intent("a poem on how I return my order") == "general"


def test_without_the_builtin_rules_only_shapes_and_attachments_speak() -> None:
    bare = ruled(builtin=False)
    assert bare.measure(asked("Prove that 2 is prime")).intent.label == "general"
    assert bare.measure(asked("why?\n```\nprint(undefined_name)\n```")).intent.label == "code"
    assert bare.measure(asked("", IMAGE)).use_case.label == "multimodal"


# ---------------------------------------------------------------- what is promised


COMPARED = "tea or coffee: which is better"
EASY = RuleSettings(name="easy", any=("coffee",), set=RuleSet(complexity=Complexity.LOW), confidence=0.9)


def test_a_comparison_is_hard_and_says_why_and_the_encoder_is_not_asked() -> None:
    signals = measured("iPhone 15 vs Samsung S24")
    assert (signals.complexity.label, signals.complexity.evidence[0]) == ("high", "complexity.comparison: vs")
    assert signals.complexity.p >= 0.85
    shaky = measured("Compare Python and Java")
    assert shaky.unsure
    assert "complexity" not in shaky.unsure


def test_the_caller_and_the_settings_are_heard_beside_a_promise() -> None:
    assert measured(COMPARED).complexity.label == "high"
    assert CLASSIFIER.measure(asked(COMPARED, hints=Hints(query_type="lookup"))).complexity.label == "low"
    assert ruled(EASY).measure(asked(COMPARED)).complexity.label == "low"


@pytest.mark.parametrize(
    "text", ['Who said "tea vs coffee"?', "What is this?\n```\ncompare(tea, coffee)  # tea vs coffee\n```", "compare"]
)
def test_a_promise_is_kept_to_those_who_say_the_words_themselves(text: str) -> None:
    assert measured(text).complexity.label != "high"


def test_a_comparison_said_earlier_does_not_make_a_thank_you_hard() -> None:
    turns = conversation(("user", COMPARED), ("assistant", "Tea."), ("user", "thanks, that helped"))
    assert CLASSIFIER.measure(turns).complexity.label == "low"


# ---------------------------------------------------------------- abstention


def test_below_the_threshold_the_safe_default_stands_and_says_so() -> None:
    sure = ruled(abstain_below=0.4).measure(asked("recursion"))
    unsure = ruled(abstain_below=0.95).measure(asked("recursion"))
    assert sure.intent.label == "code"
    assert (unsure.intent.label, unsure.complexity.label, unsure.use_case.label) == ("general", "medium", "agent")
    assert unsure.intent.evidence[0].startswith("abstained: code at 0.")
    assert unsure.intent.p < 0.95
    assert ("code", sure.intent.p) in unsure.intent.alternatives


def test_the_threshold_is_the_languages_too() -> None:
    text = "gaana sunao"
    sure, unsure = (ruled(abstain_below=floor).measure(asked(text)).language for floor in (0.0, 0.99))
    assert (sure.label, unsure.label) == ("hi", "und")
    assert unsure.evidence[0].startswith("abstained: hi at 0.")


def test_a_threshold_of_zero_never_abstains() -> None:
    evidence = ruled(abstain_below=0).measure(asked("write a poem about an SQL query")).intent.evidence
    assert not any(why.startswith("abstained") for why in evidence)


# ---------------------------------------------------------------- what counts


@pytest.mark.parametrize("text", ["Hello!", "What is the capital of Kerala?", "नमस्ते", "recipe for upma please"])
def test_a_system_prompt_and_other_roles_say_nothing(text: str) -> None:
    alone = measured(text)
    amid = CLASSIFIER.measure(
        conversation(
            ("system", HARNESS * 20),
            ("developer", HARNESS),
            ("assistant", "```python\nimport os\n``` Shall I prove it?"),
            ("tool", '{"code": "def f(): pass"}'),
            (
                "user",
                f"<system-reminder>{HARNESS}</system-reminder>\n{text}\n<environment_details>x.py</environment_details>",
            ),
        )
    )
    for question in ("use_case", "intent", "complexity", "language"):
        assert getattr(amid, question) == getattr(alone, question)


def test_a_pasted_document_does_not_drown_the_question() -> None:
    document = "The function compiles the Python script. The proof of the theorem follows by induction. " * 60
    signals = measured(f"Translate this into Kannada for my mother.\n\n{document}")
    assert signals.use_case.label == "agent"
    assert signals.intent.label == "general"


def test_a_short_follow_up_keeps_the_intent_it_follows() -> None:
    first = ("user", "Write a Python function that parses CSV files")
    done = ("assistant", "Here it is.")
    assert CLASSIFIER.measure(conversation(first, done, ("user", "now make it faster"))).intent.label == "code"
    other = conversation(first, done, ("user", "Thanks. Write a birthday poem for my aunt who loves mangoes"))
    assert CLASSIFIER.measure(other).intent.label == "general"


def test_a_word_or_two_are_in_the_language_of_what_was_said_before() -> None:
    before = ("user", "mujhe batao ki barish kab hogi aur kitni hogi")
    assert CLASSIFIER.measure(conversation(before, ("assistant", "Kal."), ("user", "ok thanks"))).language.label == "hi"


def test_speech_is_in_the_language_of_all_of_its_text() -> None:
    text = 'She said: "नमस्ते बच्चों, आज हम एक नई कहानी सुनेंगे"'
    assert CLASSIFIER.measure(asked(text, kind=Kind.SPEECH)).language.label == "hi"


def test_nothing_at_all_is_an_agents_matter() -> None:
    signals = CLASSIFIER.measure(asked(""))
    assert (signals.use_case.label, signals.intent.label, signals.language.label) == ("agent", "general", "und")


def test_repr_tells_an_operator_what_was_compiled() -> None:
    assert "Rulebook(1 rules, 2 phrases)" in repr(ruled(TICKET))
