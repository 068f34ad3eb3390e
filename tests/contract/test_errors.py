"""Errors cross processes (DataLoader workers, Ray): each keeps its class, message, hint, exit code and details."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from holdfast.configs.errors import HoldfastError
from holdfast.loaders import errors as loader_errors
from holdfast.storage import errors as storage_errors
from holdfast.storage.dag.walk import PathNotFoundError
from holdfast.storage.fetch.work import SupersededError

CLASSES = {
    value
    for module in (storage_errors, loader_errors)
    for value in vars(module).values()
    if inspect.isclass(value) and issubclass(value, HoldfastError)
} | {PathNotFoundError, SupersededError}


@pytest.mark.parametrize("cls", sorted(CLASSES, key=lambda cls: cls.__name__))
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickling(cls: type[HoldfastError], protocol: int) -> None:
    error = cls("leaf 3 of bafy… is gone", hint="ask another")
    error.detail = b"evidence"  # type: ignore[attr-defined]
    for other in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):
        assert type(other) is cls
        assert str(other) == other.message == "leaf 3 of bafy… is gone"
        assert (other.hint, other.kind, other.exit_code) == ("ask another", cls.kind, cls.exit_code)
        assert other.detail == b"evidence"


def test_every_error_of_the_storage_layer_is_exported_and_documented() -> None:
    for cls in CLASSES:
        assert cls.__doc__
        if cls.__module__ == storage_errors.__name__:
            assert cls.__name__ in storage_errors.__all__
