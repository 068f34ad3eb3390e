"""The source of the running Python's standard library, published and trained from: every file, unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast import StreamingDataset
from holdfast.demo.corpus import corpus
from support.samples import collect


def test_every_source_file_of_the_standard_library_comes_back(tmp_path: Path, publish_folder: Any, serve: Any) -> None:
    source = corpus(None, tmp_path / "corpus")
    published = publish_folder(source, leaf_size=65536, shard_size=1 << 20)
    urls = [serve(published.folder).url, serve(published.folder).url]
    dataset = StreamingDataset(published.uri, sources=urls, cache=tmp_path / "cache", batch_size=8)
    found = {sample["path"]: sample["text"].encode() for sample in collect(dataset, 2, batch=8)}
    python = {str(path.relative_to(source)): path for path in source.rglob("*.py")}
    assert len(python) > 500
    for name, path in python.items():
        data = path.read_bytes()
        try:
            data.decode()
        except UnicodeDecodeError:
            assert name not in found, "what is not UTF-8 is named by publish, and not in the dataset"
            continue
        assert found[name] == data, name
