# ruff: noqa: E501
"""Likely mistakes with processes of one's own: a snippet, and the message."""

WORKS = ""

_INITIAL = """
        class Bad(Own):
            def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
                return {}
        Bad().simulate(3)
        """
_DATASET = """
        class Bad(Own):
            def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
                return {}
        pi.generate(pi.DatasetPlan(Bad(), {{"train": 20, "valid": 5}}, name="bad"), "bad")
        """

PROCESSES = {
    # A class of one's own.
    "no-dataclass": (
        """
        class Bare(Own):
            k: float = 1.0
        Bare(k=2.0)
        """,
        "`Bare` must be a dataclass; put @dataclass(frozen=True) above it, so that `k` is a parameter",
    ),
    "no-dataclass-parameter": (
        """
        class Bare(Own):
            k: float = pi.parameter(1.0, "k", "stiffness")
        Bare()
        """,
        "`Bare` must be a dataclass; ... so that `k` is a parameter",
    ),
    "own-constructor": (
        """
        class Made(Own):
            def __init__(self, k=1.0): self.k = k
        Made()
        """,
        "`Made` must be a dataclass; ... without `__init__`",
    ),
    "no-new-field": (
        """
        class Same(Own):
            label = "the same with a label"
        assert Same(steps=4).simulate(3).shape == (3, 5, 2)
        """,
        WORKS,
    ),
    "whole-default": (
        """
        @dataclasses.dataclass(frozen=True)
        class Whole(Own):
            rate: float = pi.parameter(1, "k", "rate")
        assert type(Whole().rate) is type(Whole(rate=0.5).rate) is float
        """,
        WORKS,
    ),
    "swapped-parameter": (
        "pi.parameter('k', 1.0, 'rate')",
        "`symbol` of a parameter must be words, got float 1.0; default, symbol, doc.",
    ),
    "no-basis": (
        """
        class Bare(pi.Linear):
            noise = 0.1
            def rates(self, like): return -torch.ones_like(like)
        pi.solve(Bare(), x, times)
        """,
        "`basis` of Bare must be identity or fourier, got None; set the attribute.",
    ),
    "misspelt-basis": (
        """
        class Misspelt(pi.Linear):
            basis, noise = "furier", 0.1
            def rates(self, like): return -torch.ones_like(like)
        pi.solve(Misspelt(), x, times)
        """,
        "`basis` of Misspelt must be identity or fourier, got 'furier'",
    ),
    "misspelt-parameter": (
        "DoubleWell(temprature=1)",
        "TypeError: DoubleWell has no parameter `temprature`; did you mean `temperature`?",
    ),
    "drift-without-time": (
        """
        class Bad(Own):
            def drift(self, x): return -x
        Bad().simulate(3)
        """,
        "`drift` of Bad must be a function (x, t) -> f, got one of (x)",
    ),
    "drift-without-time-dataset": (
        """
        class Bad(Own):
            def drift(self, x): return -x
        pi.generate(pi.DatasetPlan(Bad(), {"train": 20}, name="bad"), "bad")
        """,
        "`drift` of Bad must be a function (x, t) -> f",
    ),
    "drift-of-one-number": (
        """
        class Bad(Own):
            def drift(self, x, t): return -x[:, :1]
        Bad().simulate(3)
        """,
        "`drift` of Bad must return (batch, 2), got (batch, 1)",
    ),
    "drift-in-place": (
        """
        class Bad(Mine):
            def drift(self, x, t): return x.mul_(-1)
        pi.solve(Bad(), torch.ones(3, 2), times)
        """,
        "`drift` of Bad must leave `x` as it is",
    ),
    "diffusion-without-time": (
        """
        class Bad(Own):
            def diffusion(self): return 0.5
        Bad().simulate(3)
        """,
        "`diffusion` of Bad must be a function (t) -> g, got one of ()",
    ),
    "drift-that-fails": (
        """
        class Bad(Own):
            def drift(self, x, t): return x * {}["friction"]
        Bad().simulate(3)
        """,
        "`drift` of Bad ends with KeyError: 'friction'",
    ),
    "diffusion-that-fails": (
        """
        class Bad(Own):
            def diffusion(self, t): return t / self.friction
        Bad().simulate(3)
        """,
        "`diffusion` of Bad ends with AttributeError: 'Bad' object has no attribute 'friction'",
    ),
    "initial-that-fails": (_INITIAL.format("{}['x']"), "`initial` of Bad ends with KeyError: 'x'"),
    "initial-of-no-numbers": (
        _DATASET.format("torch.zeros(batch, 2) / 0"),
        "`initial` of Bad must draw finite numbers",
    ),
    "drift-of-a-batch": (
        """
        class Bad(Own):
            def drift(self, x, t): return x.mean(0) - x
        pi.generate(pi.DatasetPlan(Bad(), {"train": 20, "valid": 5}, name="bad"), "bad")
        """,
        "`drift` of Bad must see each state of a batch by itself, and draw no noise",
    ),
    "drift-of-a-wrong-number": (
        """
        class Bad(Own):
            def drift(self, x, t):
                a, b, c = x.unbind(1)
                return x
        Bad().simulate(3)
        """,
        "`drift` of Bad ends with ValueError: not enough values to unpack",
    ),
    "drift-of-a-gradient": (
        """
        class Bad(Own):
            def drift(self, x, t): return -torch.autograd.grad((x ** 4).sum(), x)[0]
        Bad().simulate(3)
        """,
        "`drift` of Bad ends with RuntimeError ... ; take gradients under `with torch.enable_grad():`",
    ),
    "drift-at-the-start-alone": (
        """
        class Table(Own):
            def initial(self, batch, *, generator=None, device=None, dtype=torch.float32): return torch.full((batch, 2), 3.0)
            def drift(self, x, t):
                if bool((x > 4).any()): raise RuntimeError("never there")
                return -x
            def diffusion(self, t): return 0.1
        pi.generate(pi.DatasetPlan(Table(), {"train": 20, "valid": 5}, name="table"), "table")
        """,
        WORKS,
    ),
    "drift-with-noise": (
        """
        class Bad(Own):
            def drift(self, x, t): return torch.randn_like(x) - x
        pi.generate(pi.DatasetPlan(Bad(), {"train": 20, "valid": 5}, name="bad"), "bad")
        """,
        "`drift` of Bad must see each state of a batch by itself, and draw no noise",
    ),
    "diffusion-of-the-state": (
        """
        class Bad(Own):
            def diffusion(self, x, t): return 0.5 * x
        Bad().simulate(3)
        """,
        "got one of (x, t); take the times alone, self first; for noise that depends on the state see Multiplicative",
    ),
    "amplitude-shape": (
        """
        class Bad(Multiplicative):
            def drift(self, x, t): return -x
            def amplitude(self, x, t): return 0.1 * x[:, 0]
        pi.solve(Bad(), torch.ones(3, 2), times)
        """,
        "`amplitude` of Bad must return (batch, 2), got (batch,)",
    ),
    "layout-of-numbers": (
        """
        class Bad(Own):
            layout = property(lambda self: (2,))
        Bad().simulate(3)
        """,
        "`layout` of Bad must be a StateLayout, got tuple (2,)",
    ),
    "numpy-initial": (
        _INITIAL.format("np.zeros((batch, 2))"),
        "`initial` of Bad must return a tensor (batch, 2), got ndarray of shape (3, 2); draw with torch",
    ),
    "no-initial": (_INITIAL.format("None"), "`initial` of Bad must return a tensor (batch, 2), got None"),
    "bare-initial": (
        """
        class Bad(Own):
            def initial(self, batch): return torch.zeros(batch, 2)
        Bad().simulate(3)
        """,
        "`initial` of Bad must take (batch, *, generator=None, device=None, dtype=torch.float32), got (batch)",
    ),
    "double-initial": (
        """
        class Good(Own):
            def initial(self, batch, **rest): return torch.zeros(batch, 2, dtype=torch.float64)
        assert Good().simulate(3).dtype == torch.float32
        """,
        WORKS,
    ),
    "global-initial": (
        _DATASET.format("torch.randn(batch, 2)"),
        "`initial` of Bad must draw the same states from the same generator; draw by functions of torch",
    ),
    "same-initial": (
        _DATASET.format("torch.randn(batch, 2, generator=torch.Generator().manual_seed(0))"),
        "`initial` of Bad must draw other states from another generator",
    ),
    "fixed-initial": (
        "pi.generate(pi.DatasetPlan(Own(steps=4), {'train': 20}, name='own'), 'own')",  # all of them at 0
        WORKS,
    ),
}
