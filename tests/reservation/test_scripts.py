"""The loader says file and line; the runner puts back what Redis forgot, and never runs twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from flashsale.reservation.errors import ScriptError, StoreUnavailableError
from flashsale.reservation.links import Links
from flashsale.reservation.scripts import ScriptRunner, load_script, load_scripts


@pytest.fixture
def lua(tmp_path: Path) -> Path:
    """A folder of scripts: `write(name, *lines)` fills it."""
    (tmp_path / "includes").mkdir()
    return tmp_path


def write(lua: Path, name: str, *lines: str) -> Path:
    path = lua / f"{name}.lua"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_includes_are_expanded_once_each_and_comments_left_out(lua: Path):
    write(lua, "includes/deep", "--- Deep.", "local deep = 1")
    write(lua, "includes/one", "--- One.", '--- @include "deep"', "local one = deep")
    main = write(
        lua,
        "main",
        "#!lua flags=no-writes,allow-stale",
        "--- Purpose: x",
        '--- @include "one"',
        '--- @include "deep"',
        "-- Said to readers of the body.",
        "return {one}",
    )
    script = load_script(main)
    assert script.source == (
        "#!lua flags=no-writes,allow-stale\n"
        "local deep = 1\n"
        "local one = deep\n"
        "-- Said to readers of the body.\n"
        "return {one}\n"
    )
    assert script.origins == ("main.lua:1", "deep.lua:2", "one.lua:3", "main.lua:5", "main.lua:6")
    assert load_scripts(lua) == {"main": script}


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["return {}"], "main.lua:1: a script starts with #!lua and its flags"),
        ([""], "main.lua:1: a script starts with #!lua and its flags"),
        (["#!lua flags=No-Writes"], "main.lua:1: a script starts with #!lua and its flags"),
        (["#!lua flags="], "main.lua:1: a script starts with #!lua and its flags"),
        (["--- x", "#!lua"], "main.lua:1: a script starts with #!lua and its flags"),
        (["#!lua", '--- @include "gone"'], "main.lua:2: there is no include 'gone'"),
        (["#!lua", '--- @include "../main"'], 'main.lua:2: an include reads --- @include "name"'),
        (["#!lua", "-- @include one"], 'main.lua:2: an include reads --- @include "name"'),
        (["#!lua", "", '--- @include "a"'], "b.lua:1: includes nest deeper than 2"),
        (["#!lua", '--- @include "lost"'], "lost.lua:3: there is no include 'gone'"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(lua: Path, lines: list[str], complaint: str):
    write(lua, "includes/a", '--- @include "b"')
    write(lua, "includes/b", '--- @include "c"')
    write(lua, "includes/c", "local c = 1")
    write(lua, "includes/lost", "--- Lost.", "", '--- @include "gone"')
    with pytest.raises(ScriptError) as caught:
        load_script(write(lua, "main", *lines))
    assert str(caught.value) == complaint


def test_a_folder_without_scripts_is_an_error(lua: Path):
    with pytest.raises(ScriptError, match="holds no scripts"):
        load_scripts(lua)


def test_the_same_text_has_the_same_digest(lua: Path):
    first = load_script(write(lua, "first", "#!lua", "return {}"))
    second = load_script(write(lua, "second", "#!lua", "--- Another comment.", "return {}"))
    other = load_script(write(lua, "other", "#!lua", "return {1}"))
    assert first.digest == second.digest != other.digest


@pytest.fixture
async def links(redis_db: Redis) -> AsyncIterator[Links]:
    links = Links(redis_db)
    yield links
    await links.close()


async def test_what_redis_forgot_is_loaded_again_and_counted(
    lua: Path, redis_db: Redis, links: Links
):
    write(lua, "count", "#!lua", "return {redis.call('INCR', KEYS[1])}")
    runner = ScriptRunner(links, load_scripts(lua))
    assert await runner.run("count", ["n"], []) == [1]
    assert runner.forgotten == 0, "what was never there is not forgotten"
    assert await runner.run("count", ["n"], []) == [2]
    await redis_db.script_flush()
    assert await runner.run("count", ["n"], []) == [3]
    assert runner.forgotten == 1
    assert await runner.run("count", ["n"], []) == [4]
    assert runner.forgotten == 1


async def test_a_script_that_another_process_loaded_can_be_forgotten_too(
    lua: Path, redis_db: Redis, links: Links
):
    write(lua, "one", "#!lua", "return {1}")
    scripts = load_scripts(lua)
    await redis_db.script_load(scripts["one"].source)
    runner = ScriptRunner(links, scripts)
    await runner.run("one", [], [])
    await redis_db.script_flush()
    await runner.run("one", [], [])
    assert runner.forgotten == 1


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        (["local x = 1", '--- @include "fails"', "return fails()"], "fails.lua:3"),
        (["local x = 1", "--- Not sent.", "return nothing()"], "main.lua:4"),
        (["--- Not sent.", "return return"], "main.lua:3"),
    ],
    ids=["in an include", "in the script", "syntax"],
)
async def test_a_complaint_of_redis_names_the_file_that_people_edit(
    lua: Path, links: Links, lines: list[str], place: str
):
    write(
        lua,
        "includes/fails",
        *("--- Fails.", "local function fails()", "  return nil + 1", "end"),
    )
    write(lua, "main", "#!lua", *lines)
    runner = ScriptRunner(links, load_scripts(lua))
    with pytest.raises(ScriptError, match=rf"main\.lua: .*{place}"):
        await runner.run("main", [], [])


async def test_a_redis_that_is_not_there_leaves_the_effect_unknown(lua: Path, tmp_path: Path):
    write(lua, "one", "#!lua", "return {1}")
    nobody = Redis(unix_socket_path=str(tmp_path / "nobody.sock"), retry=Retry(NoBackoff(), 0))
    links = Links(nobody)
    with pytest.raises(StoreUnavailableError, match="Redis did not answer"):
        await ScriptRunner(links, load_scripts(lua)).run("one", [], [])
    await links.close()
