"""Lion as its paper writes it (Chen et al., arXiv 2302.06675, algorithm 2): torch has none."""

import torch


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                sign = torch.sign(b1 * momentum + (1 - b1) * weight.grad)
                weight.sub_(group["lr"] * (sign + group["weight_decay"] * weight))
                momentum.mul_(b2).add_(weight.grad, alpha=1 - b2)
        return loss
