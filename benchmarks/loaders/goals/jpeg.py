"""Decoding JPEGs out of a published dataset, beside decoding the same JPEGs out of memory: two workers each."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from holdfast import publish
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.get import get

from ...goal import Goal
from ...nginx import nginx
from ..environments import child_environment
from ..job import Job
from ..process import watch
from .setting import Setting

_COUNT, _PER_TAR = 8_000, 1_000
_SIDE = 256
_CAP_S = 300.0


def goals(setting: Setting) -> list[Goal]:
    """Ours warm and cold; every run a process, the clock as everywhere from before the dataset."""
    warm = Goal("JPEG decoding, 2 workers, warm / the same from memory", 0.9)
    cold = Goal("JPEG decoding, 2 workers, cold / the same from memory", 0.9)
    count = max(640, int(_COUNT * setting.scale))
    source, repo, served = (setting.work / name for name in ("source", "repo", "served"))
    _write(source, count)
    uri = publish(source, name="jpeg", repo=repo).uri
    with DiskStore(repo).open(create=False) as store:
        get(uri, served / "ours" / "jpeg", store=store)
    with nginx(served, setting.work / "nginx") as host:
        for number in range(setting.rounds):
            cache = str(setting.work / f"cache-{number}")

            def job(loader: str, cache: str = cache) -> Job:
                options = {"uri": uri, "folder": str(source)}
                return Job(loader, "jpeg", host.url, cache, 2, shuffle=True, samples=count, options=options)

            found = [_run(job(loader), setting.work) for loader in ("holdfast", "holdfast", "memory")]
            if len({digest for _, digest in found}) > 1:
                raise SystemExit(f"JPEG: not the same pictures: {found}")
            first, again, memory = (seconds for seconds, _ in found)
            cold.runs.append(memory / first)
            warm.runs.append(memory / again)
            cold.detail = warm.detail = f"{count:,} of {_SIDE} × {_SIDE}, from memory {count / memory:,.0f}/s"
            setting.say(f"JPEG: cold {first:.2f} s, warm {again:.2f} s, from memory {memory:.2f} s")
    return [cold, warm]


def _run(job: Job, folder: Path) -> tuple[float, int]:
    """Seconds, and the sum over what was decoded."""
    command = [sys.executable, "-m", "benchmarks.loaders.epoch", job.to_json()]
    done = watch(command, child_environment(folder), _CAP_S, folder)
    if done.said is None or done.problem or {done.said["samples"], done.said["distinct"]} != {job.samples}:
        raise SystemExit(f"{job.loader}: {done.problem or done.said}")
    return float(done.said["epoch_s"]), int(done.said["digest"])


def _write(folder: Path, count: int) -> None:
    """Smooth pictures with some noise, as JPEG takes them: some 20 KB each."""
    folder.mkdir()
    random = np.random.default_rng(4)
    wave = np.sin(np.linspace(0, 9, _SIDE))
    for first in range(0, count, _PER_TAR):
        with tarfile.open(folder / f"{first // _PER_TAR:05d}.tar", "w") as tar:
            for number in range(first, min(first + _PER_TAR, count)):
                smooth = 128 + 80 * np.outer(np.roll(wave, number), wave)[..., None] * random.random(3)
                pixels = smooth + random.normal(0, 12, (_SIDE, _SIDE, 3))
                out = io.BytesIO()
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
                for extension, data in (("jpg", out.getvalue()), ("cls", str(number).encode())):
                    about = tarfile.TarInfo(f"{number:08d}.{extension}")
                    about.size = len(data)
                    tar.addfile(about, io.BytesIO(data))
