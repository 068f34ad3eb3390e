"""Decoding of members, by an allow-list. Nothing here can run code out of a dataset: pickles are refused.

webdataset's own `basichandlers` unpickle `.pyd` and `.pkl` members; a tar from anyone would run `os.system` with
them. We use its image and audio-free handlers by name, and our own for text, numbers, JSON and arrays.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ..storage.errors import ConfigError
from .errors import NOT_THE_SAMPLES, SampleError
from .readers.reader import Sample

Decode = Literal["torch", "pil", "memoryview", "uint8"] | Callable[[Sample], Any] | None

PICKLES = frozenset({"pyd", "pkl", "pickle", "pth", "pt", "ten", "tb", "dill", "joblib", "npz"})
IMAGES = frozenset({"jpg", "jpeg", "png", "ppm", "pgm", "pbm", "pnm", "webp", "gif", "bmp", "tif", "tiff"})


def _text(data: bytes) -> str:
    return data.decode("utf-8")


def _integer(data: bytes) -> int:
    return int(data)


def _array(data: bytes) -> Any:
    return np.load(io.BytesIO(data), allow_pickle=False)


_HANDLERS: dict[str, Callable[[bytes], Any]] = {
    **dict.fromkeys(("txt", "text", "transcript"), _text),
    **dict.fromkeys(("cls", "cls2", "class", "count", "index", "inx", "id"), _integer),
    **dict.fromkeys(("json", "jsn"), json.loads),
    "npy": _array,
}


def handler_of(name: str) -> Callable[[bytes], Any] | None:
    """What a member of text, a number, JSON or an array becomes a value by; None for all others, images too."""
    return _HANDLERS.get(name.rpartition(".")[2].lower())


class Decoder:
    """Turns the bytes of a sample's members into values. `kind` is what images become: "torch" or "pil"."""

    def __init__(self, kind: Literal["torch", "pil"]) -> None:
        if kind not in ("torch", "pil"):
            raise ConfigError(
                f"decode={kind!r}: expected 'torch', 'pil', 'memoryview', 'uint8', a callable or None",
                hint="give one of these",
            )
        self.kind = kind
        self._image: Callable[[str, bytes], Any] | None = None

    def __call__(self, sample: Sample) -> Sample:
        """A new sample; members of unknown extension stay bytes, values that are not bytes stay as they are."""
        return {name: self._member(name, value, sample) for name, value in sample.items()}

    def _member(self, name: str, value: Any, sample: Sample) -> Any:
        if not isinstance(value, bytes) or name.startswith("__"):
            return value
        extension = name.rpartition(".")[2].lower()
        if extension in PICKLES:
            raise SampleError(
                f"member {name!r} may run code when it is decoded, and is refused",
                hint="pass decode=None to get its bytes",
            )
        try:
            if extension in IMAGES:
                return self._decode_image(extension, value)
            handler = _HANDLERS.get(extension)
            return handler(value) if handler else value
        except NOT_THE_SAMPLES:
            raise
        except Exception as error:
            raise SampleError(
                f"member {name!r} cannot be decoded: {error}",
                hint="pass decode=None to get its bytes",
            ) from error

    def _decode_image(self, extension: str, data: bytes) -> Any:
        if self._image is None:
            from webdataset.autodecode import ImageHandler

            self._image = ImageHandler("torchrgb" if self.kind == "torch" else "pilrgb", sorted(IMAGES))
        return self._image(extension, data)

    def __getstate__(self) -> dict[str, Any]:
        return {"kind": self.kind, "_image": None}


def make_decoder(decode: Decode) -> Callable[[Sample], Any] | None:
    """The function that `StreamingDataset(decode=…)` means; None: the reader gives what is asked for.

    Raises `ConfigError`.
    """
    if decode is None or decode == "memoryview" or decode == "uint8":
        return None
    if callable(decode):
        return decode
    return Decoder(decode)
