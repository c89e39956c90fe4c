"""Defines the known departures of implementations from their rule, each as a change of a form's parts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

from amsgrad_exp.identification.form import Form

Changed = Iterator[Form]


def eps_in_root(form: Form) -> Changed:
    """ε is inside the root."""
    if form.eps and form.root and form.eps_at in ("after", "before") and form.second != "largest":
        before = form.eps_at == "before"
        yield replace(form, eps_at="in_before" if before else "in_after")
        if form.kind not in ("async", "adopt"):
            yield replace(form, eps_at="in_before" if before else "in_after", eps_twice=True)
        if form.correct_v and form.kind not in ("async", "adopt"):
            yield replace(form, eps_at="in_after" if form.eps_at == "before" else "in_before")


def eps_before_correction(form: Form) -> Changed:
    """ε is added to the root of v before the bias of v is corrected."""
    if form.eps and form.eps_at == "after" and form.correct_v and form.name != "avagrad":
        yield replace(form, eps_at="before")


def eps_after_correction(form: Form) -> Changed:
    """ε is added last, to the finished root."""
    if form.eps and (form.eps_at == "before" or form.kind == "ratio"):
        yield replace(form, eps_at="after")


def eps_missing(form: Form) -> Changed:
    """There is no ε."""
    if form.eps:
        yield replace(form, eps=False, inner_eps=False)
        if form.inner_eps:
            yield replace(form, eps=False)
            yield replace(form, inner_eps=False)


def m_not_corrected(form: Form) -> Changed:
    """The bias of the first moment is not corrected."""
    if form.correct_m == 1:
        yield replace(form, correct_m=0)


def v_not_corrected(form: Form) -> Changed:
    """The bias of the second moment is not corrected."""
    if form.correct_v == 1:
        yield replace(form, correct_v=0)


def corrected_twice(form: Form) -> Changed:
    """A bias is corrected twice."""
    both = form.correct_m == 1, form.correct_v == 1
    for m, v in ((1, 0), (0, 1), (1, 1)):
        if (m, v) <= (int(both[0]), int(both[1])) and m <= both[0] and v <= both[1]:
            yield replace(form, correct_m=form.correct_m + m, correct_v=form.correct_v + v)


def count_late(form: Form) -> Changed:
    """Steps are counted from 0: t − 1 stands in place of t."""
    if _counts(form) and form.count == 0:
        yield replace(form, count=-1)
        if form.kind not in ("rectified", "nesterov", "adopt"):
            yield replace(form, count=-1, count_at_0="uncorrected")


def count_early(form: Form) -> Changed:
    """A step is counted too many: t + 1 stands in place of t."""
    if _counts(form) and form.count == 0:
        yield replace(form, count=1)


def max_not_kept(form: Form) -> Changed:
    """The maximum of v is not kept from step to step."""
    if form.maximum != "none" and form.kept:
        yield replace(form, maximum="none")
        yield replace(form, kept=False)


def max_of_corrected(form: Form) -> Changed:
    """The maximum is of v after its bias is corrected."""
    if form.maximum == "uncorrected" and form.correct_v:
        inside = form.eps_at.startswith("in")
        yield replace(form, maximum="corrected", eps_at="in_after" if inside else "after")


def max_of_uncorrected(form: Form) -> Changed:
    """The maximum is of v before its bias is corrected."""
    if form.maximum == "corrected" and form.correct_v:
        yield replace(form, maximum="uncorrected")


def v_before_update(form: Form) -> Changed:
    """The second moment is used as it was before this step's gradient came in."""
    if form.second != "none" and form.old_v == "no" and form.kind not in ("async", "adopt", "shifted"):
        yield replace(form, old_v="yes")
        if form.correct_v:
            yield replace(form, old_v="counted")


def m_before_update(form: Form) -> Changed:
    """The first moment is used as it was before this step's gradient came in."""
    momentum = form.first == "average" or (form.first == "sum" and form.options["momentum"] > 0)
    if momentum and not form.old_m and form.kind not in ("shifted", "lion") and form.name != "acprop":
        yield replace(form, old_m=True)
    if form.squares == "belief":
        yield replace(form, squares="belief_before")


def v_of_m(form: Form) -> Changed:
    """The second moment is of the first moment's square, in place of the gradient's."""
    if (
        form.second != "none"
        and form.squares == "g"
        and form.first == "average"
        and form.kind not in ("shifted", "adopt")
    ):
        yield replace(form, squares="m")


