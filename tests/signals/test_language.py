"""Scripts, shared scripts, romanised text, two scripts in one text, other languages."""

import pytest

from pointsman.settings import RoutingSettings
from pointsman.signals.identify import Guess, cld2
from pointsman.signals.language import ABSTAIN_BELOW, LanguageTeller, hinted
from pointsman.signals.lexis import folded, words_of
from pointsman.signals.scripts import script_of, scripts_of
from pointsman.types import Scored

TELLER = LanguageTeller()


def told(text: str) -> Scored:
    clean = folded(text)
    return TELLER.tell(words_of(clean), clean).language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("मुझे यह समझ नहीं आया", "hi"),
        ("मला हे समजले नाही", "mr"),
        ("मलाई यो बुझिएन, फेरि भन्नुहोस्", "ne"),
        ("अहम् अद्य विद्यालयं गच्छामि इति सः वदति", "sa"),
        ("আমি এটা বুঝতে পারিনি", "bn"),
        ("মই এইটো বুজি পোৱা নাই", "as"),
        ("مجھے یہ سمجھ نہیں آیا", "ur"),
        ("مینوں ایہ سمجھ نہیں آئی، تسیں دسو کیویں کردا اے", "pa"),
        ("لطفاً این متن را برای من خلاصه کنید", "fa"),
        ("من فضلك لخص لي هذا النص", "ar"),
        ("Підкажіть, будь ласка, як це працює", "uk"),
    ],
)
def test_languages_that_share_a_script(text: str, language: str) -> None:
    assert told(text).label == language


@pytest.mark.parametrize("text", ["naan", "kal", "राम", "ok"])
def test_one_ambiguous_word_is_no_more_than_a_guess_with_alternatives(text: str) -> None:
    guess = told(text)
    assert guess.p < 0.75
    assert guess.alternatives


@pytest.mark.parametrize(
    "text",
    [
        "fix bug",
        "The man in the van has a plan to tell me the main points",
        "hi, can you do me a favor and ask Karen about the menu",
        "Are we to use the sun or the main log?",
        "Chennai to Thiruvananthapuram train timings",
        "Best masala dosa and naan near Koramangala Bengaluru",
        "Python vs Java",
        "Compare Python and Java",
        "kafka vs rabbitmq",
        "iPhone 15 vs Samsung S24",
        "string compare in java",
        "docker compose error",
    ],
)
def test_english_stays_english(text: str) -> None:
    assert told(text).label == "en"


@pytest.mark.parametrize("text", ["mujhe python sikhao", "mujhe batao", "python kya hai", "docker kaise install karu"])
def test_a_loan_does_not_make_an_indian_sentence_english(text: str) -> None:
    assert told(text).label == "hi"


@pytest.mark.parametrize(
    "text", ["VS Code vs PyCharm", "Hi! Python vs Java", "Tesla vs Tata", "git vs docker", "mumbai vs delhi"]
)
def test_names_alone_are_never_called_indian(text: str) -> None:
    assert told(text).label in ("en", "und")


def test_a_label_less_sure_than_the_threshold_is_none_and_what_was_guessed_stays_visible() -> None:
    sure, unsure = (LanguageTeller(abstain_below=floor) for floor in (0.0, 0.99))
    for text in ("kal", "gaana sunao", "नाम"):
        guess, given_up = (teller.tell([*text.split()], text) for teller in (sure, unsure))
        assert given_up.language.label == "und"
        assert given_up.script == "native"
        assert given_up.language.alternatives[0] == (guess.language.label, guess.language.p)
        assert given_up.language.evidence[0].startswith(f"abstained: {guess.language.label} at")


def test_the_threshold_is_that_of_the_settings() -> None:
    assert RoutingSettings().abstain_below == ABSTAIN_BELOW


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("kaam kab tak khatam hoga", "hi"),
        ("kam kab tak khatm hoga", "hi"),
        ("muje samaj nahi aaya", "hi"),
        ("mujhey samajh nahin aya", "hi"),
        ("enaku puriyala sollunga", "ta"),
        ("enakku puriyalai sollungal", "ta"),
        ("naaku artham kaledu malli cheppandi", "te"),
        ("nange artha agilla matte heli", "kn"),
        ("enikku manassilayilla onnu koodi parayamo", "ml"),
        ("mala samajla nahi parat sanga", "mr"),
        ("mane samjayu nathi fari thi kaho", "gu"),
        ("mainu samajh nahi aayi fer dasso", "pa"),
        ("ami bujhte parini abar bolo", "bn"),
    ],
)
def test_romanised_text_in_more_than_one_spelling(text: str, language: str) -> None:
    clean = folded(text)
    found = TELLER.tell(words_of(clean), clean)
    assert (found.language.label, found.script) == (language, "latin")


