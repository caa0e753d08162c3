"""Schemes on anyone's model: judged by the audit, which was written without knowing how they are drawn."""

import pytest
import torch
from torch import nn

from networks import CNN, FAMILIES, NanoGPT, mlp, transformer
from study.gpt2.model import GPT2, Shape
from variance_dynamics import audit, initialize
from variance_dynamics.base.errors import BadInput
from variance_dynamics.init_matrices import initialize as of_the_study
from variance_dynamics.weights.parameter import BLOCK
from variance_dynamics.weights.schemes import SCHEMES

BUILT = {**{family: lambda family=family: transformer(family) for family in FAMILIES},
         "nano": NanoGPT, "mlp": mlp, "cnn": CNN}


@pytest.mark.parametrize("kind", BUILT)
def test_every_parameter_is_set_and_the_audit_finds_nothing(kind):
    model = BUILT[kind]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    done = initialize(model, "kaiming", seed=1)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    report = audit(model, "kaiming")
    assert not report.alarms and not report.broken, [row.note for row in report.alarms]
    names = {row.piece.tensor for row in done.rows} | {*done.ones, *done.zeros}
    assert names == {name for name, _ in model.named_parameters()} and not done.left
    assert [row.parameter.name for row in report.rows if row.verdict != "tied"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_on_a_fused_model(scheme):
    model = transformer("gpt2")
    initialize(model, scheme)
    report = audit(model, scheme)
    if scheme == "orthogonal":  # its std has no sampling error; embeddings are normal
        ratios = [row.ratio for row in report.rows if row.ratio and row.parameter.role in (*BLOCK, "readout")]
        assert ratios == pytest.approx([1] * 12, abs=0.002)
    else:
        assert not report.alarms, [row.note for row in report.alarms]


def test_the_same_bytes_as_the_study_s_own():
    one, other = (GPT2(Shape(n_layer=2, n_head=2, n_embd=16, n_ctx=8, vocab_size=32)) for _ in range(2))
    of_the_study(one, one.matrices(), "gpt2", 0.02, 3)
    initialize(other, "gpt2", seed=3)
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_orthogonal_parts_of_a_fused_tensor_are_each_orthogonal():
    model = transformer("gpt2")
    initialize(model, "orthogonal")
    fused = model.transformer.h[0].attn.c_attn.weight.detach()
    for part in fused.split(32, dim=1):
        torch.testing.assert_close(part.T @ part, 2 * torch.eye(32), rtol=1e-4, atol=1e-4)


def test_layers_of_heads_that_are_interleaved():
    model = transformer("gpt_neox")
    rows = initialize(model, "orthogonal").rows
    k = next(row.piece for row in rows if row.piece.parameter.role == "k")
    values = k.of(model.get_parameter(k.tensor).detach()).reshape(32, 32)
    torch.testing.assert_close(values @ values.T, 2 * torch.eye(32), rtol=1e-4, atol=1e-4)


def test_padding_stays_zero():
    model = nn.Sequential(nn.Embedding(10, 4, padding_idx=3), nn.Linear(4, 2))
    initialize(model, "normal")
    assert (model[0].weight[3] == 0).all() and (model[0].weight[2] != 0).all()


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.temperature = nn.Parameter(torch.ones(()))


def test_nothing_is_left_out_in_silence():
    model = Odd()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with pytest.raises(BadInput, match=r"temperature: parameter without a role: expected a bias or"):
        initialize(model, "kaiming")
    with pytest.raises(BadInput, match=r"weight_ih_l0: no pattern knows this name: expected patterns"):
        initialize(nn.Sequential(nn.LSTM(4, 4), nn.Linear(4, 2)), "kaiming")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), "nothing is changed before all is known"
    done = initialize(model, "kaiming", patterns={"temperature": "ignore"})
    assert done.left == ("temperature",) and str(done).endswith("; left as they are: temperature")


def test_bad_input():
    with pytest.raises(BadInput, match=r"scheme is 'kaimin': expected kaiming"):
        initialize(mlp(), "kaimin")
    for std in (-0.02, 0.0, float("nan")):
        with pytest.raises(BadInput, match=rf"std is {std}: expected a number above 0"):
            initialize(mlp(), "normal", std=std)
    with torch.device("meta"):
        empty = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(BadInput, match=r"0\.weight: parameter holds no memory: expected model\.to_empty"):
        initialize(empty, "kaiming")
