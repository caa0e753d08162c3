"""GPT-2 against transformers' own, with the same weights; the head's loss against plain cross-entropy."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from study.gpt2 import model as gpt2
from study.gpt2.model import GPT2, Shape

TINY = Shape(n_layer=3, n_head=4, n_embd=32, n_ctx=24, vocab_size=101)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = GPT2(TINY)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, TINY.vocab_size, (3, TINY.n_ctx + 1), generator=generator)
    return tokens[:, :-1], tokens[:, 1:]


def theirs(model):
    """transformers' GPT2LMHeadModel holding the same weights: fused c_attn, matrices as [fan_in, fan_out]."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=TINY.n_layer, n_head=TINY.n_head, n_embd=TINY.n_embd, n_positions=TINY.n_ctx,
        vocab_size=TINY.vocab_size, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    weights = model.state_dict()
    for layer in range(TINY.n_layer):
        place = f"h.{layer}.attn."
        for kind in ("weight", "bias"):
            parts = [weights.pop(f"{place}{role}.{kind}") for role in "qkv"]
            weights[f"{place}c_attn.{kind}"] = torch.cat(parts)
    matrices = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    weights = {f"transformer.{name}": value.mT if name.endswith(matrices) else value
               for name, value in weights.items()}
    other = transformers.GPT2LMHeadModel(config).eval()
    missing, unexpected = other.load_state_dict(weights, strict=False)
    assert unexpected == [] and missing in ([], ["lm_head.weight"])
    other.tie_weights()
    return other


@torch.no_grad()
def test_logits_equal_transformers(model, batch):
    expected = theirs(model)(batch[0]).logits
    torch.testing.assert_close(model(batch[0]), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_parameter_counts():
    with torch.device("meta"):
        model = GPT2(Shape(n_layer=12, n_head=12, n_embd=768, n_ctx=1024, vocab_size=50257))
    assert sum(p.numel() for p in model.parameters()) == 124_439_808


@pytest.mark.parametrize("form", [{}, {"tied": False, "qkv_bias": False}])
def test_matrices_are_all_that_has_two_dimensions_with_their_fans(form):
    model = GPT2(replace(TINY, **form))
    named = {name: tuple(p.shape) for name, p in model.named_parameters() if p.ndim == 2}
    assert ("lm_head.weight" in named) == bool(form)
    fans = {p.name: (p.fan_out, p.fan_in) if p.layer else (p.fan_in, p.fan_out) for p in model.matrices()}
    assert fans == named
    assert {p.layer for p in model.matrices()} == {0, 1, 2, 3}


@pytest.mark.parametrize("at_once", [1, 7 * 101, 10**9])
def test_chunked_loss_and_gradients_equal_plain_cross_entropy(model, batch, at_once, monkeypatch):
    """In float64, with a vocabulary that needs padding and chunks that do not divide the batch."""
    monkeypatch.setitem(gpt2.LOGITS_AT_ONCE, "cpu", at_once)
    model = model.double()
    loss = model.loss(*batch)
    loss.backward()
    whole = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    expected = F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(whole[name], parameter.grad, rtol=2e-6, atol=2e-8, msg=name)


def test_loss_without_gradients_and_in_bf16(model, batch):
    exact = model.loss(*batch).item()
    with torch.no_grad():
        assert model.loss(*batch).item() == exact
    with torch.autocast("cpu", torch.bfloat16):
        assert model.loss(*batch).item() == pytest.approx(exact, rel=0.02)


@torch.no_grad()
def test_second_moments_are_of_the_stream_after_each_block(model, batch):
    seen = [model.embed(batch[0])]
    hooks = [block.register_forward_hook(lambda *call: seen.append(call[-1])) for block in model.h]
    model(batch[0])
    for hook in hooks:
        hook.remove()
    expected = torch.stack([x.double().square().mean() for x in seen])
    torch.testing.assert_close(model.second_moments(batch[0]), expected)


def test_a_head_of_its_own_makes_the_logits_and_the_loss(batch):
    torch.manual_seed(0)
    model = GPT2(replace(TINY, tied=False))
    logits = F.linear(model.hidden(batch[0]), model.lm_head.weight)
    torch.testing.assert_close(model(batch[0]), logits)
    expected = F.cross_entropy(logits.flatten(0, 1), batch[1].flatten())
    torch.testing.assert_close(model.loss(*batch), expected)
    model.loss(*batch).backward()
    assert model.lm_head.weight.grad.norm() > 0


def noise(seed):
    return torch.Generator().manual_seed(seed)


def test_dropped_values_are_zero_by_chance_and_the_mean_stays():
    x = torch.full((1000, 100), 3.0)
    y = gpt2.dropped(x, 0.1, noise(0))
    assert y.unique().tolist() == [0.0, pytest.approx(3 / 0.9)]
    assert (y == 0).double().mean().item() == pytest.approx(0.1, abs=4 * (0.09 / 1e5) ** 0.5)
    assert gpt2.dropped(x, 0.1, None) is x and gpt2.dropped(x, 0.0, noise(0)) is x


@torch.no_grad()
def test_dropout_is_where_gpt2_has_it(batch, monkeypatch):
    """After the embeddings, on the attention's weights, and on both outputs of each block (Radford 2019)."""
    seen, dropped = [], gpt2.dropped
    monkeypatch.setattr(gpt2, "dropped", lambda x, *rest: seen.append(tuple(x.shape)) or dropped(x, *rest))
    model = GPT2(replace(TINY, dropout=0.1))
    model.loss(batch[0], batch[1], noise(0))
    stream, weights = (3, 24, 32), (12, 24, 24)
    assert seen == [stream, *[weights, stream, stream] * 3]


def test_the_loss_depends_on_the_noise_alone(batch):
    torch.manual_seed(0)
    model = GPT2(replace(TINY, dropout=0.1))
    given = (None, noise(1), noise(1), noise(2))
    plain, one, same, other = (model.loss(batch[0], batch[1], each).item() for each in given)
    assert one == same and len({plain, one, other}) == 3
    whole = GPT2(TINY)
    whole.load_state_dict(model.state_dict())
    assert whole.loss(batch[0], batch[1], noise(1)).item() == plain


def test_the_plain_attention_of_dropout_equals_the_fused_one(monkeypatch):
    q, k, v = (torch.randn(2, 4, 24, 8, generator=noise(seed)) for seed in range(3))
    monkeypatch.setattr(gpt2, "dropped", lambda x, *rest: x)
    torch.testing.assert_close(gpt2.attend(q, k, v, 0.1, noise(0)), gpt2.attend(q, k, v))


def test_attention_is_causal(model, batch):
    changed = batch[0].clone()
    changed[:, -1] = (changed[:, -1] + 1) % TINY.vocab_size
    torch.testing.assert_close(model(changed)[:, :-1], model(batch[0])[:, :-1])
