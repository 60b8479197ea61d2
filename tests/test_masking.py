"""Credentials are masked wherever text is stored or printed; what holds none stays as it is."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from scl.api import _settled
from scl.cli.command import main
from scl.cli.flags import parsed
from scl.errors import Damaged, RunFailed, UserError
from scl.masking import masked, masked_command, masked_value, secrets_of, without_secrets, without_values
from scl.report.questions.setting import _setup
from scl.search.journal import open_study
from scl.store.files import open_folder
from scl.terminal import say, show
from tests.support.searches import STUDY, search

# A value and how it is shown. `s3cret` is in each credential.
WITH_SECRETS = {
    # databases: user and password
    "postgresql+psycopg://me:s3cret@host:5432/db": "postgresql+psycopg://me:***@host:5432/db",
    "redis://:s3cret@host": "redis://:***@host",
    "POSTGRESQL://ME:s3cret@HOST/DB": "POSTGRESQL://ME:***@HOST/DB",
    "postgresql://me:my s3cret@host/db": "postgresql://me:***@host/db",
    "postgresql://my name:s3cret@host/db": "postgresql://my name:***@host/db",
    "postgresql://me@corp.com:s3cret@host/db": "postgresql://me@corp.com:***@host/db",
    "postgresql://me/you:s3cret@host/db": "postgresql://me/you:***@host/db",
    "postgresql://me:s3cret/x@y@host/db": "postgresql://me:***@host/db",
    "postgresql://me:1/s3cret@host/db": "postgresql://me:***@host/db",
    "postgresql://me:s3cret?x@host/db?sslmode=require": "postgresql://me:***@host/db?sslmode=require",
    "postgresql://me:s3cret#x@host/db": "postgresql://me:***@host/db",
    "postgresql://me:s3cret:x@[::1]:5432/db": "postgresql://me:***@[::1]:5432/db",
    "postgresql://me:%40s3cret@host/db": "postgresql://me:***@host/db",
    'postgresql://me:"s3cret\'@host/db': "postgresql://me:***@host/db",
    # queries
    "sqlite:///x?password=s3cret": "sqlite:///x?password=***",
    "sqlite:///x.db?authToken=s3cret&timeout=5": "sqlite:///x.db?authToken=***&timeout=5",
    "sqlite:///x.db?timeout=5&AUTHTOKEN=s3cret": "sqlite:///x.db?timeout=5&AUTHTOKEN=***",
    "sqlite+libsql://host?auth_token=s3cret#x": "sqlite+libsql://host?auth_token=***#x",
    "postgresql:///db?host=h&password=s3cret&user=me@corp": "postgresql:///db?host=h&password=***&user=me@corp",
    "postgresql://h/db?pass%77ord=s3cret": "postgresql://h/db?pass%77ord=***",
    "postgresql://h/db?password=my s3cret": "postgresql://h/db?password=***",
    "postgresql://h/db?sslpassword=s3cret;sslmode=require": "postgresql://h/db?sslpassword=***;sslmode=require",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3Ds3cret": "mssql+pyodbc:///?odbc_connect=***",
    "mysql://h/db?proxy=http%3A%2F%2Fu%3As3cret%40p&ssl=1": "mysql://h/db?proxy=***&ssl=1",
    "postgresql://h/db;password=s3cret": "postgresql://h/db;password=***",
    # object stores and servers
    "s3://KEY-s3cret:s3cret/+x@bucket/p?region=eu": "s3://***@bucket/p?region=eu",
    "s3://b/p?access_key=s3cret&secret_key=s3cret&scheme=http": "s3://b/p?access_key=***&secret_key=***&scheme=http",
    "s3://b/p?session_token=s3cret": "s3://b/p?session_token=***",
    "https://a.blob/c?sv=2024&sp=r&sig=s3cret%3D": "https://a.blob/c?sv=2024&sp=r&sig=***",
    "https://b.s3/k?X-Amz-Credential=s3cret&X-Amz-Signature=s3cret": "https://b.s3/k?X-Amz-Credential=***&X-Amz-Signature=***",
    "gs://s3cret@bucket/p": "gs://***@bucket/p",
    "http://user:s3cret@mlflow:5000/path": "http://***@mlflow:5000/path",
    "HTTPS://s3cret@host/path": "HTTPS://***@host/path",
    "ray://user:s3cret@head:10001": "ray://user:***@head:10001",
    "hf://datasets/x?token=s3cret": "hf://datasets/x?token=***",
    # no URL
    "host=h password=s3cret dbname=d": "host=h password=*** dbname=d",
    "AccountName=a;AccountKey=s3cret==;x=1": "AccountName=a;AccountKey=***;x=1",
    "AWS_SECRET_ACCESS_KEY=s3cret": "AWS_SECRET_ACCESS_KEY=***",
}  # fmt: skip
WITHOUT = (
    "", "results", "results/a@b", "./me@corp", "digits", "--seeds", "kd.temperature=2", "token=4", "C:\\data",
    "sqlite:///search.db", "sqlite:////data/me@corp/a:b.db", "sqlite://", "postgresql://host/db", "postgresql:///db",
    "postgresql://me@host:5432/db?sslmode=require&connect_timeout=10", "postgresql://host:5432/db?options=a@b",
    "s3://bucket/a:b", "s3://bucket/me@corp/x", "s3://b/p?endpoint_override=127.0.0.1:9000&scheme=http&region=x",
    "gs://bucket", "http://host:80/path", "http://host:80/?q=1#top", "ray://head:10001", "abfs://c@account/p",
    "torchvision:resnet18", "auto", "head:6379", "file:///tmp/a@b", "://", "a://", "x://?", "?password", "https://h/?key",
)  # fmt: skip


@pytest.mark.parametrize(("value", "shown"), WITH_SECRETS.items())
def test_credentials_are_hidden_and_the_rest_stays(value: str, shown: str) -> None:
    assert masked_value(value) == shown
    assert masked_value(shown) == shown
    assert masked_value(f"--storage={value}") == f"--storage={shown}"


@pytest.mark.parametrize("value", WITHOUT)
def test_what_holds_no_credentials_stays(value: str) -> None:
    assert masked_value(value) == value
    assert masked(value) == value
    assert masked_command(["study.py", "--storage", value]) == f"study.py --storage {value}"


@pytest.mark.parametrize("value", WITH_SECRETS)
def test_no_place_repeats_them(value: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The record of a command, its page, messages that repeat an argument, and printing itself."""
    flags = ["--storage", value, "--out", value, "--data", value, "--teacher", value]
    with pytest.raises(UserError) as refused:
        parsed(STUDY, "study.py", ["--address", value])
    command = parsed(STUDY, "study.py", flags).command
    called = _settled(STUDY, {"storage": value, "out": value, "fix": {}, "inline": True})[1].command
    facts: Any = SimpleNamespace(metric="test_acc", bounds={})
    facts.study = {
        "command": f"study.py --storage {value}",
        "search": {"optuna_study": "s", "storage": value},
    }
    texts = [str(refused.value), command, called, json.dumps(_setup(facts, "")) if " " not in value else ""]
    monkeypatch.setattr(sys, "argv", ["study.py", *flags, f"--again={value}"])
    texts += [str(kind(f"refused: {value!r}, or {value}; try another")) for kind in (UserError, RunFailed, Damaged)]
    say(f"lost {value} and {value!r}")
    show(value)
    for wrong in (["show", "x", value, "y", value], ["export", "a", "b", "--storage", value], [value]):
        with pytest.raises(SystemExit):
            main(wrong)
    for wrong in (["show", value, "a/0"], ["export", value, "a/0"], ["report", value], ["results", value]):
        assert main(wrong) in (1, 2)
    texts += capsys.readouterr()
    assert not [text for text in texts if "s3cret" in text]


