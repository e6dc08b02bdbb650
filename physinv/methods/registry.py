"""The registry of methods, with one line about each of ours."""

from __future__ import annotations

__all__ = [
    "DEFAULT_METHOD",
    "METHODS",
    "check_options",
    "check_takes_prior",
    "describe_method",
    "fit_method",
    "load_method",
    "method_names",
    "method_options",
    "stored_tensors",
    "trains",
]

import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.failures import blamed_on
from physinv.config.inputs import describe
from physinv.config.registry import Registry
from physinv.config.suggest import did_you_mean
from physinv.methods.problem import Answer, Method, Problem
from physinv.methods.saving import Setup, check_saveable, loading_of, notes_of, tensors_of

_TRIED = 4  # draws of an answer from outside, for each of two final states, before it is used

DEFAULT_METHOD = "auto"
"""The method of `physinv train` where none is named."""

_OURS = {  # name: (place below physinv.methods, one line about it), in the order of tables
    "exact": ("exact:fit_exact", "the exact posterior, where one is known"),
    "auto": ("auto:fit_auto", "the best of a few methods by a proper score on validation data"),
    "physinv": (
        "own.method:fit_physinv",
        "jump kernels or a reverse SDE, with known physics (this package)",
    ),
    "physinv-flow": ("own.method:fit_flow", "probability-flow ODE with the same score: one pre-image"),
    "linear": (
        "classical.later_times:fit_linear_estimate",
        "linear estimate (LMMSE, Wiener filter) with the variance that it misses",
    ),
    "increments": (
        "learned.increments:fit_increments",
        "law of x_0 around the linear estimate, relative to x_T: for recordings",
    ),
    "physics": ("classical.physics:fit_physics", "the physics run backward, without score"),
    "score-only": ("learned.score_only:fit_score_only", "reverse SDE whose score has to learn the physics as well"),
    "regression": ("learned.regression:fit_regression", "supervised network from x_T to x_0: one estimate"),
    "fno": ("learned.operator:fit_fno", "Fourier neural operator from x_T to x_0: one estimate"),
    "dropout": ("learned.regression:fit_dropout", "Bayesian network by spatial dropout"),
    "deep-ensemble": ("learned.deep_ensemble:fit_deep_ensemble", "five networks, each with mean and variance"),
    "lbfgs": (
        "classical.variational:fit_lbfgs",
        "variational (4D-Var) by L-BFGS through the simulator, Gaussian prior, Laplace posterior",
    ),
    "gauss-newton": (
        "classical.variational:fit_gauss_newton",
        "variational by Gauss-Newton, Gaussian prior, Laplace posterior",
    ),
    "mcmc": (
        "classical.monte_carlo.mcmc:fit_mcmc",
        "Hamiltonian Monte Carlo over paths: exact draws for thousands of simulations each",
    ),
    "importance": (
        "classical.monte_carlo.importance:fit_importance",
        "importance sampling over forward runs: exact draws, vectors of up to four numbers",
    ),
    "ensemble-kalman": (
        "classical.ensemble_kalman:fit_ensemble_kalman",
        "ensemble Kalman inversion, multiple data assimilation",
    ),
    "dps": (
        "learned.diffusion_prior:fit_diffusion_prior",
        "unconditional diffusion prior, posterior sampling through the simulator",
    ),
    "prior": (
        "prior:fit_prior_run",
        "diffusion model of x_0 that knows no observation: the prior of other methods",
    ),
    "conditional-diffusion": (
        "learned.conditional:fit_conditional_diffusion",
        "diffusion from noise to x_0, given x_T",
    ),
    "flow-matching": ("learned.conditional:fit_flow_matching", "flow matching from noise to x_0, given x_T"),
    "imputation": (
        "learned.imputation:fit_imputation",
        "conditional diffusion of whole trajectories, given any of their entries",
    ),
    "latent": (
        "latent:fit_latent",
        "another method on codes of fewer points, for large fields",
    ),
    "npse": (
        "learned.simulation_based:fit_npse",
        "neural posterior score estimation (package sbi), vectors",
    ),
    "fmpe": (
        "learned.simulation_based:fit_fmpe",
        "flow matching posterior estimation (package sbi), vectors",
    ),
}

METHODS: Registry[Method] = Registry(
    "method",
    "physinv.methods",
    callable,
    "a function of a Problem that returns an answer",
    {name: f"physinv.methods.{place}" for name, (place, _) in _OURS.items()},
)
"""All methods by name; nothing is imported before it is asked for."""


