"""`openltx bench load`: a file with the full structure of a published transformer, read with a cold and a warm cache.

Every reader gets a process of its own and ends with all weights in memory: mapped ones are touched page by page. Extra
memory is what a reader holds beyond the file's own pages, which the system may drop at any time (Linux only).

diffusers reads the same weights under its own names, from a second file of the same size, in the interpreter that
`--diffusers` names; where it is not installed, the table says that it was left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib import import_module
from math import prod, sqrt
from pathlib import Path
from typing import Any

HEADS = 32
BLOCK = 8 * 2**20
PAGE = 4096
PREFIX = "model.diffusion_model."
DIFFUSERS = "diffusers"
READERS = ("raw", "openltx", "load_file", DIFFUSERS)
GOAL_RATE, GOAL_MEMORY = 0.9, 1.2
SHARED_SETTINGS = (
    *("num_attention_heads", "attention_head_dim", "cross_attention_dim", "num_layers"),
    *("audio_attention_head_dim", "audio_cross_attention_dim", "caption_channels"),
)
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One reader, one state of the cache.

    processor: seconds of all its threads, what counts on a busy machine. extra: bytes of memory at its peak beyond the
    file's pages; None: unknown.
    """

    reader: str
    cache: str
    seconds: float
    processor: float
    rate: float  # bytes a second
    extra: int | None


def full_structure(gigabytes: float) -> tuple[Shapes, dict[str, object]]:
    """Names and shapes of LTX-2.3's transformer with its 48 layers, and its configuration.

    As many of the 32 heads, and with them all widths in proportion, as `gigabytes` in bfloat16 allow; one at least.
    """
    whole = _bytes(structure(HEADS)[0])
    heads = min(HEADS, int(HEADS * sqrt(1e9 * gigabytes / whole)) + 1)
    while heads > 1 and _bytes(structure(heads)[0]) > 1e9 * gigabytes:
        heads -= 1
    return structure(max(heads, 1))


def structure(heads: int) -> tuple[Shapes, dict[str, object]]:
    """The transformer's shapes and configuration with this many heads of the published width."""
    from openltx.benchmarks.configs import AUDIO_HEAD, CAPTION, VIDEO_HEAD, transformer
    from openltx.benchmarks.peers.ours import transformer_config
    from openltx.model_loaders.assemble import build_on_meta
    from openltx.networks.transformer import Transformer

    config = transformer("2.3", layers=48, share=1) | {
        "caption_channels": CAPTION * heads // HEADS,
        "num_attention_heads": heads,
        "audio_num_attention_heads": heads,
        "cross_attention_dim": heads * VIDEO_HEAD,
        "audio_cross_attention_dim": heads * AUDIO_HEAD,
    }
    network = build_on_meta(lambda: Transformer(transformer_config(config)))
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}, config


def _bytes(shapes: Shapes) -> int:
    return 2 * sum(map(prod, shapes.values()))


def write_file(path: Path, shapes: Shapes, config: dict[str, object]) -> None:
    """Under the published names. The values are small and mean nothing."""
    metadata = {"config": json.dumps({"transformer": config}), "model_version": "2.3"}
    _write(path, {PREFIX + name: shape for name, shape in shapes.items()}, metadata)


