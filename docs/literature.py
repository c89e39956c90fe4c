"""Computes published results about optimizers and problems again, for the last section of docs/field.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines import build
from amsgrad_exp.engines.batch import Batch
from amsgrad_exp.engines.driver import Chunk, drive_batch
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.read import resolve
from amsgrad_exp.theory import drift

PAPER = {"dialect": "paper"}
SEEDS = 256
TOY_SEEDS = 64

Floats = NDArray[np.float64]


def corrections() -> Iterator[str]:
    """The section's paragraphs."""
    for paragraph in PARAGRAPHS:
        yield paragraph()


def trial(problem: Any, optimizer: Any, steps: int, **others: Any) -> Trial:
    """One trial in double precision."""
    given = {"problem": problem, "optimizers": [optimizer], "steps": steps, "dtype": "float64", **others}
    return resolve(given).trials()[0]


def advanced(one: Trial) -> Batch:
    """The trial's engine after the last step."""
    engine = build(one)
    engine.advance(one.steps, one.steps)
    return engine


def state(one: Trial) -> Floats:
    """x and the rule's state after the last step."""
    return np.frombuffer(advanced(one).states[0], np.float64)


def over_seeds(one: Trial, seeds: int) -> Floats:
    """x at the logged points, of shape (seeds, points)."""
    xs = np.empty((seeds, one.steps // one.log_every))
    trials = [one.model_copy(update={"seed": seed}) for seed in range(seeds)]
    for number, trace, last in filter(None, drive_batch(trials)):
        assert isinstance(last, Chunk)
        xs[number] = trace.x
    return xs


def verdict(one: Trial) -> str:
    """The problem's verdict on x after the last step."""
    return str(one.problem.verdict(advanced(one).x))


def written(number: float, form: str) -> str:
    """A number with a typographic minus sign."""
    return f"{number:{form}}".replace("-", "−")


def table(*rows: tuple[str, ...]) -> str:
    """A table in Markdown, with the first row as its header."""
    head, *rest = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rest))


def counted_from_1() -> str:
    """The reproduction of Section 5 of Reddi et al."""
    entries = {"Adam": ("adam", {}), "AMSGrad": ("amsgrad", {}), "AdaShift": ("adashift", {"n": 10})}
    published = {"Adam": "0.506, 0.407, 0.324", "AMSGrad": "0.314, 0.218, 0.136", "AdaShift": "0.461, 0.325, 0.205"}
    rows: list[tuple[str, ...]] = [("R(t)/t at 50,000, 100,000 and 250,000", "published", "phase = 0", "phase = 1")]
    for title, (name, options) in entries.items():
        ours = []
        for phase in (0, 1):
            entry = {"name": name, "lr": 1.0, "eps": 0, "options": options}
            one = trial({"name": "online", "phase": phase}, entry, 250_000, schedule="inv-sqrt")
            regrets = build(one).advance(one.steps, 50_000).runs(0).regret[[0, 1, 4]]
            ours.append(", ".join(f"{regret:.4f}" for regret in regrets))
        rows.append((title, published[title], *ours))
    return (
        "**Section 5 of Reddi et al. in the ICLR 2019 reproduction of AdaShift** (`configs/adashift-online.yaml`): the "
        "reproduction counts t from 1, so the first loss is the steep one. Its AdaShift starts m_t from 0 instead of "
        "the first n gradients, which changes the third digit.\n\n" + table(*rows)
    )


def circles() -> str:
    """Bock and Weiß's 2-cycle."""
    rows: list[tuple[str, ...]] = [
        ("β1, β2", "half-width α(1 − β1)/(2(1 + β1))", "largest distance of the last thousand of 10⁵ steps")
    ]
    for beta1, beta2 in ((0.0, 0.9), (0.1, 0.5), (0.5, 0.9), (0.9, 0.9), (0.9, 0.99), (0.9, 0.999)):
        width = 0.001 * (1 - beta1) / (2 * (1 + beta1))
        entry = {"name": "adam", "lr": 0.001, "beta1": beta1, "beta2": beta2, "options": PAPER}
        one = trial({"name": "bock-weiss", "start_at": width}, entry, 100_000)
        last = np.abs(build(one).advance(one.steps, 1).runs(0).x[-1000:]).max()
        rows.append((f"{beta1:g}, {beta2:g}", f"{width:.6g}", f"{last:.6g}"))
    return (
        "**Bock and Weiß's 2-cycle** exists for all settings (a test takes a step from one point of it to the other). "
        "But iterates that start at its distance do not always stay on it: with β1 = 0.9 they leave it.\n\n"
        + table(*rows)
    )


def smallest_even(meets: Callable[[int], bool]) -> int:
    """The smallest even C that satisfies the conditions."""
    return next(C for C in range(4, 10**6, 2) if meets(C))


