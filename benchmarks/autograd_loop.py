"""UDU as a reader of the paper would write it in PyTorch: autograd, SGD, projection. The yardstick; kept as it is."""

import torch


def autograd_loop(rows, cols, values, U, D, step_size, iterations, radius=1.0):
    """Run ``iterations`` steps of UDU on a completion problem from U (d, r) and D (r,); returns both."""
    U, D = U.clone().requires_grad_(), D.clone().requires_grad_()
    optimizer = torch.optim.SGD([U, D], lr=step_size)
    for _ in range(iterations):
        optimizer.zero_grad()
        X = (U * D) @ U.T
        loss = 0.5 * ((X[rows, cols] - values) ** 2).sum()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            norm = U.norm()
            if norm > radius:
                U *= radius / norm
            D.clamp_(min=0)
    return U.detach(), D.detach()
