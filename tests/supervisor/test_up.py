"""`flashsale up` from start to stop, and everything that may be killed under it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat

import asyncpg
import pytest
from redis.asyncio import Redis

from tests.supervisor.running import Buyers, flashsale, is_running, until

PROCESSES = ["dispatch", "postgres", "redis", "sandbox", "settle", "timekeeper", "web", "web-2"]


async def test_it_writes_down_how_to_reach_it_for_its_owner_alone(up, session):
    content = json.loads((up.data_dir / "credentials.json").read_text())
    assert stat.S_IMODE((up.data_dir / "credentials.json").stat().st_mode) == 0o600
    assert sorted(content["pids"]) == PROCESSES
    assert all(is_running(pid) for pid in content["pids"].values())
    assert content["base_url"] == f"http://127.0.0.1:{up.port}"
    assert content["console_url"].startswith(content["base_url"])
    assert content["api_key"].startswith("fs_")
    assert len(content["buyer_signing_key"]) >= 32
    assert len(content["console_password"]) >= 16
    for name in ("web", "web-2"):  # they share the port
        log = up.data_dir / "logs" / f"{name}.log"
        await until(lambda log=log: log.read_text().endswith("\n"))
        assert json.loads(log.read_text())["port"] == up.port
    for path, key in (("/readyz", ""), ("/v1/merchant/sales", content["api_key"])):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with session.get(content["base_url"] + path, headers=headers) as response:
            assert response.status == 200, path
    async with Redis.from_url(content["redis_url"]) as client:
        assert (await client.config_get("appendfsync"))["appendfsync"] == "always"
    connection = await asyncpg.connect(content["postgres_dsn"])
    assert await connection.fetchval("SELECT count(*) FROM merchants") == 1
    await connection.close()


def test_a_second_one_is_refused_in_one_line(up, tmp_path):
    same_port = flashsale("up", "--data-dir", str(tmp_path / "other"), "--port", str(up.port))
    same_folder = flashsale("up", "--data-dir", str(up.data_dir), "--port", "0")
    for ended, says in (
        (same_port, "cannot be listened on"),
        (same_folder, "is in use by another"),
    ):
        assert ended.returncode == 2
        assert says in ended.stderr
        assert (ended.stdout, ended.stderr.count("\n")) == ("", 1)


def test_commands_find_its_servers_through_the_folder(up):
    folder = ("--data-dir", str(up.data_dir))
    assert flashsale("doctor", *folder).returncode == 0
    assert flashsale("migrate", *folder).stdout == "the schema is current\n"
    token = flashsale("token", "buyer", "--sub", "alice", *folder)
    assert (token.returncode, token.stdout.count(".")) == (0, 2)
    unknown = flashsale("audit", "nosuchsale00", *folder)
    assert (unknown.returncode, unknown.stdout, unknown.stderr.count("\n")) == (2, "", 1)
    assert "There is no sale" in unknown.stderr
    created = json.loads(flashsale("merchant", "create", "Other", *folder).stdout)
    token = ("token", "buyer", "--sub", "a", "--merchant")
    assert flashsale(*token, created["merchant_id"], *folder).returncode == 0
    assert "no active HS256 key" in flashsale(*token, "mer_unknown", *folder).stderr


@pytest.mark.parametrize("name", PROCESSES)
async def test_whatever_is_killed_is_started_again_and_orders_go_on(up, session, name):
    launch = await up.announce(10)
    buyers = Buyers(up.credentials.base_url, launch, session)
    assert (await buyers.order("before"))[0] == 201
    killed = up.pids[name]
    os.kill(killed, signal.SIGKILL)

    await until(lambda: up.pids[name] != killed and is_running(up.pids[name]))
    assert (await buyers.order("after"))[0] == 201
    status, before, replayed = await buyers.order("before")
    assert (status, replayed) == (201, True)
    await confirmed(buyers, "before", before["id"])
    metrics = {path.name for path in (up.data_dir / "metrics").glob("gauge_live*")}
    assert f"gauge_livemin_{killed}.db" not in metrics


async def confirmed(buyers: Buyers, buyer: str, order: str) -> None:
    async with asyncio.timeout(60):
        while (await buyers.read(buyer, order))[1].get("state") != "confirmed":
            await asyncio.sleep(0.05)


async def test_everything_killed_in_the_middle_of_a_sale_forgets_nobody(up, session):
    launch = await up.announce(400)
    buyers = Buyers(up.credentials.base_url, launch, session)
    os.kill(up.pids["settle"], signal.SIGSTOP)  # so that answers are in Redis alone when it comes
    crowd = [asyncio.create_task(buyers.buy_until_sold_out()) for _ in range(8)]
    await until(lambda: len(buyers.won) >= 100)
    assert await settled(up, launch.sale) < len(buyers.won) < 400

    killed = up.pids
    await up.kill_everything()
    in_time = dict(buyers.won)
    first_line = await asyncio.to_thread(up.start)
    await asyncio.gather(*crowd)

    assert first_line == f"ready http://127.0.0.1:{up.port}\n"
    assert not set(up.pids.values()) & set(killed.values())
    assert len(in_time) < 400, "the crowd bought on after the kill"
    assert buyers.retried, "somebody asked while nobody was there"
    assert len(set(buyers.won.values())) == len(buyers.won) == 400
    for buyer, order in buyers.won.items():
        status, read = await buyers.read(buyer, order)
        assert (status, read["id"]) == (200, order)
        assert read["state"] in {"reserved", "confirmed"}
        again = await buyers.order(buyer)
        assert (again[0], again[1]["id"], again[2]) == (201, order, True)
    audit = flashsale("audit", launch.sale, "--json", "--data-dir", str(up.data_dir))
    assert audit.returncode == 0, audit.stdout
    [verdict] = json.loads(audit.stdout)["sales"]
    assert verdict["holds"]


async def settled(up, sale: str) -> int:
    connection = await asyncpg.connect(up.credentials.postgres_dsn)
    try:
        return await connection.fetchval("SELECT count(*) FROM orders WHERE sale_id = $1", sale)
    finally:
        await connection.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_in_good_order_and_comes_back_as_it_was(up, number):
    before = up.credentials
    code, printed = up.stop(number)
    assert (code, printed) == (0, "")
    assert up.pids == {}
    assert not any(is_running(pid) for pid in before.pids.values())
    stopped = flashsale("audit", "--data-dir", str(up.data_dir))
    assert stopped.returncode == 2
    assert f"is `flashsale up --data-dir {up.data_dir}` running?" in stopped.stderr

    up.start()
    after = up.credentials
    assert (after.merchant_id, after.api_key) == (before.merchant_id, before.api_key)
    assert after.base_url == f"http://127.0.0.1:{up.port}"


def test_nothing_it_said_has_a_traceback_or_a_secret(up):
    """The last test: what all the others made it say."""
    known = up.credentials
    secrets = (known.api_key, known.buyer_signing_key, known.console_password)
    logs = [*(up.data_dir / "logs").iterdir(), up.said]
    assert {path.stem for path in logs} >= {*PROCESSES, "data"}
    for path in logs:
        text = path.read_text(errors="replace")
        assert "Traceback" not in text, text
        if path.stem not in {"postgres", "redis", "data"}:
            assert all("event" in json.loads(line) for line in text.splitlines()), text
        assert not [secret for secret in secrets if secret in text], path
    assert "web ended with code -9; starting it again" in up.said.read_text()