def method_names() -> list[str]:
    """List the registered methods: ours in the order of tables, then those from outside.

    Returns:
        Registered names.
    """
    return [*_OURS, *(name for name in METHODS.names() if name not in _OURS)]


def describe_method(name: str) -> str:
    """Return one line about a method.

    Args:
        name: A registered name, or ``module:function``.

    Returns:
        The line of the table, or the first line of the function's docstring.

    Raises:
        ValueError: If there is no such method.

    Example:
        >>> describe_method("exact")
        'the exact posterior, where one is known'
    """
    if name in _OURS:
        return _OURS[name][1]
    return (inspect.getdoc(METHODS.find(name)) or name).splitlines()[0]


def method_options(name: str) -> dict[str, Any]:
    """Return the options of a method, the keyword-only arguments of its function, with their defaults.

    Args:
        name: A registered name, or ``module:function``.

    Returns:
        Default values by name.

    Raises:
        ValueError: If there is no such method, or it is no function of a problem alone and of options.

    Example:
        >>> method_options("conditional-diffusion")
        {'steps': 32}
    """
    taken = inspect.signature(METHODS.find(name))
    found = {p.name: p.default for p in taken.parameters.values() if p.kind == p.KEYWORD_ONLY}
    try:
        taken.bind(None, **found)
    except TypeError:
        told = f"method `{name}` must be a function (problem, *, option=default, ...), got one of {taken}"
        raise ValueError(f"{told}; let it take the problem alone, and options behind `*`.") from None
    missing = [option for option, value in found.items() if value is inspect.Parameter.empty]
    if missing:
        raise ValueError(f"option `{missing[0]}` of method `{name}` must have a default value; give it one.")
    return found


def check_options(name: str, options: Mapping[str, Any] | None) -> None:
    """Check that a method has the options given.

    Args:
        name: A registered name, or ``module:function``.
        options: Options, by name; None: there are none.

    Raises:
        ValueError: If there is no such method or option, or a value is of another type than the default.
    """
    known = method_options(name)
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"`options` must be a dict, got {describe(options)}; give {{name: value}}.")
    for option, value in (options or {}).items():
        if option not in known:
            raise ValueError(f"method `{name}` has no option `{option}`; {did_you_mean(option, known, owner='it has')}")
        kind = _kind_of(name, option) if known[option] is None else type(known[option])
        if kind is None or (value is None and known[option] is None):
            continue
        fitting = {float: (int, float), tuple: (list, tuple)}.get(kind, kind)
        if not isinstance(value, fitting) or isinstance(value, bool) != (kind is bool):
            told = f"option `{option}` of method `{name}` must be of type {kind.__name__}"
            raise ValueError(f"{told}, got {describe(value)}; its default is {known[option]!r}.")


def _kind_of(name: str, option: str) -> type[Any] | None:
    """The type of an option whose default is None, as ``int | None`` says it; None: another one."""
    said = inspect.signature(METHODS.find(name)).parameters[option].annotation
    return {"int": int, "float": float, "str": str}.get(str(said).partition(" | ")[0])


def trains(name: str) -> bool:
    """Return whether fitting a method spends the budget; others reconstruct without a run as well.

    Args:
        name: A registered name, or ``module:function``.

    Example:
        >>> trains("gauss-newton"), trains("flow-matching")
        (False, True)
    """
    return loading_of(METHODS.find(name)).trains


def check_takes_prior(name: str) -> None:
    """Refuse a method that no prior can be given to.

    Args:
        name: A registered name, or ``module:function``.

    Raises:
        ValueError: If none can.
    """
    if not loading_of(METHODS.find(name)).prior:
        able = ", ".join(other for other in method_names() if loading_of(METHODS.find(other)).prior)
        raise ValueError(f"method `{name}` takes no prior of a run; take one of {able}.")


def fit_method(name: str, problem: Problem, options: Mapping[str, Any] | None = None) -> Answer:
    """Fit a method to a problem.

    Args:
        name: A registered name, or ``module:function``.
        problem: The process, its data and the budget.
        options: Options of the method, by name.

    Returns:
        The answer, which draws samples for any observation.

    Raises:
        NotApplicableError: If the method has no meaning for this process.
        ValueError: If there is no such method or option, or what it returns is no answer; of methods from outside also
            if they fail, or their answer does not draw states for final ones.
    """
    options = _tuples(options or {})
    check_options(name, options)
    with nullcontext() if name in _OURS else blamed_on(f"method `{name}`"):
        answer = METHODS.find(name)(problem, **options)
    _check_answer(f"method `{name}`", answer)
    if name not in _OURS and not problem.simulator.unknown:
        _try(name, answer, problem.valid.states(-1, limit=2), problem.simulator.shape)
    return answer


