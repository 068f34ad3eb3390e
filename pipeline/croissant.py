"""`croissant.json`: the dataset described for catalogues that read MLCommons Croissant 1.0."""

from __future__ import annotations

import hashlib
import json

from ..storage.manifest import HEAD_PATH, Head

_SUFFIX = {
    "tar": "*.tar", "parquet": "*.parquet", "tokens": "*", "tar.zst": "*.tar.zst", "jsonl.zst": "*.zst", "arrow": "*"
}  # fmt: skip  # Arrow files are called .arrow or .feather, JSON lines .jsonl or .ndjson
_MEDIA_TYPE = {
    "tar": "application/x-tar",
    "parquet": "application/vnd.apache.parquet",
    "tokens": "application/octet-stream",
    "tar.zst": "application/zstd",
    "jsonl.zst": "application/zstd",
    "arrow": "application/vnd.apache.arrow.file",
}
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "includes": "cr:includes",
}


def croissant(head: Head, head_bytes: bytes) -> bytes:
    """The document, from the head alone: the same for the same head."""
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": head.title or "dataset",
        "description": head.description,
        "license": head.licence,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": HEAD_PATH,
                "name": HEAD_PATH,
                "contentUrl": HEAD_PATH,
                "encodingFormat": "application/json",
                "sha256": hashlib.sha256(head_bytes).hexdigest(),
            },
            {
                "@type": "cr:FileSet",
                "@id": "shards",
                "name": "shards",
                "encodingFormat": _MEDIA_TYPE[head.shard_format],
                "includes": f"data/**/{_SUFFIX[head.shard_format]}",
            },
        ],
    }
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