def test_a_message_with_several_urls_is_masked() -> None:
    assert masked("a://b:c@d and e://f:g@h") == "a://b:***@d and e://f:***@h"
    text = "connection to postgresql://me:s3cret@h:5/db failed\npassword authentication failed for user 'me'"
    assert masked(text) == text.replace("s3cret", "***")
    assert masked("see 's3://b?secret_key=x' (denied)") == "see 's3://b?secret_key=***' (denied)"
    assert without_values("no driver for 'q://a:b c@d'", ["--storage=q://a:b c@d"]) == "no driver for 'q://a:***@d'"


@pytest.mark.parametrize("part", ["x", "a://", "?", "=a:", "password", "a://b:c@", "a://h?a=b&", "@", "a://?a="])
def test_long_names_take_no_long_time(part: str) -> None:
    text = "a://" + part * (100_000 // len(part))
    started = time.process_time()
    masked(text)
    masked_value(text)
    assert time.process_time() - started < 5


def test_what_drivers_say_holds_no_password(tmp_path: Path) -> None:
    """Drivers decode a URL and repeat its parts alone."""
    url = "postgresql://me:s3cret%40x@h/db?sslpassword=other%20s3cret"
    assert secrets_of(url) == ["s3cret@x", "other s3cret"]
    assert without_secrets("dsn 'me s3cret@x' and other s3cret", url) == "dsn 'me ***' and ***"
    assert secrets_of("nonsense") == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql+psycopg://me:s3cret@127.0.0.1:1/db", "cannot open it"),
        ("postgresql+psycopg://127.0.0.1:1/db?user=me&password=s3cret", "cannot open it"),
        ("postgresql+psycopg://me:s3cret@127.0.0.1:1/db?nonsense=1&token=s3cret", "cannot open it"),
        ("postgresql:/me:s3cret@h/db", "not a database URL"),
        ("postgresql//me:s3cret@h/db", "not a database URL"),
        ("sqlite:////nowhere/x.db?authToken=s3cret", "cannot open it"),
        ("nodriver://me:s3cret@h/db", "cannot open it"),
        ("POSTGRESQL://ME:s3cret@H/DB", "cannot open it"),
        ("postgresql://me:s3cret@h:port/db", r"cannot open it|not a database URL"),
        ("postgresql://me/you:s3cret@h/db", r"not a database URL.*%2F"),
        ("me:s3cret@h/db", "not a database URL"),
        ("password=s3cret", "not a database URL"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite+pysqlite:///:memory:?cache=shared", "in memory"),
        ("sqlite:///file:x?mode=memory&uri=true", "in memory"),
        ("sqlite:///file::memory:?cache=shared&uri=true", "in memory"),
        ("SQLITE://", r"in memory|cannot open it"),
        ("sqlite:////dev/null", "not a regular file"),
        ("sqlite:///{}", "not a regular file"),
    ],
)
def test_a_database_that_cannot_serve_is_refused_without_its_password(url: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as refused:
        open_study(optuna, open_folder(str(tmp_path / "s")), url.format(tmp_path), study_name="s")
    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert not (tmp_path / "s").exists()


def test_a_search_keeps_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "postgresql://me:s3cret@h/db?password=s3cret"
    monkeypatch.setattr(
        "scl.search.journal._database", lambda optuna, *_: optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/o.db")
    )
    assert search(tmp_path / "out", "--storage", url, "--trials", "1", "--seeds", "1") == 0
    assert "postgresql://me:***@h/db?password=***" in (tmp_path / "out" / "tiny" / "study.json").read_text()
    files = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert (tmp_path / "out" / "tiny" / "report.html") in files
    assert not [file for file in files if b"s3cret" in file.read_bytes()]
    assert "s3cret" not in "".join(capsys.readouterr())