def theorem_2() -> str:
    """The smallest C of Theorem 2."""
    beta1, beta2 = 0.9, 0.99
    gamma = beta1 / math.sqrt(beta2)

    def paper(c: int) -> bool:
        momentum = 3 * (1 - beta1) / (2 * math.sqrt(1 - beta2)) * (1 + gamma * (1 - gamma ** (c - 1)) / (1 - gamma))
        return (
            (1 - beta1) * beta1 ** (c - 1) * c <= 1 - beta1 ** (c - 1)
            and beta2 ** ((c - 2) / 2) * c**2 <= 1
            and momentum + beta1 ** (c / 2 - 1) / (1 - beta1) < c / 3
        )

    def lean(c: int) -> bool:
        return beta2 ** (c / 2) * c**2 <= 1 and c / 2 * math.sqrt(1 - beta2) * (1 - gamma) >= 4

    return (
        f"**Theorem 2 of Reddi et al. at β1 = {beta1}, β2 = {beta2}**: the smallest even C is {smallest_even(paper)} "
        f"by the paper's conditions, as far as they are known here, and {smallest_even(lean)} by those of a "
        "machine-checked form. "
        "R(T) ≥ T/C holds for large T: on the way from x = 0 to +1 the regret is negative."
    )


def open_step_sizes() -> str:
    """The effect of α, if a source leaves it open."""
    rows: list[tuple[str, ...]] = [
        ("without bias correction, on", "α", "Adam after 10⁶ and 10⁷ steps", "AMSGrad after 10⁶ and 10⁷ steps")
    ]
    usual = {"beta1": 0.9, "beta2": 0.99}
    for problem, betas in (({"name": "theorem2", "C": 3218}, usual), ("theorem3", {}), ("adabound-theorem1", {})):
        for lr in (0.01, 0.1, 0.4, 1.0):
            entries = [{"name": optimizer, "lr": lr, "options": PAPER, **betas} for optimizer in ("adam", "amsgrad")]
            ends = [", ".join(verdict(trial(problem, entry, 10**n)) for n in (6, 7)) for entry in entries]
            name = "theorem2, C = 3218" if betas else problem
            rows.append((f"`{name}`", f"{lr:g}", *ends))
    return (
        "**Step sizes that a source leaves open.** Theorems 2 and 3 and AdaBound's Theorem 1 hold for any α, in the "
        "limit. How many steps it takes to see this depends on α, as the table shows: the configurations use an α with "
        "which their number of steps is enough. It says where x is:\n\n" + table(*rows)
    )


def adopt_toy() -> str:
    """The figure of ADOPT's toy problem."""
    published = {
        (10, "adam"): "+1, +1, −1",
        (10, "amsgrad"): "−1, −1, −1",
        (10, "adopt"): "−1, −1, −1",
        (50, "adam"): "+1, +1, +0.82",
        (50, "amsgrad"): "+0.11, +0.11, +0.08",
        (50, "adopt"): "−0.93, −0.93, −0.84",
    }
    rows: list[tuple[str, ...]] = [
        ("k", "optimizer", "read off the figure", f"median of {TOY_SEEDS} seeds", "quartiles")
    ]
    for (k, name), figure in published.items():
        medians, quartiles = [], []
        for beta2 in (0.1, 0.5, 0.999):
            options = {"clip": False} if name == "adopt" else PAPER
            one = trial({"name": "adopt-toy", "k": k}, {"name": name, "beta2": beta2, "options": options}, 2_000_000)
            low, middle, high = np.quantile(over_seeds(one, TOY_SEEDS)[:, -1], [0.25, 0.5, 0.75])
            medians.append(written(middle, "+.3f"))
            quartiles.append(f"{written(low, '+.2f')} to {written(high, '+.2f')}")
        rows.append((f"{k}", f"`{name}`", figure, ", ".join(medians), ", ".join(quartiles)))
    return "**ADOPT's toy figure**: x after 2·10⁶ steps for β2 = 0.1, 0.5 and 0.999.\n\n" + table(*rows)


def adashift_stochastic() -> str:
    """The reproduction's single run, compared with many."""
    published = {"adam": (1.18, 2.80, 4.24), "adashift": (-0.31, -1.89, -2.45), "amsgrad": (-0.07, -0.50, -0.14)}
    biases = {"torch": "corrected", "paper": "uncorrected", "": "corrected"}
    rows: list[tuple[str, ...]] = [("optimizer", "published", "bias", "δ = 0.002", "δ = 0.02")]
    for name, dialect in (
        ("adam", "torch"),
        ("adam", "paper"),
        ("amsgrad", "torch"),
        ("amsgrad", "paper"),
        ("adashift", ""),
    ):
        options = {"dialect": dialect} if dialect else {"n": 1}
        figures = published[name]
        ranges = []
        for delta in (0.002, 0.02):
            problem = {"name": "adashift-stochastic", "delta": delta}
            one = trial(problem, {"name": name, "options": options}, 700_000, log_every=100_000)
            xs = over_seeds(one, SEEDS)[:, [0, 4, 6]]
            ends = list(zip(xs.min(axis=0), xs.max(axis=0), strict=True))
            text = ", ".join(f"{written(low, '+.2f')} to {written(high, '+.2f')}" for low, high in ends)
            inside = all(low <= x <= high for x, (low, high) in zip(figures, ends, strict=True))
            ranges.append(f"**{text}**" if inside else text)
        rows.append((f"`{name}`", ", ".join(written(x, "+.2f") for x in figures), biases[dialect], *ranges))
    return (
        "**AdaShift's stochastic problem.** The ICLR 2019 reproduction reports one run, x after 10⁵, 5·10⁵ and 7·10⁵ "
        f"steps; its text says δ = 0.002, its code 0.02. The table has the lowest and the highest x of {SEEDS} seeds, "
        "in bold if they enclose the published values:\n\n" + table(*rows)
    )


