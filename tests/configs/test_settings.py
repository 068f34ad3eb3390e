"""Settings and folders: defaults under the user's file, and nothing read but the environment given."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.configs.errors import ConfigError
from holdfast.configs.settings import (
    Settings,
    cache_folder,
    config_folder,
    data_folder,
    default_roster,
    repo_folder,
)


def test_defaults_are_what_the_design_promises():
    made = Settings.defaults()
    assert (made.fetch.threads, made.fetch.deadline, made.fetch.run_bytes) == (8, 30.0, 4 << 20)
    assert made.cache.max_bytes == 50_000_000_000
    assert made.serve.max_requests == 512


def test_the_users_file_changes_only_what_it_names(tmp_path):
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert Settings.load(env) == Settings.defaults()
    (tmp_path / "holdfast").mkdir()
    (tmp_path / "holdfast" / "config.toml").write_text('[fetch]\ndeadline = "2m"\n[cache]\nmax_bytes = "1GiB"\n')
    made = Settings.load(env)
    assert (made.fetch.deadline, made.cache.max_bytes) == (120.0, 1 << 30)
    assert (made.fetch.threads, made.serve) == (8, Settings.defaults().serve)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[fetch]\nthread = 3", 'fetch: unknown key "thread" (did you mean threads?)'),
        ("[fetcher]\nthreads = 3", 'unknown key "fetcher" (did you mean fetch?)'),
        ("fetch = 3", "fetch: expected a table, got a number"),
        ('[fetch]\nthreads = "3"', "fetch.threads: expected a whole number, got a text"),
        ("[fetch]\nthreads = 0", "fetch.threads: expected a value greater than or equal to 1"),
        ('[fetch]\ndeadline = "soon"', 'fetch.deadline: expected a duration, got "soon" (write 30s'),
        ("[fetch]\ndeadline = 0", "fetch.deadline: expected a value greater than 0"),
        ("[fetch]\ndeadline = true", "fetch.deadline: expected a duration in quotes or a number of seconds"),
        ('[cache]\nmax_bytes = "lots"', 'cache.max_bytes: expected a size, got "lots" (write 16KiB'),
        ("[cache]\nmax_bytes = 1.5", "cache.max_bytes: expected a size in quotes or a whole number of bytes"),
        ("[cache]\nmax_bytes = 0", "cache.max_bytes: expected a value greater than or equal to 1"),
        ("[fetch", "not valid TOML"),
    ],
)
def test_a_mistake_names_file_key_and_what_is_expected(text, said):
    with pytest.raises(ConfigError) as caught:
        Settings.parse(text, "config.toml")
    assert caught.value.message.startswith(f"config.toml: {said}")
    assert "\n" not in caught.value.message.split("not valid TOML")[0]


def test_folders_follow_xdg():
    env = {"HOME": "/home/u"}
    assert data_folder(env) == Path("/home/u/.local/share/holdfast")
    assert cache_folder(env) == Path("/home/u/.cache/holdfast")
    assert config_folder(env) == Path("/home/u/.config/holdfast")
    env |= {"XDG_DATA_HOME": "/d", "XDG_CACHE_HOME": "/c", "XDG_CONFIG_HOME": "relative"}
    assert data_folder(env) == Path("/d/holdfast")
    assert cache_folder(env) == Path("/c/holdfast")
    assert config_folder(env) == Path("/home/u/.config/holdfast")  # relative ones are invalid, says XDG


def test_without_a_home_the_variable_to_set_is_named():
    for env in ({}, {"HOME": ""}, {"HOME": "relative"}):
        with pytest.raises(ConfigError, match="XDG_CACHE_HOME nor HOME") as caught:
            cache_folder(env)
        assert "set XDG_CACHE_HOME" in caught.value.hint


def test_the_repository_is_the_one_of_the_environment_or_of_the_user():
    assert repo_folder({"HOLDFAST_REPO": "repo-here"}) == Path("repo-here")
    assert repo_folder({"HOLDFAST_REPO": "", "HOME": "/home/u"}) == Path("/home/u/.local/share/holdfast/repo")


def test_the_default_roster_is_the_named_one_or_an_existing_one(tmp_path):
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert default_roster(env) is None
    path = tmp_path / "holdfast" / "roster.toml"
    path.parent.mkdir()
    path.touch()
    assert default_roster(env) == path
    assert default_roster(env | {"HOLDFAST_ROSTER": ""}) == path
    assert default_roster(env | {"HOLDFAST_ROSTER": "/no/such.toml"}) == Path("/no/such.toml")
