"""Initial states that take few values."""

import torch

from physinv.posterior.atoms import Atoms, find_atoms


def test_every_number_goes_to_the_nearest_value_of_its_component():
    atoms = Atoms(torch.tensor([[-1.0, 0.0, 2.0], [5.0, torch.inf, torch.inf], [torch.inf] * 3]))
    x = torch.tensor([[-0.6, 1.0, 0.3], [0.9, -7.0, -2.0], [1.1, 5.0, torch.inf], [torch.nan, 5.0, 0.0]])
    expected = torch.tensor([[-1.0, 5.0, 0.3], [0.0, 5.0, -2.0], [2.0, 5.0, torch.inf], [torch.nan, 5.0, 0.0]])
    assert torch.equal(atoms(x).nan_to_num(9.0), expected.nan_to_num(9.0))
    assert torch.equal(atoms(x[:, None].expand(-1, 7, -1))[:, 3].nan_to_num(9.0), expected.nan_to_num(9.0))


def test_what_is_known_stays_as_it_is():
    x = torch.tensor([[0.7, 0.3, 5.5]])
    assert torch.equal(Atoms(torch.tensor([[0.0, 1.0], [torch.inf] * 2]))(x), torch.tensor([[1.0, 0.3, 5.5]]))


def test_values_of_the_data_stay_what_they_are(generator):
    levels = torch.tensor([-1.2, 0.1, 0.9])
    x = torch.stack([levels[torch.randint(3, (600,), generator=generator)], torch.randn(600, generator=generator)], 1)
    atoms = find_atoms(x)
    assert torch.equal(atoms.values[0], levels)
    assert bool(atoms.values[1].isinf().all())
    assert torch.equal(atoms(x), x)


def test_states_of_many_values_have_no_atoms(generator):
    assert find_atoms(torch.randn((400, 2), generator=generator)) is None
    few = torch.randint(30, (400, 1), generator=generator).float()  # 13 states of each value
    assert find_atoms(few) is None
    assert find_atoms(few.repeat(2, 1)) is not None
