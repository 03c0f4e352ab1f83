"""Settings: what is refused, what it says, and that every knob is there, explained and used."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from flashsale.config import ConfigError, Settings, load_settings, words
from flashsale.reservation.store import ReservationStore
from flashsale.settlement.lane import Pace
from flashsale.settlement.worker import SettlementWorker
from flashsale.shipped import shipped
from flashsale.timekeeper.timekeeper import Timekeeper
from flashsale.web.server import Limits

PROVIDERS = (
    "sandbox_api_key",
    "sandbox_webhook_secrets",
    "stripe_api_key",
    "stripe_webhook_secrets",
)
DEFAULTS = shipped("config") / "default.toml"
GOOD_SECRET = "kX7-pQ2_vN9sW4tZ8bR5yL1mC6hJ3gF0"
PRODUCTION = {
    "FLASHSALE_MODE": "production",
    "FLASHSALE_REDIS_URL": "redis://:kX7pQ2vN9sW4@127.0.0.1:6379/0",
    "FLASHSALE_POSTGRES_DSN": "postgresql://shop:tZ8bR5yL1mC6@127.0.0.1/shop",
    "FLASHSALE_ORDER_ID_SECRET": GOOD_SECRET,
}


SANDBOX = {
    "FLASHSALE_PAYMENTS__PROVIDER": "sandbox",
    "FLASHSALE_SANDBOX_API_KEY": GOOD_SECRET,
    "FLASHSALE_SANDBOX_WEBHOOK_SECRETS": f"whsec_{GOOD_SECRET}",
}
STRIPE = {
    "FLASHSALE_PAYMENTS__PROVIDER": "stripe",
    "FLASHSALE_PAYMENTS__STRIPE_CHECKOUT_URL": "https://shop.example/pay#{client_secret}",
    "FLASHSALE_STRIPE_API_KEY": GOOD_SECRET,
    "FLASHSALE_STRIPE_WEBHOOK_SECRETS": f"whsec_{GOOD_SECRET}",
}


def sections() -> dict[str, type[BaseModel]]:
    return {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def test_the_defaults_alone_are_a_whole_configuration():
    settings = load_settings({"PATH": "/bin", "FLASHSALE_REDIS_URL": ""})
    assert (settings.mode, settings.durability) == ("development", "strict")
    assert settings.web.host == "127.0.0.1"
    assert settings.redis_url is None


def test_a_file_overrides_the_defaults_and_a_variable_overrides_the_file(tmp_path):
    file = tmp_path / "ours.toml"
    file.write_text("[web]\nport = 81\nkeepalive_seconds = 60\n")
    settings = load_settings({"FLASHSALE_CONFIG": str(file), "FLASHSALE_WEB__PORT": "82"})
    assert (settings.web.port, settings.web.keepalive_seconds) == (82, 60)
    assert settings.web.connections_max == load_settings({}).web.connections_max


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"FLASHSALE_WEBPORT": "1"}, "webport is not a setting; did you mean web.port?"),
        ({"FLASHSALE_WEB__KEEPALIVE_MS": "75000"}, "did you mean web.keepalive_seconds?"),
        ({"FLASHSALE_WEB__PORT__HIGH": "1"}, "web.port__high is not a setting"),
        ({"FLASHSALE_NOTHING_LIKE_IT": "1"}, "default.toml lists them all."),
        ({"FLASHSALE_WEB": "1"}, "web is a section of settings, not a value"),
        ({"FLASHSALE_WEB": "1", "FLASHSALE_WEB__PORT": "1"}, "web is a section of settings"),
        ({"FLASHSALE_WEB__KEEPALIVE_SECONDS": "75s"}, "web.keepalive_seconds: input should be"),
        ({"FLASHSALE_WEB__PORT": "65536"}, "web.port: input should be less than or equal to 65535"),
        ({"FLASHSALE_SETTLEMENT__BLOCK_MS": "0"}, "settlement.block_ms: input should be greater"),
        ({"FLASHSALE_MODE": "prod"}, "mode: input should be 'development' or 'production'"),
        ({"FLASHSALE_REDIS_URL": "http://:s3cret@h"}, "should start with redis://"),
        ({"FLASHSALE_REDIS_URL": "redis://[s3cret"}, "redis_url: cannot be read as an address"),
        ({"FLASHSALE_POSTGRES_DSN": "mysql://u:s3cret@h"}, "should start with postgresql://"),
        ({"FLASHSALE_ORDER_ID_SECRET": "s3cret"}, "set FLASHSALE_ORDER_ID_SECRET to 32 random"),
        ({"FLASHSALE_ORDER_ID_SECRET": "s3cret" * 6}, "order_id_secret is short or guessable"),
        ({"FLASHSALE_ORDER_ID_SECRET": "changeme" + GOOD_SECRET}, "short or guessable"),
        ({"FLASHSALE_RESERVATION__WAITING_MAX": "9"}, "batch_max should not be above waiting_max"),
        ({"FLASHSALE_SETTLEMENT__RECLAIM_IDLE_MS": "9"}, "block_ms should be below reclaim_idle"),
        (PRODUCTION | {"FLASHSALE_DURABILITY": "relaxed"}, 'set durability = "strict"'),
        (PRODUCTION | {"FLASHSALE_ORDER_ID_SECRET": "s3cret"}, "short or guessable"),
        ({"FLASHSALE_PAYMENTS__PROVIDER": "sandbox"}, "set FLASHSALE_SANDBOX_API_KEY as well"),
        (
            {"FLASHSALE_PAYMENTS__PROVIDER": "stripe", "FLASHSALE_STRIPE_API_KEY": GOOD_SECRET},
            "set FLASHSALE_STRIPE_WEBHOOK_SECRETS as well",
        ),
        (STRIPE | {"FLASHSALE_PAYMENTS__STRIPE_CHECKOUT_URL": ""}, "the page where buyers pay"),
        (
            SANDBOX | {"FLASHSALE_SANDBOX_API_KEY": "s3cret"},
            "sandbox_api_key is short or guessable",
        ),
        (SANDBOX | {"FLASHSALE_SANDBOX_WEBHOOK_SECRETS": "s3cret"}, "that start with whsec_"),
        (
            SANDBOX | {"FLASHSALE_SANDBOX_WEBHOOK_SECRETS": f"whsec_{GOOD_SECRET},whsec_s3cret"},
            "sandbox_webhook_secrets is short or guessable",
        ),
        (PRODUCTION | SANDBOX, "moves no real money"),
        (PRODUCTION | STRIPE | {"FLASHSALE_PAYMENTS__STRIPE_URL": "http://h"}, "without TLS"),
        ({"FLASHSALE_PAYMENTS__SANDBOX_URL": "http://u:s3cret@h"}, "payments.sandbox_url: "),
        ({"FLASHSALE_PAYMENTS__CHECKOUT_SECONDS_MAX": "0"}, "payments.checkout_seconds_max: "),
        (
            PRODUCTION | {"FLASHSALE_POSTGRES_DSN": "postgresql://postgres:postgres@h/d"},
            "The password in postgres_dsn is one that everybody tries first",
        ),
        (
            PRODUCTION | {"FLASHSALE_REDIS_URL": "redis://:Chang%65Me@h"},
            "change it on the server and in FLASHSALE_REDIS_URL",
        ),
    ],
)
def test_what_is_wrong_is_refused_in_one_line_that_shows_no_secret(variables, says):
    with pytest.raises(ConfigError) as refused:
        load_settings(variables)
    message = str(refused.value)
    assert says in message
    assert "\n" not in message
    assert "s3cret" not in message


def test_production_itself_is_accepted_and_development_may_be_relaxed():
    assert load_settings(PRODUCTION).mode == "production"
    assert load_settings({"FLASHSALE_DURABILITY": "relaxed"}).durability == "relaxed"


def test_payments_are_accepted_with_real_secrets_and_a_rehearsal_where_it_is_meant():
    rehearsal = SANDBOX | {"FLASHSALE_PAYMENTS__SANDBOX_IN_PRODUCTION": "true"}
    for variables in (SANDBOX, STRIPE, PRODUCTION | STRIPE, PRODUCTION | rehearsal):
        settings = load_settings(variables)
        assert settings.payments.provider == variables["FLASHSALE_PAYMENTS__PROVIDER"]
    rotating = {"FLASHSALE_SANDBOX_WEBHOOK_SECRETS": f"whsec_{GOOD_SECRET}, whsec_{GOOD_SECRET}2"}
    assert words(load_settings(SANDBOX | rotating).sandbox_webhook_secrets) == (
        f"whsec_{GOOD_SECRET}",
        f"whsec_{GOOD_SECRET}2",
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory"),
        (b"web = [", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b"web = 3", "web is a section"),
        (b"[web]\nprot = 3", "did you mean web.port?"),
        (b"[wbe]\nport = 3", "wbe is not a setting; did you mean web"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_what_is_wrong(tmp_path, content, says):
    file = tmp_path / "ours.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(says)) as refused:
        load_settings({"FLASHSALE_CONFIG": str(file)})
    assert "\n" not in str(refused.value)


def test_shipped_files_are_accepted():
    for path in shipped("config").glob("*.toml"):
        load_settings({**PRODUCTION, "FLASHSALE_CONFIG": str(path)})


def test_the_default_file_holds_every_setting_and_explains_it():
    values = tomllib.loads(DEFAULTS.read_text())
    for name, section in sections().items():
        assert list(values[name]) == list(section.model_fields)
    optional = {"redis_url", "postgres_dsn", "order_id_secret", *PROVIDERS}
    assert set(values) | optional == set(Settings.model_fields)
    assert all(name in DEFAULTS.read_text() for name in optional)


#: What takes a section's settings, and has the same defaults for who builds it by hand.
TAKERS = (
    ("web", Limits),
    ("settlement", Pace),
    ("settlement", SettlementWorker),
    ("timekeeper", Timekeeper),
)


@pytest.mark.parametrize(("section", "taker"), TAKERS)
def test_a_default_is_the_same_wherever_it_is_said(section, taker):
    values = tomllib.loads(DEFAULTS.read_text())[section]
    parameters = inspect.signature(taker).parameters
    said = {name: parameters[name].default for name in values if name in parameters}
    assert said
    assert said == {name: values[name] for name in said}


def test_every_setting_is_used():
    """A knob that turns nothing is a lie."""
    code = "\n".join(
        path.read_text()
        for path in Path(inspect.getfile(Settings)).parents[1].rglob("*.py")
        if path != Path(inspect.getfile(Settings))
    )
    passed_on = set(inspect.signature(Limits).parameters)
    for section, model in sections().items():
        for name in model.model_fields:
            used = f"{section}.{name}" in code or f"bounds.{name}" in code
            assert used or name in passed_on, f"{section}.{name}"
    shared = ("mode", "durability", "redis_url", "postgres_dsn", "order_id_secret")
    for name in (*shared, *PROVIDERS):
        assert f"settings.{name}" in code or f'"{name}"' in code, name


def test_the_connections_of_the_store_are_a_setting_too():
    values = tomllib.loads(DEFAULTS.read_text())["reservation"]
    links_max = inspect.signature(ReservationStore).parameters["links_max"]
    assert links_max.default == values["redis_connections_max"]
