"""credentials.json is private, is replaced in one step, and keeps what it does not know."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from flashsale.embedded.credentials import Credentials
from flashsale.embedded.errors import CredentialsError

CREDENTIALS = Credentials(
    base_url="http://127.0.0.1:8080",
    merchant_id="mer_1",
    api_key="fs_secret",
    buyer_signing_key="key_secret",
    console_url="http://127.0.0.1:8080/console",
    console_password="password_secret",
    redis_url="unix:///run/redis.sock?db=0",
    postgres_dsn="postgresql:///flashsale?host=/run",
    pids={"redis": 11, "postgres": 12},
)


def test_what_is_saved_is_loaded(tmp_path: Path):
    CREDENTIALS.save(tmp_path)
    assert Credentials.load(tmp_path) == CREDENTIALS
    assert [path.name for path in tmp_path.iterdir()] == ["credentials.json"]


def test_only_the_owner_reads_it(tmp_path: Path):
    path = tmp_path / "credentials.json"
    path.touch(mode=0o666)
    (tmp_path / "credentials.json.new").touch(mode=0o666)
    CREDENTIALS.save(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_unknown_fields_are_kept(tmp_path: Path):
    CREDENTIALS.save(tmp_path)
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "added_later": [1]}))
    replace(Credentials.load(tmp_path), pids={"web-1": 13}).save(tmp_path)
    written = json.loads(path.read_text())
    assert (written["added_later"], written["pids"]) == ([1], {"web-1": 13})
    assert "extra" not in written


def test_secrets_do_not_show_in_a_log():
    assert "secret" not in repr(CREDENTIALS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "start `flashsale up --data-dir"),
        ("", "cannot be read; nothing was changed"),
        ("[1]", "cannot be read; nothing was changed"),
        ('{"base_url": "http://127.0.0.1"}', "has no field 'merchant_id'; nothing was changed"),
    ],
)
def test_a_file_that_is_missing_or_damaged_is_one_line(
    tmp_path: Path, content: str | None, message: str
):
    if content is not None:
        (tmp_path / "credentials.json").write_text(content)
    with pytest.raises(CredentialsError, match=message) as caught:
        Credentials.load(tmp_path)
    assert "\n" not in str(caught.value)
