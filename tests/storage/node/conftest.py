"""What several files of tests pin from."""

from pathlib import Path

import pytest

from holdfast.storage.cid import CID
from support.pin_origin import FILES
from support.trees import mirror_folder


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CID]:
    folder = tmp_path_factory.mktemp("origin")
    return folder, mirror_folder(folder, FILES)
