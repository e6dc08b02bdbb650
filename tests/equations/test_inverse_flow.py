"""Back through a step of a flow: the start and the volume where there is a start, and no number where there is none."""

import torch

from physinv.equations.inverse_flow import inverse_flow
from physinv.equations.sde import SDE


class Square(SDE):
    """``dx = (x^2 - 1) dt``, of whose long steps no state below some value is the end."""

    def drift(self, x, t):
        return x**2 - 1

    def diffusion(self, t):
        return torch.zeros_like(t)


def test_states_that_no_start_leads_to_have_no_volume_and_leave_the_others_theirs():
    t0, t1 = torch.zeros(3), torch.full((3,), 0.5)
    x = torch.tensor([[0.3], [-0.2], [0.1]], dtype=torch.float64)
    reached = Square().drift_flow(x, t0, t1)
    reached[1] = -50.0  # one step of Runge and Kutta is a polynomial of even degree, with a least value
    start, volume = inverse_flow(Square(), reached, t0, t1, near=reached)
    assert volume.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(start[[0, 2]], x[[0, 2]], rtol=0, atol=1e-12)
    h = 1e-6
    moved = (Square().drift_flow(x + h, t0, t1) - Square().drift_flow(x - h, t0, t1))[:, 0] / (2 * h)
    torch.testing.assert_close(volume[[0, 2]], moved.log()[[0, 2]], rtol=0, atol=1e-8)
