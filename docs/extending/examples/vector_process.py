"""A damped pendulum, kicked at random: a process whose state is a vector."""

from dataclasses import dataclass

import torch

import physinv as pi


@dataclass(frozen=True)
class Pendulum(pi.Simulator):
    """Angle ``q`` and angular velocity ``p`` of a pendulum with friction and white noise on ``p``."""

    title = "Damped pendulum, kicked at random"
    equation = "dq = p dt,  dp = -(sin q + damping p) dt + noise dW"
    layout = pi.VectorLayout("angle_and_velocity", 2)

    horizon: float = pi.parameter(3.0, "T", "final time", unit="time", above=0)
    damping: float = pi.parameter(0.3, "gamma", "friction", unit="1/time", minimum=0)
    noise: float = pi.parameter(0.3, "g", "noise amplitude", unit="1/time^3/2", minimum=0)

    def drift(self, x, t):
        q, p = x.unbind(1)
        return torch.stack([p, -torch.sin(q) - self.damping * p], dim=1)

    def diffusion(self, t):
        return self.noise * torch.tensor([0.0, 1.0]).to(t).expand(len(t), 2)

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return torch.randn((batch, 2), generator=generator, device=device, dtype=dtype)
