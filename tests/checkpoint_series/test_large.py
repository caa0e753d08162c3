"""The memory that a model of 1.5 GB takes, and the speed beside reading its files alone."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

WIDTH, LAYERS, VOCABULARY, INNER, SHARDS = 1024, 24, 50304, 2816, 4
PEAK = 600
"""MB, of 10^6 bytes."""
MEASURED = """
import resource, sys
from variance_dynamics.cli import main
try:
    main(["series", *sys.argv[1:]])
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_maxrss / 1e3, used.ru_utime + used.ru_stime, int("torch" in sys.modules), file=sys.stderr)
"""


def shapes():
    named = {"model.embed_tokens.weight": (VOCABULARY, WIDTH)}
    for layer in range(LAYERS):
        place = f"model.layers.{layer}"
        named |= {f"{place}.self_attn.{part}_proj.weight": (WIDTH, WIDTH) for part in "qkvo"}
        named |= {f"{place}.mlp.{part}_proj.weight": (INNER, WIDTH) for part in ("gate", "up")}
        named |= {f"{place}.mlp.down_proj.weight": (WIDTH, INNER)}
    return named | {"lm_head.weight": (VOCABULARY, WIDTH)}


def values(seed, shape, step):
    """float32, in parts: normal at step 0, then moved."""
    start = np.random.Generator(np.random.SFC64([0, seed]))
    noise = np.random.Generator(np.random.SFC64([1, seed, step]))
    for first in range(0, shape[0], 4096):
        part = (min(4096, shape[0] - first), *shape[1:])
        drawn = np.float32(0.02) * start.standard_normal(part, "f4")
        if step:
            drawn += np.float32(2e-4 * step**0.5) * noise.standard_normal(part, "f4")
        yield drawn.tobytes()


def write(folder, step):
    """A made checkpoint in four shards, as transformers saves one."""
    folder.mkdir(parents=True)
    names = shapes()
    total, done, shards = sum(4 * np.prod(shape) for shape in names.values()), 0, [[] for _ in range(SHARDS)]
    for name, shape in names.items():
        shards[min(SHARDS - 1, int(SHARDS * done / total))].append(name)
        done += 4 * np.prod(shape)
    places = {}
    for number, held in enumerate(shards, 1):
        file, header, end = f"model-{number:05d}-of-{SHARDS:05d}.safetensors", {}, 0
        for name in held:
            size = int(4 * np.prod(names[name]))
            header[name] = {"dtype": "F32", "shape": names[name], "data_offsets": [end, end + size]}
            places[name], end = file, end + size
        text = json.dumps(header).encode()
        with (folder / file).open("wb") as opened:
            opened.write(len(text).to_bytes(8, "little") + text)
            for name in held:
                opened.writelines(values(list(names).index(name), names[name], step))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return total


@pytest.mark.slow
def test_peak_memory_and_speed(tmp_path):
    total = sum(write(tmp_path / "run" / f"step{step}", step) for step in (0, 100))
    assert total > 2 * 1.5e9
    before = time.perf_counter()
    buffer = bytearray(2**22)
    for file in sorted((tmp_path / "run").rglob("*.safetensors")):
        with file.open("rb", buffering=0) as opened:
            while opened.readinto(buffer):
                pass
    alone, before = time.perf_counter() - before, time.perf_counter()
    done = subprocess.run([sys.executable, "-c", MEASURED, str(tmp_path / "run"), "--table",
                           str(tmp_path / "t.parquet")], capture_output=True, text=True)
    took = time.perf_counter() - before
    assert done.returncode == 0, done.stdout + done.stderr
    peak, cpu, torch = map(float, done.stderr.splitlines()[-1].split())
    print(f"peak {peak:.0f} MB; {total / took / 1e6:.0f} MB/s, {total / cpu / 1e6:.0f} MB/s of a core; "
          f"reading alone {total / alone / 1e6:.0f} MB/s")
    assert peak < PEAK and not torch