def test_the_share_of_two_scripts_decides() -> None:
    assert told("नमस्ते means hello in which language").label == "en"
    assert told("please इस sentence को simple करो").label == "hi"


def test_indian_digits_alone_are_a_hint() -> None:
    assert told("१७ × ६").label == "hi"
    assert told("१७ × ६").p < 0.5


def test_the_identifier_is_asked_only_where_the_lexicons_are_silent() -> None:
    asked: list[str] = []

    def listening(text: str) -> Guess:
        asked.append(text)
        return cld2(text)

    teller = LanguageTeller(identifier=listening)
    for text in ("what is the time and where are you", "mujhe yeh samajh nahi aaya kya karna hai", "எனக்கு புரியவில்லை"):
        teller.tell(words_of(text), text)
    assert asked == []
    text = "pouvez-vous m'aider demain"
    assert teller.tell(words_of(text), text).language.label == "fr"
    assert asked == [text]


@pytest.mark.parametrize("text", ["", "\ud800", "\x00\x01", "a\x00b" * 9, "\uffff\ufffe x"])
def test_the_identifier_never_raises(text: str) -> None:
    assert 0 <= cld2(text).share <= 1


def test_words_keep_their_marks() -> None:
    assert words_of(folded("हिन्दी में, লেখো। தமிழ்! don't C++ node.js")) == [
        "हिन्दी", "में", "লেখো", "தமிழ்", "don't", "c++", "node", "js",
    ]  # fmt: skip


def test_one_word_in_two_encodings_is_one_word() -> None:
    assert folded("ന്\u200d") == folded("ൻ")  # Malayalam chillu
    assert folded("क़") == folded("क\u093c")  # Devanagari nukta
    assert folded("What’s") == folded("what's")
    assert folded("ＡＢＣ") == "abc"


def test_scripts() -> None:
    assert [script_of(char) for char in "aéяअকਕકଓகకಕകකกกあア漢한ا1😀"] == (
        "Latn Latn Cyrl Deva Beng Guru Gujr Orya Taml Telu Knda Mlym Sinh Thai Thai Kana Kana Hani Hang Arab Zyyy Zyyy"
    ).split()
    assert scripts_of(["hello", "नमस्ते", "42"]) == {"Latn": 1.0, "Deva": 1.0}


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("मैं कल दिल्ली जाऊँगा, टिकट कैसे बुक करूँ", "hi"),
        ("हांव फाल्यां गोंयांत वता, तूं खंय आसा", "kok"),
        ("हमरा ई बुझय मे नहि आयल, अहाँ फेर सँ कहू", "mai"),
        ("हमरा के ई बात समझ में ना आवत बा, रउआ बताईं", "bho"),
        ("malai yo kura bujhna gahro bhayo, tapai feri bhannus", "ne"),
    ],
)
def test_neighbours_are_not_called_hindi_or_marathi(text: str, language: str) -> None:
    assert told(text).label == language


def test_what_is_none_of_ours_is_named_or_left_open() -> None:
    assert told("je voudrais réserver une table pour deux personnes ce soir").label == "fr"
    assert told("ninawezaje kupata kazi nzuri mjini nairobi").label == "sw"
    strange = told("xqzv wprtk blorf")
    assert strange.p < 0.85
    assert "xx" not in (strange.label, *dict(strange.alternatives))


def test_letters_of_scholars_and_drawn_out_letters_do_no_harm() -> None:
    assert told("nāku ī pani cēyaḍaṁ iṣṭaṁ lēdu").label == "te"
    assert told("yaaaaar kyaaaa baaaat haiiiii").label == "hi"


def test_evidence_names_the_word_that_spoke_loudest() -> None:
    assert "“enakku”" in told("enakku puriyala").evidence[0]


@pytest.mark.parametrize("text", ["hi", "Hi!", "hello hi", "ok thanks"])
def test_greetings_everybody_knows_are_english(text: str) -> None:
    assert told(text).label == "en"


@pytest.mark.parametrize(
    ("said", "label"),
    [("eng", "en"), ("hin", "hi"), ("English (US)", "en"), ("pan-Guru", "pa"), ("none", ""), ("null", ""), ("??", ""),
     ("x" * 300, ""), ("mul", ""), ("fra", "fra"), ("de-AT", "de")],
)  # fmt: skip
def test_hints_are_read_as_people_write_them(said: str, label: str) -> None:
    assert hinted(said) == label
