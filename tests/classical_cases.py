"""Methods and problems that the tests of the classical methods share."""

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.methods.classical.variational import fit_gauss_newton, fit_lbfgs
from physinv.methods.problem import Problem

FITS = (fit_lbfgs, fit_gauss_newton)


def make(simulator, folder, train=300, valid=100, test=8):
    generate(DatasetPlan(simulator, {"train": train, "valid": valid, "test": test}, 0, "data"), folder)
    splits = [TrajectoryDataset(folder / "data" / s).load() for s in ("train", "valid", "test")]
    return Problem(simulator, *splits[:2]), splits[2].states(0), splits[2].states(-1)
