"""Two processes: sharded parameters are measured as whole matrices, replicated ones by rank 0 alone."""

import pandas as pd
import pytest
import torch
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from variance_dynamics import Tracker

WIDTH = 12


class Experts(nn.Module):
    """Three stacked experts of inner width 5, two on the first rank: gate and up, and the way back."""

    def __init__(self):
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.randn(3, WIDTH, 10) / 4)
        self.down_proj = nn.Parameter(torch.randn(3, 5, WIDTH) / 4)

    def forward(self, x):
        gate, up = (x @ self.gate_up_proj).chunk(2, -1)
        return ((gate.relu() * up) @ self.down_proj).sum(0)


class Net(nn.Module):
    """Fused q, k, v (36 rows: 18 on each rank), experts, and 5 outputs: 3 and 2."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.attn = nn.ModuleDict({"c_attn": nn.Linear(WIDTH, 3 * WIDTH), "c_proj": nn.Linear(WIDTH, WIDTH)})
        self.fc1, self.fc2, self.head = nn.Linear(WIDTH, 20), nn.Linear(20, WIDTH), nn.Linear(WIDTH, 5)
        self.mlp = nn.ModuleDict({"experts": Experts()})

    def forward(self, x):
        q, k, v = self.attn["c_attn"](x).chunk(3, -1)
        x = self.attn["c_proj"](q * k.tanh() + v)
        x = x + self.mlp["experts"](x)
        return self.head(self.fc2(self.fc1(x).relu()))


def tracked(model, stopped_at=4, **options):
    """Four updates; after `stopped_at` a new tracker continues from the state of the first one, on rank 0."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    options |= {"every": 1, "windows": (3,), "measure": ("weights", "gradients", "updates", "displacement")}
    first = Tracker(model, optimizer, **options)
    train(model, optimizer, range(stopped_at))
    first.close()
    if stopped_at == 4:
        return first.frame()
    second, state = Tracker(model, optimizer, start=stopped_at, **options), [first.state_dict()]
    torch.distributed.broadcast_object_list(state)
    second.load_state_dict(state[0])
    train(model, optimizer, range(stopped_at, 4))
    second.close()
    return second.frame()


def train(model, optimizer, steps):
    for step in steps:
        optimizer.zero_grad()
        x = torch.randn(8, WIDTH, generator=torch.Generator().manual_seed(step))
        model(x).square().mean().backward()  # the same data on each rank: the mean is one process's
        optimizer.step()


def work(rank, folder, kind, stopped_at):
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(str(folder / "store"), 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    model = Net()
    if kind == "fsdp":
        mesh = torch.distributed.init_device_mesh("cpu", (2,))
        model = fully_shard(model, mesh=mesh)
    else:
        model = DistributedDataParallel(model)
    tracked(model, stopped_at, path=folder / "run.jsonl").to_pickle(folder / f"{rank}.pkl")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "stopped_at"), [("fsdp", 4), ("ddp", 4), ("fsdp", 2)])
def test_the_table_is_that_of_one_process(kind, stopped_at, tmp_path):
    mp.spawn(work, (tmp_path, kind, stopped_at), nprocs=2)
    alone = tracked(Net())
    first, second = (pd.read_pickle(tmp_path / f"{rank}.pkl") for rank in (0, 1))
    names = first.name.str.removeprefix("module.")
    pd.testing.assert_frame_equal(first.assign(name=names), alone, rtol=2e-3, atol=1e-9)
    assert len(second) == (len(first) if kind == "fsdp" else 0)
    written = pd.read_json(tmp_path / "run.jsonl", lines=True)
    assert len(written) == len(first)