def stored_tensors(
    name: str,
    answer: Answer,
    setup: Setup,
    final: Float[Tensor, "n *state"],
    options: Mapping[str, Any] | None = None,
) -> dict[str, Tensor]:
    """Return the tensors that an answer is stored as, from which it can be made again.

    Args:
        name: Name of the method.
        answer: Its answer.
        setup: What the run knows.
        final: Some final states, of which an answer from outside and what is made again must draw the same samples.
        options: Options that the method was fitted with.

    Returns:
        Tensors by name.

    Raises:
        ValueError: If it has none, they are no tensors by name, or an answer from outside is not made again from them.
    """
    tensors = tensors_of(name, answer)
    network = setup.settings.network
    own = f"`load` of method `{name}`" if name not in _OURS else f"network `{network}`" if ":" in network else ""
    if own:
        again = load_method(name, replace(setup, notes=notes_of(answer)), tensors, options)
        if not torch.allclose(_draw(name, answer, final), _draw(name, again, final)):
            kept = "" if name not in _OURS else "; keep what it needs in parameters and buffers"
            raise ValueError(f"{own} must make the answer again when it is loaded, and its samples are others{kept}.")
    return tensors


def _check_answer(who: str, answer: object) -> None:
    """Refuse what is no answer."""
    if not isinstance(answer, Answer) or isinstance(answer, type):
        got = answer.__name__ if isinstance(answer, type) else describe(answer)
        raise ValueError(f"{who} must return an answer with `sample` and `mean`, got {got}.")


def _try(name: str, answer: Answer, final: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse an answer from outside that does not draw states, before anything is made of its draws."""
    who, before = f"the answer of method `{name}`", final.clone()
    drawn = _draw(name, answer, final)
    with blamed_on(f"`mean` of {who}"):
        mean: Any = answer.mean(final)
    for part, found, wanted in (
        ("sample", drawn, (len(final), _TRIED, *shape)),
        ("mean", mean, (len(final), *shape)),
    ):
        told = f"`{part}` of {who} must return a tensor {wanted} for {len(final)} final states"
        if not isinstance(found, Tensor) or tuple(found.shape) != wanted:
            call = f"sample(final, {_TRIED}, generator=...)" if part == "sample" else "mean(final)"
            raise ValueError(f"{told}, got {describe(found)} from {call}.")
        if not found.is_floating_point() or not bool(found.isfinite().all()):
            got = found.dtype if not found.is_floating_point() else "NaN or infinity"
            raise ValueError(f"{told}, of finite numbers, got {got}.")
    if not torch.equal(final, before):
        raise ValueError(f"{who} must leave the final states as they are; work on a copy, `final.clone()`.")
    if not torch.allclose(drawn, _draw(name, answer, final)):
        raise ValueError(
            f"`sample` of {who} must draw the same samples from the same generator; draw by functions of torch, and "
            "give `generator` to each."
        )


def _draw(name: str, answer: Answer, final: Tensor) -> Any:
    """A few draws of an answer from outside, the same ones at each call."""
    generator = torch.Generator(final.device).manual_seed(0)
    with blamed_on(f"`sample` of the answer of method `{name}`"):
        return answer.sample(final, _TRIED, generator=generator)


def load_method(
    name: str, setup: Setup, tensors: Mapping[str, Tensor], options: Mapping[str, Any] | None = None
) -> Answer:
    """Make an answer again from its tensors.

    Args:
        name: A registered name, or ``module:function``.
        setup: What the run knows.
        tensors: All that was fitted, as the answer's ``tensors()`` returned it.
        options: Options that the method was fitted with.

    Returns:
        The answer, which draws the same samples from the same generator.

    Raises:
        ValueError: If there is no such method, its answers cannot be saved, or what loads one from outside fails.
        KeyError: If a tensor is missing.
        RuntimeError: If a tensor is of another shape.
    """
    fit = METHODS.find(name)
    check_saveable(name, fit)
    load = loading_of(fit).load
    assert load is not None
    moved = {key: tensor.to(setup.device) for key, tensor in tensors.items()}
    told = f"`load` of method `{name}`"
    with nullcontext() if name in _OURS else blamed_on(told):
        answer: Answer = load(setup, moved, **_tuples(options or {}))
    _check_answer(told, answer)
    return answer


def _tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as functions take them: JSON and TOML have lists where Python has tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
