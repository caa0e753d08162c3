"""GPT-2 (Radford et al. 2019) in one file, with GPT-2's own names, but Q, K and V as separate layers.

Shapes: B batch, T tokens of context, D width (n_embd), H heads, V vocabulary, N = B T.
`noise` is the generator of dropout's masks; without one nothing is dropped, as in evaluation.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variance_dynamics.weights.parameter import Parameter

Noise = torch.Generator | None


@dataclass(frozen=True)
class Shape:
    """Sizes and form of a GPT-2; the released small one is 12, 12, 768, 1024, 50257, with dropout .1.

    `tied` says that the head is the token embedding, and not a matrix of its own.
    """

    n_layer: int
    n_head: int
    n_embd: int
    n_ctx: int
    vocab_size: int
    tied: bool = True
    qkv_bias: bool = True
    dropout: float = 0.0


class Attention(nn.Module):
    """Causal self-attention; q, k and v are separate, so that each is drawn and tracked as its own matrix."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.n_head, self.dropout = shape.n_head, shape.dropout
        self.q = nn.Linear(shape.n_embd, shape.n_embd, shape.qkv_bias)
        self.k = nn.Linear(shape.n_embd, shape.n_embd, shape.qkv_bias)
        self.v = nn.Linear(shape.n_embd, shape.n_embd, shape.qkv_bias)
        self.c_proj = nn.Linear(shape.n_embd, shape.n_embd)

    def forward(self, x: Tensor, noise: Noise = None) -> Tensor:
        """[B, T, D] -> [B, T, D]"""
        q, k, v = (self._heads(project(x)) for project in (self.q, self.k, self.v))
        mixed = attend(q, k, v, self.dropout, noise)
        return dropped(self.c_proj(mixed.transpose(1, 2).flatten(2)), self.dropout, noise)

    def _heads(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, H, T, D/H]"""
        batch, context, width = x.shape
        return x.view(batch, context, self.n_head, width // self.n_head).transpose(1, 2)


PLAIN_UP_TO = 512
"""The longest context for which `attend`'s own bf16 code is faster on a CPU than PyTorch's fused kernel."""


def attend(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0, noise: Noise = None) -> Tensor:
    """Causal softmax(q k^T / sqrt(d)) v of [B, H, T, d]; weights are dropped after the softmax.

    On a CPU in bf16 the backward pass of PyTorch's fused kernel takes four times as long at T = 128. And the
    kernel takes no generator for its dropout.
    """
    context, width = q.shape[-2:]
    plain = q.device.type == "cpu" and q.dtype == torch.bfloat16 and context <= PLAIN_UP_TO
    if not plain and (noise is None or dropout == 0):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    heads = q.shape[:-2]
    q, k, v = (x.reshape(-1, context, width) for x in (q, k, v))
    future = torch.full((context, context), -torch.inf, dtype=q.dtype, device=q.device).triu(1)
    scores = torch.baddbmm(future.expand(len(q), -1, -1), q, k.mT, alpha=width**-0.5)
    return torch.bmm(dropped(scores.softmax(-1), dropout, noise), v).view(*heads, context, width)


def dropped(x: Tensor, share: float, noise: Noise) -> Tensor:
    """Dropout (Srivastava et al. 2014): each value is 0 with probability `share`, else x / (1 - share)."""
    if noise is None or share == 0:
        return x
    kept = torch.empty_like(x).bernoulli_(1 - share, generator=noise)
    return (x * kept).div(1 - share)


class MLP(nn.Module):
    """Two layers with GPT-2's tanh approximation of GELU between them."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.dropout = shape.dropout
        self.c_fc = nn.Linear(shape.n_embd, 4 * shape.n_embd)
        self.c_proj = nn.Linear(4 * shape.n_embd, shape.n_embd)

    def forward(self, x: Tensor, noise: Noise = None) -> Tensor:
        """[B, T, D] -> [B, T, D]"""
        return dropped(self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")), self.dropout, noise)


class Block(nn.Module):
    """Pre-norm: attention and MLP each read the normalised residual stream and add to it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(shape.n_embd)
        self.attn = Attention(shape)
        self.ln_2 = nn.LayerNorm(shape.n_embd)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, noise: Noise = None) -> Tensor:
        """[B, T, D] -> [B, T, D]"""
        x = x + self.attn(self.ln_1(x), noise)
        out: Tensor = x + self.mlp(self.ln_2(x), noise)
        return out


class GPT2(nn.Module):
    """The language model."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.wte = nn.Embedding(shape.vocab_size, shape.n_embd)
        self.wpe = nn.Embedding(shape.n_ctx, shape.n_embd)
        self.h = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))
        self.ln_f = nn.LayerNorm(shape.n_embd)
        if not shape.tied:
            self.lm_head = nn.Linear(shape.n_embd, shape.vocab_size, bias=False)
        self.cross_entropy = cross_entropy

    def compile_parts(self, **settings: Any) -> None:
        """Compile the loss and each block; blocks share one program. `settings` are torch.compile's."""
        for block in self.h:
            block.compile(**settings)
        self.cross_entropy = torch.compile(self.cross_entropy, **settings)

    @property
    def head(self) -> Tensor:
        """The matrix that makes logits, [V, D]."""
        weight: Tensor = self.wte.weight if self.shape.tied else self.lm_head.weight
        return weight

    def embed(self, tokens: Tensor, noise: Noise = None) -> Tensor:
        """int64 [B, T] -> [B, T, D], T at most n_ctx."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        return dropped(self.wte(tokens) + self.wpe(positions), self.shape.dropout, noise)

    def hidden(self, tokens: Tensor, noise: Noise = None) -> Tensor:
        """int64 [B, T] -> the head's input, [B, T, D]."""
        x = self.embed(tokens, noise)
        for block in self.h:
            x = block(x, noise)
        out: Tensor = self.ln_f(x)
        return out

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 [B, T] -> logits [B, T, V]."""
        return F.linear(self.hidden(tokens), self.head)

    def loss(self, tokens: Tensor, targets: Tensor, noise: Noise = None) -> Tensor:
        """Mean cross-entropy in nats of int64 `targets` [B, T]; the logits are never all in memory."""
        return self.cross_entropy(self.hidden(tokens, noise).flatten(0, 1), self.head, targets.flatten())

    def second_moments(self, tokens: Tensor) -> Tensor:
        """Mean square of the residual stream, [n_layer + 1]: after the embeddings, then after each block."""
        x = self.embed(tokens)
        moments = [x.double().square().mean()]
        for block in self.h:
            x = block(x)
            moments.append(x.double().square().mean())
        return torch.stack(moments)

    def matrices(self) -> list[Parameter]:
        """Every weight matrix with its role; layers count from 1, and embeddings are layer 0."""
        d, depth = self.shape.n_embd, self.shape.n_layer
        matrices = [Parameter("wte.weight", "embedding", 0, depth, self.shape.vocab_size, d),
                    Parameter("wpe.weight", "position", 0, depth, self.shape.n_ctx, d)]
        block = (("attn.q", "q", d, d), ("attn.k", "k", d, d), ("attn.v", "v", d, d),
                 ("attn.c_proj", "attn_out", d, d),
                 ("mlp.c_fc", "mlp_in", d, 4 * d), ("mlp.c_proj", "mlp_out", 4 * d, d))
        for layer in range(depth):
            matrices += [Parameter(f"h.{layer}.{name}.weight", role, layer + 1, depth, fan_in, fan_out)
                         for name, role, fan_in, fan_out in block]
        head = Parameter("lm_head.weight", "readout", depth, depth, d, self.shape.vocab_size)
        return matrices if self.shape.tied else [*matrices, head]


LOGITS_AT_ONCE = {"cpu": 2**20, "cuda": 2**29}
"""Elements of a chunk of logits: on a CPU it fits into a core's cache, on a GPU it takes 1 GiB in bf16."""
VOCAB_MULTIPLE = 64
"""The head pads the vocabulary to a multiple of this, since tensor cores need aligned rows (50257 is odd)."""


def cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of softmax(hidden head^T) in nats: hidden [N, D], head [V, D], targets int64 [N].

    The products run in the autocast dtype where autocast is on; the sums over the vocabulary in fp32.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    chunks = -(-hidden.shape[0] * head.shape[0] // LOGITS_AT_ONCE.get(device, 2**29))
    rows = -(-hidden.shape[0] // chunks)
    settings = (dtype, rows, torch.is_grad_enabled())
    with torch.autocast(device, enabled=False):
        loss: Tensor = _CrossEntropy.apply(hidden, head, targets, *settings)  # type: ignore[no-untyped-call]
    return loss


class _CrossEntropy(torch.autograd.Function):
    """The forward pass computes both gradients, chunk by chunk, while it has the logits in memory."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, dtype: torch.dtype, rows: int, need: bool
    ) -> Tensor:
        x, w = hidden.to(dtype), _padded(head.to(dtype))
        total, dx, dw = torch.zeros((), device=x.device), [], None
        for x_part, part in zip(torch.split(x, rows), torch.split(targets, rows), strict=True):
            logits = (x_part @ w.t()).float()
            if w.shape[0] > head.shape[0]:
                logits[:, head.shape[0]:] = -torch.inf
            p = logits.softmax(-1)
            total = total + _surprise(logits, p, part).sum()
            if need:
                d = _minus_one_hot(p, part).to(dtype)
                dx.append(d @ w)
                dw_part = (d.t() @ x_part).to(head.dtype)
                dw = dw_part if dw is None else dw + dw_part
        if dw is not None:
            ctx.save_for_backward(torch.cat(dx), dw[: head.shape[0]])
        ctx.count, ctx.hidden_dtype = len(targets), hidden.dtype
        return total / len(targets)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dx, dw = ctx.saved_tensors
        scale = grads[0] / ctx.count
        return dx.to(ctx.hidden_dtype) * scale, dw * scale, None, None, None, None


def _surprise(logits: Tensor, p: Tensor, targets: Tensor) -> Tensor:
    """-log p of each target, [N], where p = softmax(logits); as (l_max - l) - log p_max it cannot underflow.

    p is also what the gradient needs: log_softmax and its exponential would be two passes of exponentials.
    """
    below = logits.amax(-1) - logits.gather(1, targets[:, None])[:, 0]
    return below - p.amax(-1).log()


def _minus_one_hot(p: Tensor, targets: Tensor) -> Tensor:
    """Softmax minus one at the target. A compiler can fuse a comparison; without it a scatter is cheaper."""
    if torch.compiler.is_compiling():
        return p - (targets[:, None] == torch.arange(p.shape[1], device=p.device)).to(p.dtype)
    return p.scatter_add_(1, targets[:, None], p.new_full((len(targets), 1), -1.0))


def _padded(head: Tensor) -> Tensor:
    return F.pad(head, (0, 0, 0, -head.shape[0] % VOCAB_MULTIPLE))
