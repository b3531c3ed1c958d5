"""Which store and which key the settings mean."""

from pathlib import Path

import pytest

from pointsman.errors import ConfigError
from pointsman.ledger.build import KEY_FILE, prompts_of, store_of
from pointsman.settings_ledger import LedgerSettings
from pointsman.testing.decisions import ask

VARIABLE = "TEST_LEDGER_SECRET"


def digest(settings: LedgerSettings, folder: Path, secret: str = "") -> str:
    return prompts_of(settings, folder, {VARIABLE: secret}).digest(ask("the same words"))


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    first = digest(LedgerSettings(), folder)
    assert first == digest(LedgerSettings(), folder) != digest(LedgerSettings(), tmp_path / "other")
    assert (folder / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_nothing_is_made_before_it_is_wanted(tmp_path: Path) -> None:
    prompts_of(LedgerSettings(), tmp_path, {})
    store_of(LedgerSettings(), tmp_path, {})
    assert not list(tmp_path.iterdir())


def test_gateways_with_one_secret_agree(tmp_path: Path) -> None:
    shared = LedgerSettings(digest_key_env=VARIABLE)
    assert digest(shared, tmp_path / "a", "s") == digest(shared, tmp_path / "b", "s") != digest(shared, tmp_path, "t")
    assert not list(tmp_path.rglob(KEY_FILE))


def test_a_key_that_cannot_be_kept_lasts_as_long_as_the_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    prompts = prompts_of(LedgerSettings(), tmp_path / "file", {})
    assert prompts.digest(ask("a")) == prompts.digest(ask("a")) != ""


def test_without_a_ledger_there_is_no_digest(tmp_path: Path) -> None:
    assert digest(LedgerSettings(enabled=False), tmp_path) == ""


@pytest.mark.parametrize("setting", ["digest_key_env", "password_env"])
def test_a_variable_that_holds_nothing_is_told(setting: str, tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="the extra `postgres` is absent")
    settings = LedgerSettings.model_validate({setting: VARIABLE, "url": "postgresql://u@localhost/d"})
    with pytest.raises(ConfigError, match=rf"ledger.{setting}: the variable {VARIABLE} is not set"):
        prompts_of(settings, tmp_path, {})
        store_of(settings, tmp_path, {})


def test_where_rows_go(tmp_path: Path) -> None:
    own = store_of(LedgerSettings(), tmp_path, {})
    named = store_of(LedgerSettings(url=f"sqlite:{tmp_path}/other/rows.db"), tmp_path, {})
    assert f"{tmp_path}/ledger.sqlite" in repr(own)
    assert f"{tmp_path}/other/rows.db" in repr(named)


def test_a_password_is_in_no_repr(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="the extra `postgres` is absent")
    settings = LedgerSettings(url="postgresql://u@localhost/d", password_env=VARIABLE)
    assert "hidden" not in repr(store_of(settings, tmp_path, {VARIABLE: "hidden"}))