def no_root(form: Form) -> Changed:
    """The second moment divides without a root."""
    if form.root and form.second not in ("none", "largest"):
        yield replace(form, root=False)


def beta1_not_complemented(form: Form) -> Changed:
    """The gradient is not multiplied by 1 − β1: m = β1·m + g."""
    if form.complemented and form.first == "average":
        yield replace(form, complemented=False)


def weight_decay_coupled(form: Form) -> Changed:
    """Weight decay is added to the gradient."""
    if form.decay != "coupled":
        yield replace(form, decay="coupled")


def weight_decay_decoupled(form: Form) -> Changed:
    """Weight decay shrinks x itself, multiplied by the step size."""
    if form.decay != "decoupled":
        yield replace(form, decay="decoupled")


def weight_decay_without_lr(form: Form) -> Changed:
    """Weight decay shrinks x itself, without the step size."""
    if form.decay != "without_lr":
        yield replace(form, decay="without_lr")


def lr_in_momentum(form: Form) -> Changed:
    """The step size multiplies gradients as they go into the momentum, in place of the update."""
    momentum = form.first == "average" or (form.first == "sum" and form.options["momentum"] > 0)
    if momentum and form.squares == "g" and form.kind not in ("bounded", "lion", "async"):
        yield replace(form, lr_in_momentum=True)


def sign_flipped(form: Form) -> Changed:
    """x moves the other way."""
    if form.flipped == "no":
        yield replace(form, flipped="all")
        if form.decay in ("decoupled", "without_lr"):
            yield replace(form, flipped="update")


def betas_swapped(form: Form) -> Changed:
    """β1 and β2 have changed places."""
    if not form.swapped and _has_both(form):
        yield replace(form, swapped=True)


DEPARTURES: dict[str, Callable[[Form], Changed]] = {
    departure.__name__: departure
    for departure in (
        eps_in_root,
        eps_before_correction,
        eps_after_correction,
        eps_missing,
        m_not_corrected,
        v_not_corrected,
        corrected_twice,
        count_late,
        count_early,
        max_not_kept,
        max_of_corrected,
        max_of_uncorrected,
        v_before_update,
        m_before_update,
        v_of_m,
        no_root,
        beta1_not_complemented,
        weight_decay_coupled,
        weight_decay_decoupled,
        weight_decay_without_lr,
        lr_in_momentum,
        sign_flipped,
        betas_swapped,
    )
}
"""By its code, what yields a form's changed ones: none where the departure makes no sense, several where it can be made
in several ways. The sentence that says it is its docstring."""

OF_THE_WHOLE = {
    "not_elementwise": "two elements",
    "state_shared": "two parameters",
    "beta1_change": "beta1 changes",
    "long_run": "long",
}
"""Departures that no form of one number's rule can have, and the probes that show them."""

SENTENCES = {
    "not_elementwise": "an element's update depends on other elements of its parameter",
    "state_shared": "parameters depend on each other: they share state, a count of steps or a norm",
    "beta1_change": "a β1 that changes has another effect",
    "long_run": "it departs after many steps only",
}


def sentence(code: str) -> str:
    """A departure in words that follow "departs:"."""
    text = SENTENCES.get(code) or (DEPARTURES[code].__doc__ or "").rstrip(".")
    return text if text[1:2].isupper() or text[0] == "ε" else text[0].lower() + text[1:]


def departed(form: Form, codes: tuple[str, ...]) -> Iterator[Form]:
    """A form with these departures, made in every possible way, in the order of the codes."""
    if not codes:
        yield form
        return
    for changed in DEPARTURES[codes[0]](form):
        yield from departed(replace(changed, departures=(*form.departures, codes[0])), codes[1:])


def pairs(form: Form, codes: tuple[str, ...]) -> Iterator[Form]:
    """A form with every two of these departures."""
    for two in itertools.combinations(codes, 2):
        yield from departed(form, two)


def _counts(form: Form) -> bool:
    """Whether anything but the step size depends on t."""
    if form.kind in ("bounded", "rectified", "nesterov") or form.second in ("mean", "nostalgic"):
        return True
    if form.options.get("beta1_decay", "none") != "none" or form.options.get("clip"):
        return True
    return bool(form.correct_m or form.correct_v)


def _has_both(form: Form) -> bool:
    """Whether a form has β1 and β2."""
    return form.kind == "lion" or (form.first == "average" and form.second in ("average", "yogi", "largest"))