def amsgrad_of_optax() -> str:
    """The effect of taking the maximum of the corrected v."""
    rows: list[tuple[str, ...]] = [("β2", "optax: √v̂", "torch: √v̂", "ratio")]
    for beta2 in (0.99, 0.999):
        roots = []
        for dialect in ("optax", "torch"):
            entry = {"name": "amsgrad", "beta2": beta2, "options": {"dialect": dialect}}
            roots.append(math.sqrt(state(trial("online", entry, 1_000_000))[3]))
        rows.append((f"{beta2:g}", *(f"{root:.4g}" for root in roots), f"{roots[0] / roots[1]:.1f}"))
    return (
        "**AMSGrad's dialects.** The second loss of `online` is the steep one. optax's maximum of the corrected v "
        "never forgets it, so its updates are smaller by the ratio.\n\n" + table(*rows)
    )


def small_facts() -> str:
    """Facts of one line each."""
    adadelta = float(drift(trial("online", "adadelta", 1).problem, "adadelta", 0.0, 0.99, 1e-6))
    unknown = [name for name, known in OPTIMIZERS.items() if known.rule(known.options()).drift is None]
    slopes = [(-1.0) ** k for k in range(16) for _ in range(2**k)]
    entry = {"name": "amsgrad", "lr": 1.0, "beta1": 0, "beta2": 0.5, "eps": 0, "options": PAPER}
    negative = trial({"name": "cycle", "slopes": slopes}, entry, len(slopes), schedule="inv-sqrt")
    regret = build(negative).advance(negative.steps, negative.steps).runs(0).regret[0]
    ends = {name: advanced(trial("shi-nonrealizable", name, 10_000_000)).x for name in ("adam", "amsgrad")}
    thrown = [advanced(trial("shi-realizable", {"name": "adam", "options": PAPER}, 10**n)).x for n in (1, 6, 8)]
    adamx = trial("online", {"name": "adamx", "options": {"beta1_decay": "harmonic"}}, 100_000)
    largest, kept = _growth(adamx)
    return "\n".join(
        [
            "**Other results.**\n",
            f"- No steady state, and so no drift, is known for {', '.join(f'`{name}`' for name in unknown)}: "
            "Adagrad's sum grows without bound, the effect of weight decay depends on x, and the cycle of Yogi's v "
            "depends on its start.",
            "- Adadelta's state has one periodic solution. Its drift on `online` at β2 = 0.99 is "
            f"{written(adadelta, '.3g')}, towards the worst point.",
            "- If β1 decays, AdamX's v̂/(1 − β1t)² tends to the largest v_t/(1 − β1t)²: after 10⁵ steps of `online` "
            f"with β1/t, they are {kept:.6g} and {largest:.6g}.",
            "- A large negative average regret is possible: for slopes +1 at 2^k ≤ t < 2^{k+1}, k even, and −1 for "
            f"k odd, AMSGrad's is {written(regret, '.4f')} at t = 2¹⁶ − 1 (published: −0.664 at 2²² − 1).",
            f"- On Shi et al.'s non-realizable problem RMSprop is at {written(ends['adam'], '.3f')} after 10⁷ steps, "
            f"AMSGrad at {written(ends['amsgrad'], '.3f')}. On the realizable one, without bias correction and from "
            f"v = 0, RMSprop is at {', '.join(written(x, '+.2f') for x in thrown)} after 10, 10⁶, 10⁸ steps.",
            "- Not run: Savarese's Corollary 1, by which AdaBound equals Adam for any given number of steps, because "
            "it requires δ = 1; and the step of a proof that Tran and Phong refute (Example 3.2), which is not a run.",
        ]
    )


def _growth(one: Trial) -> tuple[float, float]:
    """The largest v_t/(1 − β1t)² of an AdamX run and its final v̂/(1 − β1t)²."""
    engine, beta1, largest = build(one), one.optimizer.beta1 or 0.0, 0.0
    for t in range(1, one.steps + 1):
        engine.advance(t, one.steps)
        _, _, v, v_hat = np.frombuffer(engine.states[0], np.float64)
        largest = max(largest, v / (1 - beta1 / t) ** 2)
    return largest, v_hat / (1 - beta1 / one.steps) ** 2


PARAGRAPHS = (
    counted_from_1,
    adashift_stochastic,
    adopt_toy,
    circles,
    theorem_2,
    open_step_sizes,
    amsgrad_of_optax,
    small_facts,
)
