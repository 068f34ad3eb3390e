"""Rosters: each mistake is one sentence that names file, provider and key; no secret is ever shown."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.configs.errors import ConfigError
from holdfast.configs.roster import Provider, Roster, write_roster

EXAMPLE = Path(__file__).parents[2] / "configs" / "roster.example.toml"
BOB = '[[provider]]\nname = "bob"\nkind = "mirror"\nurl = "http://b.example"\n'
SECRET = "hunter2-s3cret"


def parse(text):
    return Roster.parse(text, "roster.toml")


def bob(**keys):
    return Provider(**{"name": "bob", "kind": "mirror", "url": "http://b.example", **keys})


def message(text):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert "\n" not in caught.value.message
    assert SECRET not in caught.value.message + caught.value.hint
    return caught.value.message


def test_the_example_is_a_valid_roster():
    roster = Roster.load(EXAMPLE)
    alice, bucket, gateway, kubo, cluster, sp = roster.providers
    assert (sp.kind, sp.pieces) == ("filecoin", None)
    assert (kubo.gateway, cluster.replication_min) == ("http://127.0.0.1:8080", 2)
    assert roster.path == EXAMPLE
    assert (alice.name, alice.kind, alice.operator, alice.jurisdiction) == (
        "alice",
        "peer",
        "Alice GmbH",
        "DE",
    )
    assert (alice.max_rate, alice.token_env) == (50_000_000, "ALICE_TOKEN")
    assert bucket.path_prefix == "corpora/fineweb/"
    assert bucket.path_map == {"data/train-00000.tar": "old/part-0.tar"}
    assert (gateway.operator, gateway.network, gateway.path_map) == ("Example Foundation", "", {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('url = "ftp://x"', 'url: expected http:// or https://, got "ftp://x"'),
        ('url = "https://"', 'url: expected http(s)://host[:port][/path], got "https://"'),
        ('url = "https://a:99999"', 'url: expected http(s)://host[:port][/path], got "https://a:99999"'),
        ('url = "https://a b/"', 'url: expected http(s)://host[:port][/path], got "https://a b/"'),
        (
            f'url = "https://me:{SECRET}@a.example/"',
            "url: expected no user name or password in it; put a token into token_env or token_file",
        ),
        (
            f'url = "ftp://{SECRET}@a.example/"',
            "url: expected no user name or password in it; put a token into token_env or token_file",
        ),
        (
            f'url = "https://a.example/?token={SECRET}"',
            "url: expected no ? or # in it; put secrets into token_env or headers_env",
        ),
        ("url = 5", "url: expected a text in quotes, got a number"),
        ("", "url: missing"),
        ('url = "http://x"\nlabel = "y"', 'unknown key "label"'),
        (f'url = "http://x"\ntoken = "{SECRET}"', 'unknown key "token" (did you mean token_env?)'),
        (
            f'url = "http://x"\ntoken_env = "Bearer {SECRET}"',
            "token_env: expected the name of an environment variable, not its value",
        ),
        (
            'url = "http://x"\ntoken_env = "A"\ntoken_file = "b"',
            "expected token_env or token_file, got both",
        ),
        ('url = "http://x"\ntoken_file = ""', "token_file: expected a path"),
        ('url = "http://x"\npath_prefix = "../up"', "path_prefix: expected a path without . and .. parts"),
        ('url = "http://x"\npath_map = { a = 1 }', "path_map.a: expected a text in quotes, got a number"),
        (
            'url = "http://x"\npath_map = { a = "" }',
            'path_map: expected pairs "path in the dataset" = "name of the object", got an empty text',
        ),
        (
            'url = "http://x"\nmax_rate = "50MB"',
            'max_rate: expected a size per second such as 50MB/s, got "50MB"',
        ),
        (
            'url = "http://x"\nmax_rate = "x/s"',
            'max_rate: expected a size per second such as 50MB/s, got "x/s"',
        ),
        ('url = "http://x"\nmax_rate = 0', "max_rate: expected a size per second such as 50MB/s"),
        (
            'url = "http://x"\noperator = "two\\nlines"',
            "operator: expected one line of at most 100 characters without spaces around it",
        ),
    ],
)
def test_a_mistake_names_file_provider_key_and_what_is_expected(text, said):
    assert message(f'{BOB}[[provider]]\nname = "carol"\nkind = "peer"\n{text}\n') == (
        f'roster.toml: provider 2 ("carol"): {said}'
    )


def test_a_wrong_kind_is_told_the_kinds():
    said = message('[[provider]]\nname = "bob"\nkind = "bucket"\nurl = "http://x"\n')
    assert said.startswith("roster.toml: provider 1 (\"bob\"): kind: expected 'peer', 'gateway', 'mirror'")
    assert said.endswith('got "bucket"')


def test_a_nameless_provider_is_named_by_its_number():
    assert message('[[provider]]\nkind = "peer"\nurl = "http://x"\n') == "roster.toml: provider 1: name: missing"
    empty = message('[[provider]]\nname = ""\nkind = "peer"\nurl = "http://x"\n')
    assert empty == 'roster.toml: provider 1 (""): name: expected a name, got an empty text'


def test_names_are_unique():
    said = message(BOB + BOB)
    assert said == 'roster.toml: provider 2 ("bob"): name: another provider already has it'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("format = 2\n" + BOB, "format: this holdfast reads format 1, the file has 2"),
        ("format = 0\n" + BOB, "format: expected 1, the version of roster files"),
        ("format = true\n" + BOB, "format: expected 1, the version of roster files"),
        ("providers = 1\n" + BOB, 'unknown key "providers" (did you mean provider?)'),
        ("", "expected one [[provider]] table or more"),
        ("provider = 1", "expected one [[provider]] table or more"),
        ('[provider]\nname = "x"', "expected one [[provider]] table or more"),
    ],
)
def test_a_wrong_document_is_refused(text, said):
    assert message(text) == f"roster.toml: {said}"


def test_broken_toml_names_its_line():
    said = message(BOB + "kind: peer\n")
    assert said.startswith("roster.toml: not valid TOML: ")
    assert "line 5" in said


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path, content, said in (
        (tmp_path / "none.toml", None, "no such file"),
        (tmp_path, None, "cannot be read"),
        (tmp_path / "latin.toml", b"# caf\xe9", "expected UTF-8 text, byte 5 is not"),
        (tmp_path / "huge.toml", b"#" * (5 << 20), "expected at most"),
    ):
        if content:
            path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            Roster.load(path)
        assert caught.value.message.startswith(f"{path}: {said}")


def test_files_are_relative_to_the_folder_of_the_roster(tmp_path):
    path = tmp_path / "roster.toml"
    path.write_text(BOB + 'token_file = "bob.token"\nca_file = "/etc/ca.pem"\n')
    (tmp_path / "bob.token").write_text(f"{SECRET}\n")
    provider = Roster.load(path).providers[0]
    assert provider.token_file == tmp_path / "bob.token"
    assert provider.ca_file == Path("/etc/ca.pem")
    assert provider.headers({}) == {"Authorization": f"Bearer {SECRET}"}


def test_headers_come_from_the_environment_that_is_given():
    assert bob().headers({"TOKEN": SECRET}) == {}
    assert bob(token_env="TOKEN").headers({"TOKEN": f" {SECRET}\n"}) == {"Authorization": f"Bearer {SECRET}"}
    both = bob(token_env="TOKEN", headers_env="EXTRA")
    assert both.headers({"TOKEN": SECRET, "EXTRA": '{"X-Key": "k"}'}) == {
        "X-Key": "k",
        "Authorization": f"Bearer {SECRET}",
    }


@pytest.mark.parametrize("value", [None, "", " \n"])
def test_a_missing_variable_is_named(value):
    env = {} if value is None else {"BOB_TOKEN": value}
    for key in ("token_env", "headers_env"):
        with pytest.raises(ConfigError) as caught:
            bob(**{key: "BOB_TOKEN"}).headers(env)
        assert caught.value.message == f'provider "bob": {key}: the environment variable BOB_TOKEN is not set'


@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        f'["{SECRET}"]',
        json.dumps({"X": SECRET + "\r\nHost: evil"}),
        json.dumps({f"X {SECRET}": "y"}),
        json.dumps({"X": [SECRET]}),
        json.dumps({"X": SECRET + "é"}),
        "[" * 100_000 + SECRET,
        json.dumps({"authorization": SECRET}),
    ],
)
def test_malformed_headers_are_refused_without_showing_them(value):
    with pytest.raises(ConfigError) as caught:
        bob(headers_env="EXTRA", token_env="TOKEN").headers({"EXTRA": value, "TOKEN": "t"})
    assert 'provider "bob": headers_env: EXTRA' in caught.value.message
    assert SECRET not in repr(caught.value) + caught.value.hint


def test_malformed_tokens_are_refused_without_showing_them(tmp_path):
    path = tmp_path / "token"
    for content in (b"", f"{SECRET}\r\nHost: evil".encode(), f"{SECRET}é".encode(), SECRET.encode() * 9999):
        path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            bob(token_file=path).headers({})
        assert str(path) in caught.value.message
        assert SECRET not in repr(caught.value)
    for unreadable in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read") as caught:
            bob(token_file=unreadable).headers({})
        assert str(unreadable) in caught.value.message
    with pytest.raises(ConfigError, match="TOKEN: expected one line"):
        bob(token_env="TOKEN").headers({"TOKEN": "a\nb"})


def test_a_provider_made_in_code_shows_no_rejected_value():
    with pytest.raises(ValueError) as caught:
        bob(url=f"https://me:{SECRET}@b.example")
    assert SECRET not in str(caught.value)


def test_providers_are_values():
    one, two = bob(path_map={"a": "b"}), bob(path_map={"a": "b"})
    assert one == two
    assert hash(one) == hash(two)
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(ValueError, match="frozen"):
        one.name = "eve"


def test_a_path_prefix_is_a_folder():
    assert [bob(path_prefix=p).path_prefix for p in ("", "/", "a", "/a/b", "a/")] == [
        "",
        "",
        "a/",
        "a/b/",
        "a/",
    ]


LABEL = st.text(max_size=20).filter(lambda text: text.isprintable() and text == text.strip())
ANY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)


@settings(deadline=None)
@given(LABEL.filter(bool), LABEL, st.dictionaries(ANY, ANY, max_size=3), st.none() | st.integers(1, 2**62))
def test_a_written_roster_reads_back_the_same(name, operator, path_map, max_rate):
    providers = (
        bob(name=name, operator=operator, path_map=path_map, max_rate=max_rate),
        bob(name=name + "2", token_env="TOKEN", ca_file=Path('/etc/"ca".pem'), path_prefix='a\\"b/'),
    )
    assert parse(write_roster(providers)).providers == providers