def write_diffusers(folder: Path, shapes: Shapes, config: dict[str, object]) -> None:
    """The same as a model folder of diffusers, which `from_pretrained` takes."""
    from openltx.benchmarks.layouts import DIFFUSERS_TRANSFORMER, rename

    folder.mkdir()
    settings = {
        "_class_name": "LTX2VideoTransformer3DModel",
        "rope_type": "split",
        "audio_num_attention_heads": config["num_attention_heads"],
        **{name: config[name] for name in SHARED_SETTINGS},
        **dict.fromkeys(("gated_attn", "audio_gated_attn", "cross_attn_mod", "audio_cross_attn_mod"), True),
        "use_prompt_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    names = {rename(name, DIFFUSERS_TRANSFORMER): shape for name, shape in shapes.items()}
    _write(folder / "diffusion_pytorch_model.safetensors", names, {"format": "pt"})


def _write(path: Path, shapes: Shapes, metadata: dict[str, str]) -> None:
    """bfloat16, written in pieces: the file may be larger than memory."""
    offset, header = 0, dict[str, object](__metadata__=metadata)
    for name, shape in shapes.items():
        size = 2 * prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # as the format's own writer does
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for written in range(0, offset, BLOCK):
            file.write((os.urandom(BLOCK // 256) * 256)[: min(BLOCK, offset - written)])
        file.flush()
        os.fsync(file.fileno())


def drop_cache(path: Path) -> None:
    """Ask the system to forget the file's pages."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_raw(path: Path) -> None:
    """In order, into one buffer."""
    buffer = bytearray(BLOCK)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def read_openltx(path: Path) -> None:
    from openltx.model_loaders.checkpoint import open_checkpoint
    from openltx.model_loaders.transformer import load_transformer

    touch(load_transformer(open_checkpoint(path)).state_dict().values())


def read_load_file(path: Path) -> None:
    from safetensors.torch import load_file

    touch(load_file(path).values())


def read_diffusers(path: Path) -> None:
    """path: of the weights file in its folder."""
    import torch

    network: Any = import_module(DIFFUSERS).LTX2VideoTransformer3DModel  # not there where types are checked
    model = network.from_pretrained(path.parent, torch_dtype=torch.bfloat16)
    touch(model.state_dict().values())


def touch(tensors: Iterable[object]) -> None:
    """Read a byte of every page."""
    import torch

    for tensor in tensors:
        assert isinstance(tensor, torch.Tensor)
        tensor.detach().reshape(-1).view(torch.uint8)[::PAGE].max()


READ: dict[str, Callable[[Path], None]] = {
    "raw": read_raw,
    "openltx": read_openltx,
    "load_file": read_load_file,
    DIFFUSERS: read_diffusers,
}


def measure(reader: str, path: Path) -> dict[str, float | int | None]:
    """In the process of a reader: its imports come first and do not count."""
    import safetensors.torch  # noqa: F401

    if reader == DIFFUSERS:
        import_module(DIFFUSERS).LTX2VideoTransformer3DModel  # noqa: B018  # it is read when it is first named
    else:
        import openltx.model_loaders.transformer  # noqa: F401

    watch = Watch()
    start, working = time.perf_counter(), time.process_time()
    READ[reader](path)
    seconds, processor = time.perf_counter() - start, time.process_time() - working
    return {"seconds": seconds, "processor": processor, "extra": watch.stop()}


class Watch:
    """The peak of a process's anonymous memory, over what it was at the start; sampled every 2 ms."""

    def __init__(self) -> None:
        self._first = self._peak = anonymous_bytes() or 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._done.wait(0.002):
            self._peak = max(self._peak, anonymous_bytes() or 0)

    def stop(self) -> int | None:
        """Bytes; None where the system does not tell."""
        self._done.set()
        self._thread.join()
        last = anonymous_bytes()
        return None if last is None else max(self._peak, last) - self._first


def anonymous_bytes() -> int | None:
    """Memory of this process that is no page of a file."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    row = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
    return int(row.split()[1]) * 1024


def readings(files: dict[str, Path], runs: int, interpreters: dict[str, str]) -> list[Reading]:
    """Cold and warm, the readers in turn in each run; of several runs the fastest. files, interpreters: by reader."""
    found = []
    for cache in ("cold", "warm"):
        answers: dict[str, list[dict[str, Any]]] = {reader: [] for reader in files}
        for _ in range(runs):
            for reader, path in files.items():
                if cache == "cold":
                    drop_cache(path)
                answers[reader].append(_asked(reader, path, interpreters.get(reader, sys.executable)))
        found += [_fastest(reader, cache, answers[reader], path.stat().st_size) for reader, path in files.items()]
    return found


def _asked(reader: str, path: Path, interpreter: str) -> dict[str, Any]:
    command = [interpreter, __file__, "--reader", reader, "--file", str(path)]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


def _fastest(reader: str, cache: str, answers: list[dict[str, Any]], size: int) -> Reading:
    best, extra = min(answer["seconds"] for answer in answers), [answer["extra"] for answer in answers]
    return Reading(
        reader=reader,
        cache=cache,
        seconds=best,
        processor=min(answer["processor"] for answer in answers),
        rate=size / best,
        extra=None if None in extra else max(extra),
    )


def missing_diffusers(python: str) -> str | None:
    """Why diffusers cannot be measured in this interpreter; None where it can."""
    command = [python, "-c", "from diffusers import LTX2VideoTransformer3DModel"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{python}: {error.strerror}"
    lines = done.stderr.strip().splitlines()
    return f"{python}: {lines[-1] if lines else 'failed'}" if done.returncode else None


def as_text(rows: list[Reading], size: int, largest: int, left_out: str | None = None) -> str:
    raw = {row.cache: row.rate for row in rows if row.reader == "raw"}
    lines = [f"file {size / 1e9:.2f} GB, largest tensor {largest / 1e6:.1f} MB"]
    for row in rows:
        extra = "not known" if row.extra is None else f"{row.extra / 1e6:.1f} MB ({row.extra / largest:.2f} x largest)"
        lines.append(
            f"{row.cache:<5} {row.reader:<10} {row.seconds:7.2f} s {row.rate / 1e9:7.2f} GB/s "
            f"{row.rate / raw[row.cache]:5.2f} of raw   processor {row.processor:5.2f} s   extra memory {extra}"
        )
    if left_out is not None:
        lines.append(f"NOT MEASURED: diffusers ({left_out}); name an interpreter that has it: --diffusers PYTHON")
    return "\n".join([*lines, f"goals: {GOAL_RATE} of raw, {GOAL_MEMORY} x largest"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="openltx bench load", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=3.0, help="at most; default: %(default)s")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: the temporary folder")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--diffusers", default=sys.executable, metavar="PYTHON", help="an interpreter that has it")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reader:
        print(json.dumps(measure(arguments.reader, arguments.file)))
        return
    if platform.system() != "Linux":
        raise SystemExit("bench load: expected Linux, whose page cache can be dropped, found another system")
    shapes, config = full_structure(arguments.gigabytes)
    largest = 2 * max(map(prod, shapes.values()))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "ltx.safetensors"
        write_file(path, shapes, config)
        files = {reader: path for reader in READERS if reader != DIFFUSERS}
        left_out = missing_diffusers(arguments.diffusers)
        if left_out is None:
            write_diffusers(Path(folder) / DIFFUSERS, shapes, config)
            files[DIFFUSERS] = Path(folder) / DIFFUSERS / "diffusion_pytorch_model.safetensors"
        rows = readings(files, arguments.runs, {DIFFUSERS: arguments.diffusers})
        size = path.stat().st_size
    if arguments.json:
        told = {"bytes": size, "largest": largest, "left_out": left_out, "rows": [asdict(row) for row in rows]}
        print(json.dumps(told))
    else:
        print(as_text(rows, size, largest, left_out))


if __name__ == "__main__":
    main()
