"""How a settings text is read: scalars, YAML's faults, variables, and totality on any text at all."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import ConfigError
from pointsman.settings import Settings, load, parse
from pointsman.settings_file import MAX_NODES, plain, read

MODEL = "models: [{id: a, backend: openai, url: 'http://x/v1'}]\n"


def problems(text: str, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f", environ)
    return caught.value.problems


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("true", True), ("False", False), ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"),
        ("null", None), ("~", None), ("", None), ("8001", 8001), ("-3", -3), ("0", 0), ("0777", "0777"),
        ("0o17", "0o17"), ("0x1F", "0x1F"), ("1_000", "1_000"), ("1:30", "1:30"), ("1.5", 1.5), ("1e3", 1000.0),
        (".5", 0.5), ("1.10", 1.1), ("1e999", "1e999"), (".inf", ".inf"), (".nan", ".nan"),
        ("2026-01-01", "2026-01-01"), ("1" * 5000, "1" * 5000),
    ],
)  # fmt: skip
def test_plain_scalars(written: str, read: object) -> None:
    assert plain(written) == read
    assert type(plain(written)) is type(read)


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quoted_scalars_are_text(quote: str) -> None:
    assert read(f"a: {quote}true{quote}\nb: {quote}8{quote}", "f", {}).tree == {"a": "true", "b": "8"}


def test_keys_are_text() -> None:
    assert read("8: a\nno: b\n1.5: c\n~: d", "f", {}).tree == {"8": "a", "no": "b", "1.5": "c", "~": "d"}


# ---------------------------------------------------------------- what is no YAML, or none of ours


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f: must be a mapping with at least `models:`, but holds nothing; start from pointsman.yaml"),
        (
            "# only a remark\n",
            "f: must be a mapping with at least `models:`, but holds nothing; start from pointsman.yaml",
        ),
        ("- a\n", "f: must be a mapping with at least `models:`, but holds a list; start from pointsman.yaml"),
        (
            "models\n",
            "f: must be a mapping with at least `models:`, but holds a single value; start from pointsman.yaml",
        ),
        (
            "server:\n\tport: 1\n",
            "f:2:1: is not valid YAML: found character '\\t' that cannot start any token; indent with spaces, not tabs",
        ),
        (
            "a: b: c\n",
            (
                "f:1:5: is not valid YAML: mapping values are not allowed here; "
                "quote a value that contains `: `, or correct the indentation"
            ),
        ),
        (
            "models:\n  - id: a\n   backend: b\n",
            (
                "f:3:4: is not valid YAML: expected <block end>, but found '<block mapping start>'; "
                "align this line with its neighbours"
            ),
        ),
        ("a: 'b\n", "f:2:1: is not valid YAML: found unexpected end of stream; check indentation and quotes there"),
        ("a: *b\n", "f:1:4: is not valid YAML: found undefined alias 'b'; define the anchor `&name` before `*name`"),
        (
            "a: 1\n---\nb: 1\n",
            "f:2:1: is not valid YAML: but found another document; keep one document and remove the second `---`",
        ),
        (
            "a: \0\n",
            (
                "f: is not valid YAML: unacceptable character #x0000: special characters are not allowed; "
                "remove the control character"
            ),
        ),
    ],
)
def test_what_is_no_yaml(text: str, said: str) -> None:
    assert problems(text) == (said,)


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 5000,
        "a: &x [*x]",
        "a: &x {<<: *x}",
        "a: &x {b: *x}",
        "a: &x {<<: [*x, *x]}",
        "a: {" * 30 + "}" * 30,
    ],
)
def test_endless_nesting_ends(text: str) -> None:
    (said,) = problems(text)
    assert "nested" in said


def test_a_bomb_of_aliases_does_not_go_off() -> None:
    layers = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 10))
    (said,) = problems("l0: &l0 [a]\n" + layers)
    assert "is nested or repeated too deeply; write it out without aliases" in said
    assert MAX_NODES < 10**9


def test_half_a_character_is_refused() -> None:
    assert problems('cache_dir: "\\ud800"\n' + MODEL) == (
        "f:1: cache_dir: holds half a character (a surrogate escape); write the character itself",
    )


def test_an_impossible_escape_is_refused() -> None:
    (said,) = problems('cache_dir: "\\UFFFFFFFF"\n' + MODEL)
    assert said.startswith("f: is not valid YAML: ")


def test_a_problem_is_one_line_and_printable() -> None:
    for said in problems('"a\\nb\\u001b": "c"\nserver: {port: "x\\ny"}\n' + MODEL):
        assert said.isprintable()


# ---------------------------------------------------------------- files


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: \xe9")
    for path, said in (
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "Is a directory"),
        (latin, "is not UTF-8 text"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(path, {})
        assert caught.value.problems[0].startswith(f"{path}: ")
        assert said in caught.value.problems[0]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MODEL.encode())
    assert load(path, {}).models[0].id == "a"


# ---------------------------------------------------------------- variables


def test_variables_override_plain_values() -> None:
    environ = {
        "POINTSMAN_SERVER__PORT": "9000",
        "POINTSMAN_ROUTING__ENABLED": "false",
        "POINTSMAN_CACHE_DIR": "/var/lib/x",
        "POINTSMAN_FLEET__MEMORY_BUDGET_GB": "2.5",
        "POINTSMAN_ROUTING__DEFAULT_MODEL": "'7'",
        "POINTSMAN_ALIASES__SMALL": "'7'",
    }
    read = parse("server: {port: 1}\nmodels: [{id: '7', backend: ocr}]", "f", environ)
    assert (read.server.port, read.routing.enabled, read.cache_dir) == (9000, False, "/var/lib/x")
    assert (read.fleet.memory_budget_gb, read.routing.default_model, read.aliases["small"]) == (2.5, "7", "7")


def test_variables_of_others_and_empty_ones_are_left_alone() -> None:
    environ = {
        "POINTSMAN_CONFIG": "x.yaml",
        "POINTSMAN_SERVER__PORT": "",
        "PORT": "1",
        "POINTSMAN_SERVICE_HOST": "10.0.0.1",
        "POINTSMAN_SERVICE_PORT_HTTP": "8001",
        "POINTSMAN_PORT": "tcp://10.0.0.1:8001",
        "POINTSMAN_PORT_8001_TCP": "tcp://10.0.0.1:8001",
    }
    assert parse(MODEL, "f", environ) == parse(MODEL)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SERVER__PORT", "x", "server.port: must be a whole number, not the text `x`"),
        ("SERVER__PRT", "1", "server.prt: unknown key (did you mean `port`?); remove it or correct its name"),
        ("SEVER__PORT", "1", "sever: unknown key (did you mean `server`?); remove it or correct its name"),
        ("ROUTING__ENABLED", "no", "routing.enabled: must be true or false, not the text `no`"),
        ("MODELS__0__ID", "b", "leads into something that is not a section; name POINTSMAN_SECTION__KEY"),
        ("CACHE_DIR__X", "b", "leads into something that is not a section; name POINTSMAN_SECTION__KEY"),
        ("CACHE_DIR", "\udcff", "is not UTF-8 text; correct its encoding"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str, said: str) -> None:
    assert problems("cache_dir: x\n" + MODEL, {f"POINTSMAN_{name}": value}) == (
        f"environment POINTSMAN_{name}: {said}",
    )


# ---------------------------------------------------------------- totality

YAML_PIECES = st.sampled_from([
    "models", "server", "aliases", "routing", "use_cases", "code", "id", "backend", "openai", "url",
    "http://x", "é", "हि",
    "- ", ": ", "?", ",", "\n", "\n  ", "\n    ", "\t", "[", "]", "{", "}", "'", '"', "|", ">", "#", "---", "...",
    "&a ", "*a", "<<", "!!str ", "!x ", "%YAML 1.1", "\\ud800", "\u2028", "\x85",
    "null", "true", "1", "-1", ".inf", "1e999", "0x",
])  # fmt: skip


def is_total(text: str, environ: Mapping[str, str]) -> None:
    try:
        read: Settings | ConfigError = parse(text, "f", environ)
    except ConfigError as error:
        read = error
    assert isinstance(read, Settings) or read.problems
    assert isinstance(read, Settings) or all(said.isprintable() for said in read.problems)


@given(st.text())
def test_any_text_is_settings_or_a_config_error(text: str) -> None:
    is_total(text, {})
    is_total(MODEL + text, {})


@given(st.lists(YAML_PIECES, max_size=40).map("".join))
def test_anything_like_yaml_is_settings_or_a_config_error(text: str) -> None:
    is_total(text, {})
    is_total(MODEL + text, {})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["a", "stt", "code"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(Settings.model_fields)), inner),
    max_leaves=10,
)
KEYS = ["server", "fleet", "retry", "routing", "log", "cache_dir", "aliases", "models"]
MEMBERS = [
    "port",
    "host",
    "rules",
    "use_cases",
    "weights",
    "set",
    "id",
    "backend",
    "source",
    "url",
    "urls",
    "voices",
    "quality",
]


@given(
    st.dictionaries(st.sampled_from(KEYS), JSON | st.lists(st.dictionaries(st.sampled_from(MEMBERS), JSON), max_size=3))
)
def test_any_tree_is_settings_or_a_config_error(tree: object) -> None:
    is_total(repr(tree).replace("None", "null").replace("True", "true").replace("False", "false"), {})


@given(
    st.dictionaries(st.sampled_from(["SERVER", "SERVER__PORT", "MODELS", "MODELS__X", "A__B__C", "_", ""]), st.text())
)
def test_any_variables_are_settings_or_a_config_error(environ: dict[str, str]) -> None:
    is_total(MODEL, {f"POINTSMAN_{name}": value for name, value in environ.items()})
