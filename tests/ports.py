"""Every rule as a user might port it to plain torch, if asked with one departure; no code of the package is used."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Closure = Callable[[], float]

DECAYS = ["weight_decay_coupled", "weight_decay_decoupled", "weight_decay_without_lr"]
MOMENTUM = ["m_before_update", "beta1_not_complemented", "lr_in_momentum"]
COUNTS = ["count_late", "count_early"]
CORRECTED = ["m_not_corrected", "v_not_corrected", "corrected_twice", *COUNTS]
SQUARES = ["eps_in_root", "eps_missing", "v_before_update", "no_root"]
ADAM = [*SQUARES, *CORRECTED, *MOMENTUM, "v_of_m", "betas_swapped", "sign_flipped", *DECAYS]
MAXIMUM = ["max_not_kept"]


def without(codes: list[str], *others: str) -> list[str]:
    return [code for code in codes if code not in others]


CASES: dict[str, list[str]] = {
    "adam": [*ADAM, "eps_before_correction"],
    "adam:folded": [*ADAM, "eps_after_correction"],
    "adam:paper": [*SQUARES, *MOMENTUM, "v_of_m", "betas_swapped", "sign_flipped", *DECAYS],
    "adamw": [*ADAM, "eps_before_correction"],
    "adamax": [*without(ADAM, "eps_in_root", "no_root", "v_not_corrected"), "eps_after_correction"],
    "nadam": [*ADAM, "eps_before_correction"],
    "radam": [*ADAM, "eps_after_correction"],
    "amsgrad": [*ADAM, *MAXIMUM, "max_of_corrected", "eps_before_correction"],
    "amsgrad:folded": [*ADAM, *MAXIMUM, "max_of_corrected", "eps_after_correction"],
    "amsgrad:optax": [*ADAM, *MAXIMUM, "max_of_uncorrected"],
    "amsgrad:paper": [*SQUARES, *MOMENTUM, *MAXIMUM, "v_of_m", "betas_swapped", "sign_flipped", *DECAYS],
    "adamnc": [*SQUARES, *MOMENTUM, *COUNTS, "v_of_m", "sign_flipped", *DECAYS],
    "adamx": [*SQUARES, *MOMENTUM, *MAXIMUM, "v_of_m", "betas_swapped", "sign_flipped", *DECAYS],
    "nosadam": [*SQUARES, *MOMENTUM, *COUNTS, "m_not_corrected", "corrected_twice", "v_of_m", "sign_flipped", *DECAYS],
    "padam": [*ADAM, *MAXIMUM, "max_of_corrected", "eps_after_correction"],
    "yogi": [*ADAM, "eps_before_correction"],
    "adabelief": [*without(ADAM, "v_of_m", "lr_in_momentum"), "eps_before_correction"],
    "acprop": [
        *("eps_in_root", "eps_before_correction", "eps_missing", "no_root", "v_not_corrected", "betas_swapped"),
        *("beta1_not_complemented", "sign_flipped", *DECAYS),
    ],
    "adabound": [*without(ADAM, "lr_in_momentum"), "eps_after_correction"],
    "amsbound": [*without(ADAM, "lr_in_momentum"), *MAXIMUM, "max_of_corrected", "eps_after_correction"],
    "adashift": [
        *("eps_in_root", "eps_before_correction", "eps_missing", "no_root", "v_not_corrected", "corrected_twice"),
        *(*COUNTS, "beta1_not_complemented", "sign_flipped", *DECAYS),
    ],
    "adopt": [
        *("eps_in_root", "eps_after_correction", "eps_missing", "no_root", *COUNTS, *MOMENTUM),
        *("betas_swapped", "sign_flipped", *DECAYS),
    ],
    "avagrad": [
        *("m_not_corrected", "beta1_not_complemented", "no_root", "m_before_update", "betas_swapped"),
        *("sign_flipped", *DECAYS),
    ],
    "adan": [*without(ADAM, "v_of_m"), "eps_before_correction"],
    "lion": ["beta1_not_complemented", "betas_swapped", "sign_flipped", *DECAYS],
    "rmsprop": [*SQUARES, "sign_flipped", *DECAYS],
    "rmsprop:momentum": [*SQUARES, "m_before_update", "lr_in_momentum", "sign_flipped", *DECAYS],
    "adagrad": [*SQUARES, "sign_flipped", *DECAYS],
    "adadelta": ["eps_after_correction", "eps_missing", "v_before_update", "no_root", "sign_flipped", *DECAYS],
    "sgd": ["sign_flipped", *DECAYS],
    "sgd:momentum": ["m_before_update", "lr_in_momentum", "sign_flipped", *DECAYS],
    "signsgd": ["sign_flipped", *DECAYS],
}
"""The departures that are possible for each rule; some rules have several forms."""


def decayed_beta1(beta1: float, t: int, decay: str, lam: float) -> float:
    """β1t, t counted from 1."""
    return beta1 * {"none": 1.0, "geometric": lam ** (t - 1), "harmonic": 1 / t}[decay]


class Port(torch.optim.Optimizer):
    """One rule with at most one departure, ``does``; ``beta1_decay``, ``lam``, ``p`` and ``n`` are options of rules."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        rule: str = "adam",
        does: str = "",
        *,
        beta1_decay: str = "none",
        lam: float = 0.99,
        p: float = 0.125,
        n: int = 10,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self.rule, self.form = [*rule.split(":"), ""][:2]
        self.does, self.mu, self.first_lr = does, momentum, lr
        self.decay, self.p, self.n = (beta1_decay, lam), p, n

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                s = self.state[p]
                s["t"] = s.get("t", 0) + 1
                decay, g = group["weight_decay"], p.grad
                how = self.does if self.does.startswith("weight") else ""
                if self.rule == "adamw" and not how:
                    how = "weight_decay_decoupled"
                if how == "weight_decay_coupled":
                    g = g + decay * p
                move = getattr(self, f"_{self.rule}", self._adam)(s, g, group)
                shrink = {"weight_decay_decoupled": group["lr"] * decay, "weight_decay_without_lr": decay}.get(how, 0.0)
                p.copy_(p - shrink * p + (move if self.does == "sign_flipped" else -move))

    def betas(self, group: Any) -> tuple[float, float]:
        beta1, beta2 = group["betas"]
        return (beta2, beta1) if self.does == "betas_swapped" else (beta1, beta2)

    def count(self, t: int) -> int:
        return max(t - 1, 1) if self.does == "count_late" else t + 1 if self.does == "count_early" else t

    def moment(self, s: Any, g: Tensor, lr: float, beta: float) -> tuple[Tensor, Tensor]:
        """Return the first moment that the update uses, and the one that is kept."""
        old = s.get("m", torch.full_like(g, 1e-6 if self.rule == "yogi" else 0.0))
        g = lr * g if self.does == "lr_in_momentum" else g
        s["m"] = beta * old + (g if self.does == "beta1_not_complemented" else (1 - beta) * g)
        return (old if self.does == "m_before_update" else s["m"]), s["m"]

    def root(self, v: Tensor) -> Tensor:
        return v if self.does == "no_root" else v.sqrt()

    def divide(self, v: Tensor, c2: float, eps: float, folded: bool, p: float = 0.5) -> Tensor:
        """Return √(v/c2) + ε or, if folded, (√v + ε)/√c2, with the departures of ε and the root."""
        eps = 0.0 if self.does == "eps_missing" else eps
        late = folded != (self.does in ("eps_before_correction", "eps_after_correction"))
        if late:
            inner = (v + eps).sqrt() if self.does == "eps_in_root" else self.root(v) + eps
            return torch.as_tensor(inner ** (2 * p) / (c2 if self.does == "no_root" else math.sqrt(c2)))
        v = v / c2
        y = (v + eps).sqrt() if self.does == "eps_in_root" else self.root(v) + eps
        return torch.as_tensor(y ** (2 * p))

    def _adam(self, s: Any, g: Tensor, group: Any) -> Any:
        rule, form, does = self.rule, self.form, self.does
        lr, eps, t = group["lr"], group["eps"], s["t"]
        k = self.count(t)
        beta1, beta2 = self.betas(group)
        used, m = self.moment(s, g, lr, decayed_beta1(beta1, t, *self.decay))
        zero = torch.full_like(g, 1e-6 if rule == "yogi" else 0.0)
        old = s.get("v", zero)
        q = m if does == "v_of_m" else g - m if rule == "adabelief" else g
        if rule == "yogi":
            v = old - (1 - beta2) * torch.sign(old - q**2) * q**2
        elif rule == "adamnc":
            v = old + (q**2 - old) / k
        elif rule == "nosadam":
            s["b"] = s.get("b", 0.0) + k**-0.1
            v = old + (q**2 - old) * k**-0.1 / s["b"]
        else:
            v = beta2 * old + (1 - beta2) * q**2
        if rule == "adabelief" and does != "eps_missing":
            v = v + eps
        s["v"] = v
        v = old if does == "v_before_update" else v
        corrects = form != "paper" and rule not in ("adamnc", "adamx")
        c1 = 1 - beta1**k if corrects and does != "m_not_corrected" else 1.0
        c2 = 1 - beta2**k if corrects and rule != "nosadam" and does != "v_not_corrected" else 1.0
        if does == "corrected_twice":
            c1 = c1**2
        if rule in ("amsgrad", "adamx", "padam", "amsbound"):
            of_corrected = (form == "optax") != (does in ("max_of_corrected", "max_of_uncorrected"))
            if of_corrected:
                v, c2 = v / c2, 1.0
            kept = s.get("largest", torch.zeros_like(v))
            if rule == "adamx" and t > 1:
                kept = (
                    kept
                    * ((1 - decayed_beta1(beta1, t, *self.decay)) / (1 - decayed_beta1(beta1, t - 1, *self.decay))) ** 2
                )
            largest = torch.maximum(kept, v)
            if does != "max_not_kept":
                s["largest"] = largest
            v = largest
        folded = form == "folded" or rule in ("radam", "padam", "adabound", "amsbound")
        if does == "max_of_corrected":
            folded = False
        size = 1.0 if does == "lr_in_momentum" else lr
        if rule == "radam":
            longest = 2 / (1 - beta2) - 1
            length = longest - 2 * k * beta2**k / (1 - beta2**k)
            if length <= 5:
                return size * used / c1
            r = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            return size * used / c1 * math.sqrt(r) / self.divide(v, c2, eps, folded)
        if rule == "nadam":
            mu, following = (beta1 * (1 - 0.5 * 0.96 ** (i * 0.004)) for i in (k, k + 1))
            s["momenta"] = s.get("momenta", 1.0) * mu
            a, b = 1 - s["momenta"], 1 - s["momenta"] * following
            a, b = (1.0, 1.0) if does == "m_not_corrected" else (a**2, b**2) if does == "corrected_twice" else (a, b)
            g = lr * g if does == "lr_in_momentum" else g
            return size * ((1 - mu) / a * g + following / b * used) / self.divide(v, c2, eps, folded)
        if rule in ("adabound", "amsbound"):
            eta = size / c1 / self.divide(v, c2, eps, folded)
            final = 0.1 * lr / self.first_lr
            return eta.clamp(final * (1 - 1 / (1e-3 * k + 1)), final * (1 + 1 / (1e-3 * k))) * used
        return size * used / c1 / self.divide(v, c2, eps, folded, self.p if rule == "padam" else 0.5)

    def _adamax(self, s: Any, g: Tensor, group: Any) -> Any:
        beta1, beta2 = self.betas(group)
        eps = 0.0 if self.does == "eps_missing" else group["eps"]
        used, m = self.moment(s, g, group["lr"], beta1)
        old = s.get("u", torch.zeros_like(g))
        size = (m if self.does == "v_of_m" else g).abs()
        s["u"] = torch.maximum(beta2 * old, size if self.does == "eps_after_correction" else size + eps)
        u = old if self.does == "v_before_update" else s["u"]
        u = u + eps if self.does == "eps_after_correction" else u
        c1 = 1.0 if self.does == "m_not_corrected" else 1 - beta1 ** self.count(s["t"])
        c1 = c1**2 if self.does == "corrected_twice" else c1
        return (1.0 if self.does == "lr_in_momentum" else group["lr"]) * used / c1 / u

    def _acprop(self, s: Any, g: Tensor, group: Any) -> Any:
        beta1, beta2 = self.betas(group)
        eps = 0.0 if self.does == "eps_missing" else group["eps"]
        _, m = self.moment(s, g, 1.0, beta1)
        before = s.get("v", torch.zeros_like(g)) + (eps if s["t"] > 1 else 0.0)
        s["v"] = beta2 * before + (1 - beta2) * (g - m) ** 2
        if s["t"] == 1:
            return group["lr"] * g
        c2 = 1.0 if self.does == "v_not_corrected" else 1 - beta2 ** (s["t"] - 1)
        return group["lr"] * g / self.divide(before, c2, group["eps"], folded=False)

    def _adashift(self, s: Any, g: Tensor, group: Any) -> Any:
        beta1, beta2 = self.betas(group)
        s.setdefault("all", []).append(g)
        t, kept = s["t"], s["all"]
        if t <= self.n:
            return torch.zeros_like(g)
        weights = [beta1**i for i in range(self.n)]
        m = sum(w * kept[-1 - i] for i, w in enumerate(weights))
        m = m if self.does == "beta1_not_complemented" else m / sum(weights)
        s["v"] = beta2 * s.get("v", 0.0) + (1 - beta2) * kept[-1 - self.n] ** 2
        c2 = 1.0 if self.does == "v_not_corrected" else 1 - beta2 ** self.count(t - self.n)
        c2 = c2**2 if self.does == "corrected_twice" else c2
        return group["lr"] * m / self.divide(s["v"], c2, group["eps"], folded=False)

    def _adopt(self, s: Any, g: Tensor, group: Any) -> Any:
        beta1, beta2 = self.betas(group)
        eps = 0.0 if self.does == "eps_missing" else group["eps"]
        if s["t"] == 1:
            s["v"] = g**2
            return torch.zeros_like(g)
        v = s["v"]
        if self.does == "eps_in_root":
            y = (v + eps).sqrt()
        else:
            y = self.root(v) + eps if self.does == "eps_after_correction" else self.root(v).clamp(min=eps)
        late = {"count_late": 1, "count_early": -1}.get(self.does, 0)
        bound = (s["t"] - 1 - late) ** 0.25
        used, _ = self.moment(s, (g / y).clamp(-bound, bound), group["lr"], beta1)
        s["v"] = beta2 * v + (1 - beta2) * g**2
        return (1.0 if self.does == "lr_in_momentum" else group["lr"]) * used

    def _avagrad(self, s: Any, g: Tensor, group: Any) -> Any:
        beta1, beta2 = self.betas(group)
        t, eps, v = s["t"], group["eps"], s.get("v", torch.zeros_like(g))
        used, _ = self.moment(s, g, 1.0, beta1)
        s["v"] = beta2 * v + (1 - beta2) * g**2
        if self.form == "published":  # with the norm of one number
            eta = 1 / (self.root(v) + eps)
            return group["lr"] * used * eta / eta.norm()
        gamma = s.get("gamma", 0.0)
        s["gamma"] = self.root(v / (1 - beta2**t)) + eps
        if t == 1:
            return torch.zeros_like(g)
        c1 = 1.0 if self.does == "m_not_corrected" else 1 - beta1**t
        return group["lr"] * gamma * used / c1 / (self.root(v / (1 - beta2 ** (t - 1))) + eps)

    def _adan(self, s: Any, g: Tensor, group: Any) -> Any:
        beta1, beta2 = self.betas(group)
        beta3, k, lr = 0.99, self.count(s["t"]), group["lr"]
        d = g - s["g"] if "g" in s else torch.zeros_like(g)
        s["g"] = g
        used, _ = self.moment(s, g, lr, beta1)
        s["w"] = beta2 * s.get("w", 0.0) + (1 - beta2) * (lr * d if self.does == "lr_in_momentum" else d)
        old = s.get("n", torch.zeros_like(g))
        s["n"] = beta3 * old + (1 - beta3) * (g + beta2 * d) ** 2
        n = old if self.does == "v_before_update" else s["n"]
        c1, c2, c3 = 1 - beta1**k, 1 - beta2**k, 1 - beta3**k
        if self.does == "m_not_corrected":
            c1 = c2 = 1.0
        if self.does == "corrected_twice":
            c1, c2 = c1**2, c2**2
        c3 = 1.0 if self.does == "v_not_corrected" else c3
        size = 1.0 if self.does == "lr_in_momentum" else lr
        return size * (used / c1 + beta2 * s["w"] / c2) / self.divide(n, c3, group["eps"], folded=False)

    def _lion(self, s: Any, g: Tensor, group: Any) -> Any:
        beta1, beta2 = self.betas(group)
        m = s.get("m", torch.zeros_like(g))
        s["m"] = beta2 * m + (1 - beta2) * g
        return group["lr"] * torch.sign(beta1 * m + (1.0 if self.does == "beta1_not_complemented" else 1 - beta1) * g)

    def _rmsprop(self, s: Any, g: Tensor, group: Any) -> Any:
        old = s.get("v", torch.zeros_like(g))
        s["v"] = group["betas"][1] * old + (1 - group["betas"][1]) * g**2
        v = old if self.does == "v_before_update" else s["v"]
        return self._heavy(s, g / self.divide(v, 1.0, group["eps"], folded=False), group["lr"])

    def _adagrad(self, s: Any, g: Tensor, group: Any) -> Any:
        old = s.get("v", torch.zeros_like(g))
        s["v"] = old + g**2
        v = old if self.does == "v_before_update" else s["v"]
        return group["lr"] * g / self.divide(v, 1.0, group["eps"], folded=False)

    def _adadelta(self, s: Any, g: Tensor, group: Any) -> Any:
        beta2, eps = group["betas"][1], 0.0 if self.does == "eps_missing" else group["eps"]
        old, u = s.get("v", torch.zeros_like(g)), s.get("u", torch.zeros_like(g))
        s["v"] = beta2 * old + (1 - beta2) * g**2
        v = old if self.does == "v_before_update" else s["v"]
        if self.does == "eps_after_correction":
            delta = (u.sqrt() + eps) / (v.sqrt() + eps) * g
        else:
            delta = self.root(u + eps) / self.root(v + eps) * g
        s["u"] = beta2 * u + (1 - beta2) * delta**2
        return group["lr"] * delta

    def _heavy(self, s: Any, g: Tensor, lr: float) -> Any:
        old = s.get("b", torch.zeros_like(g))
        s["b"] = self.mu * old + (lr * g if self.does == "lr_in_momentum" else g)
        used = old if self.does == "m_before_update" else s["b"]
        return used if self.does == "lr_in_momentum" else lr * used

    def _sgd(self, s: Any, g: Tensor, group: Any) -> Any:
        return self._heavy(s, g, group["lr"])

    def _signsgd(self, s: Any, g: Tensor, group: Any) -> Any:
        return group["lr"] * torch.sign(g)
