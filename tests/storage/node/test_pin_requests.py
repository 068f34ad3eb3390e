"""The requests of the Pinning Service API: replaced, listed, refused; and who may make them."""

from pathlib import Path

import pytest

from holdfast.storage.cid import CID, RAW
from holdfast.storage.node.server import NodeOptions
from support.running_node import RunningNode


def test_a_replaced_request_gets_a_new_id(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo") as node:
        first = node.pin(CID.of(RAW, b"x"))
        answer = node.ask("POST", f"/pins/{first}", body={"cid": str(CID.of(RAW, b"y"))})
        assert answer.status == 202
        assert answer.json()["requestid"] != first
        assert node.ask("GET", f"/pins/{first}").status == 404
        assert node.ask("POST", f"/pins/{first}", body={"cid": str(CID.of(RAW, b"y"))}).status == 404


def test_the_list_is_filtered_and_paged(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo") as node:
        names = ["Alpha", "alpha two", "BETA", "ALPHA"]
        cids = [CID.of(RAW, name.encode()) for name in names]
        ids = [node.pin(cid, name=name) for cid, name in zip(cids, names, strict=True)]
        for requestid in ids:
            node.settled(requestid)

        def names_of(query: str) -> list[str]:
            answer = node.get(f"/pins?status=queued,pinning,pinned,failed&{query}")
            assert answer.status == 200, answer.body
            return [result["pin"]["name"] for result in answer.json()["results"]]

        assert names_of("") == names[::-1]
        assert node.get("/pins").json() == {"count": 0, "results": []}
        assert names_of("name=Alpha") == ["Alpha"]
        assert names_of("name=alpha&match=iexact") == ["ALPHA", "Alpha"]
        assert names_of("name=alpha&match=partial") == ["alpha two"]
        assert names_of("name=alpha&match=ipartial") == ["ALPHA", "alpha two", "Alpha"]
        assert names_of(f"cid={cids[0]},{cids[2]}") == ["BETA", "Alpha"]
        assert names_of("limit=2") == ["ALPHA", "BETA"]
        all_pins = node.get("/pins?status=failed&limit=2").json()
        assert all_pins["count"] == 4
        created = [result["created"] for result in all_pins["results"]]
        assert names_of(f"before={created[1]}") == ["alpha two", "Alpha"]
        assert names_of(f"after={created[1]}") == ["ALPHA"]
        assert len(set(created)) == 2


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "status=lost", "match=maybe", "cid=nonsense", "before=yesterday",
              "meta=[1]", "before=2026-01-01T00:00:00"]
)  # fmt: skip
def test_a_malformed_query_is_refused_in_the_words_of_the_specification(tmp_path: Path, query: str) -> None:
    with RunningNode(tmp_path / "repo") as node:
        answer = node.get(f"/pins?{query}")
    assert answer.status == 400
    assert answer.json()["error"]["reason"] == "BAD_REQUEST"
    assert query.partition("=")[0] in answer.json()["error"]["details"]


def test_malformed_and_oversized_bodies_are_refused(tmp_path: Path) -> None:
    cid = str(CID.of(RAW, b"x"))
    bodies: list[tuple[object, int]] = [
        (b"{", 400),
        (b"[" * 50_000, 400),
        ([], 400),
        ({}, 400),
        ({"cid": "nonsense"}, 400),
        ({"cid": cid, "name": "x" * 256}, 400),
        ({"cid": cid, "origins": ["http://a"] * 21}, 400),
        ({"cid": cid, "origins": "http://a"}, 400),
        ({"cid": cid, "meta": {"a": 1}}, 400),
        (b" " * 70_000, 413),
    ]
    with RunningNode(tmp_path / "repo") as node:
        for body, status in bodies:
            answer = node.ask("POST", "/pins", body=body)
            assert answer.status == status, (body, answer.body)
            assert answer.json()["error"]["reason"] == "BAD_REQUEST"
        assert node.get("/pins?status=queued,failed,pinned,pinning").json()["count"] == 0


def test_a_wrong_or_missing_token_is_refused(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo", token=b"secret") as node:
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}):
            answer = node.ask("GET", "/pins", header)
            assert answer.status == 401
            assert set(answer.json()["error"]) == {"reason", "details"}
        assert node.ask("GET", "/pins", {"Authorization": "Bearer secret"}).status == 200
        assert node.get("/ipfs/bafkqaaa?format=raw").status == 200


def test_without_a_token_only_this_machine_may_pin(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo", host="0.0.0.0") as node:
        assert node.get("/pins").status == 401
        assert node.get("/ipfs/bafkqaaa?format=raw").status == 200


@pytest.mark.parametrize("header", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "same-origin"},
                                    {"Host": "evil.example"}])  # fmt: skip
def test_a_web_page_cannot_pin_through_a_browser_on_this_machine(tmp_path: Path, header: dict[str, str]) -> None:
    with RunningNode(tmp_path / "repo") as node:
        assert node.ask("POST", "/pins", header, {"cid": "bafkqaaa"}).status == 401


def test_the_token_is_never_printed() -> None:
    assert "secret" not in repr(NodeOptions(token=b"secret"))
