"""Random scripts: what three pools of a customer are asked, and when. Each is made of a seed, and always the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from solvent.engine.rules.alerts import Threshold
from solvent.engine.values.terms import KEEP
from tests.model.allowances import ALLOWANCES_MAX
from tests.model.budgets import BUDGETS_MAX
from tests.model.plans import PLANS_MAX
from tests.model.pool import HOLDS_MAX
from tests.model.times import DAY, HOUR, MINUTE, SECOND

STEPS = 100
"""Of one script, besides those that set the scene."""
USERS = ("ann", "bob", "cy")
NUMBERED = {"cy": (1, 1.0, 1.0, 1, True, "1")}
"""A user whom callers name by a number, in one spelling or the other, or by something that is no number."""


@dataclass(frozen=True)
class Step:
    """A command of a script. Times in its terms are counted from when it is asked.

    What it is about is number ``which`` of what there is then, counted round; or, in a script that is being shortened,
    what step ``of`` made, so that any other step can be left out.
    """

    number: int
    kind: str
    pool: int
    wait: int
    """Microseconds since the step before; a clock may be set back."""
    terms: dict[str, Any]


WEIGHTS = {
    "open": 0.5,
    "grant": 10,
    "update": 3,
    "void": 2,
    "transfer": 5,
    "debit": 28,
    "hold": 16,
    "capture": 5,
    "extend": 3,
    "release": 1,
    "reverse": 7,
    "budget": 8,
    "remove budget": 0.7,
    "allowance": 7,
    "remove allowance": 1,
    "plan": 4,
    "new terms of a plan": 2,
    "the same plan": 2,
    "cancel": 2,
    "alerts": 6,
    "grant a recharge": 3,
    "refuse a recharge": 2,
    "again": 8,
    "conflict": 5,
    "restart by snapshot": 3,
    "restart by fold": 2,
}
LEAN = {
    "grant": 0.2,
    "plan": 0,
    "allowance": 0,
    "alerts": 2,
    "debit": 2,
    "grant a recharge": 3,
    "refuse a recharge": 3,
}
"""By how much the weights change for a pool that lives from hand to mouth."""
SEQUELS = {
    "hold": ("capture", "capture", "capture", "capture", "release", "again", "hold", "budget", "extend", "extend"),
    "extend": ("extend", "extend", "capture", "again", "conflict", "restart by snapshot"),
    "budget": ("debit", "hold", "hold", "capture"),
    "alerts": ("grant a recharge", "refuse a recharge", "debit", "transfer", "cancel", "plan", "alerts"),
    "debit": ("reverse", "debit", "hold", "hold"),
    "plan": ("cancel", "new terms of a plan", "alerts", "the same plan", "plan"),
    "cancel": ("plan", "plan"),
    "release": ("again", "conflict"),
    "capture": ("conflict", "again", "reverse", "reverse", "restart by snapshot"),
    "grant a recharge": ("conflict", "again", "grant a recharge", "debit"),
    "refuse a recharge": ("conflict", "again", "alerts", "restart by snapshot", "restart by fold"),
    "void": ("again", "reverse"),
}
"""What often follows soon."""
SCOPES: dict[str, dict[str, Any]] = {
    "daily": {"window": "day"},
    "hourly": {"window": "hour", "each": "user"},
    "rolling": {"rolling_us": 2 * HOUR},
    "seat": {"rolling_us": 30 * MINUTE, "each": "user", "match": (("kind", "chat"),)},
    "tokens": {"window": "day", "metric": "tokens"},
    "burst": {"rolling_us": HOUR, "metric": "tokens", "each": "user"},
}
LIMITS: dict[str, dict[str, Any]] = {
    "one": {"window": "minute", "match": (("user", "ann"),)},
    "first": {"window": "hour", "match": (("user", 1.0),)},
    "each": {"window": "hour", "each": "user"},
    "all": {"window": "total"},
    "daily": {"window": "day"},
}


PLANS = ("plan", "seat")
LEFT_OUT = ("every", "zone", "ends_at", "category", "priority", "cost_basis", "roll_over", "prorate")
"""The terms of a plan that keep their values if they are left out."""
CROWDS = {
    "budget": (tuple(LIMITS), BUDGETS_MAX),
    "allowance": (tuple(SCOPES), ALLOWANCES_MAX),
    "plan": (PLANS, PLANS_MAX),
}
"""What a pool has only so many of, under which names."""
NOBODY = (("user", "nobody"),)


def script_of(seed: int) -> list[Step]:
    """Return the script of a seed."""
    dice = Random(seed)
    # Every script has its own favourites and its own pace, so that what is rare happens often in some.
    weights = [weight * dice.choice([0.2, 1, 1, 5]) for weight in WEIGHTS.values()]
    if dice.random() < 0.2:
        weights = [weight * LEAN.get(kind, 1) for weight, kind in zip(weights, WEIGHTS, strict=True)]
    pace = dice.choice([SECOND, MINUTE, MINUTE, 10 * MINUTE, HOUR])
    leaps = dice.choice([0, 0.03, 0.1])
    pools = dice.choice([[0], [0, 0, 0, 0, 1, 2]])
    richness = dice.choice([5, 20, 40])
    steps = scene(seed, dice, len(set(pools)))
    first = len(steps)
    kinds = ["grant"] * len(set(pools)) + dice.choices(list(WEIGHTS), weights, k=STEPS)
    for place, kind in enumerate(kinds[:STEPS]):
        wait = dice.choice([0, 0, 0, 1, pace // 7, pace, pace, 5 * pace, -5 * SECOND])
        if dice.random() < leaps:
            wait = dice.choice([3 * HOUR, DAY, DAY, 2 * DAY, 2 * DAY, 3 * DAY, 40 * DAY])
        pool = place if place < len(set(pools)) else dice.choice(pools)
        steps.append(Step(len(steps), kind, pool, wait, terms_for(kind, dice, richness)))
    for step in steps[first:]:
        sequels = SEQUELS.get(steps[step.number].kind, ())
        later = step.number + dice.randint(1, 9)
        if sequels and later < len(steps) and dice.random() < 0.7:
            kind = dice.choice(sequels)
            terms = terms_for(kind, dice, richness)
            if kind in ("again", "conflict"):
                terms["of"] = (step.number, 0)
            wait = steps[later].wait
            if kind in ("capture", "reverse") and dice.random() < 0.5:
                # Long after: in another window, and when a grant that paid is over.
                wait = dice.choice([MINUTE, HOUR, 5 * HOUR, 20 * HOUR])
            steps[later] = replace(steps[later], kind=kind, pool=steps[step.number].pool, wait=wait, terms=terms)
    return steps


def scene(seed: int, dice: Random, pools: int) -> list[Step]:
    """Return the steps before a script: mostly none, by turns those that fill a pool in one way or another."""
    if seed % 5 == 3:
        return nearly_full(dice, pools)
    if seed % 40 == 35:
        return held_for_long(dice)
    if seed % 10 == 7:
        return there_and_back(dice)
    what = {10: "budget", 20: "allowance", 30: "plan"}.get(seed % 40)
    return [] if what is None else crowded(what, dice)


def nearly_full(dice: Random, pools: int) -> list[Step]:
    """Return steps that grant almost all that a pool can ever have. It does not take effect as long as this lasts."""
    terms = {"category": "paid", "priority": 0, "effective_at": 36_500 * DAY, "expires_at": None, "metadata": {}}
    rooms = [dice.choice([10, 20, 60, 200]) for _ in range(pools)]
    steps = [Step(pool, "grant", pool, 0, {"amount": HOLDS_MAX - room, **terms}) for pool, room in enumerate(rooms)]
    kind = dice.choice(["", "", "reversed", "requested", "requested"])
    if kind == "reversed":
        # What was spent has no room to come back to.
        small = {**terms, "amount": rooms[0], "effective_at": None}
        spent = {"amount": rooms[0], "partial": False, "dims": {}, "metric": None, "quantity": None}
        steps.append(Step(pools, "grant", 0, 0, small))
        steps.append(Step(pools + 1, "debit", 0, 0, spent))
        steps.append(Step(pools + 2, "grant", 0, 0, small))
        steps.append(Step(pools + 3, "reverse", 0, 0, {"which": 1, "amount": None}))
    elif kind == "requested":
        # It asks for more than it can take.
        rule = {"below": 20, "target": 20, "timeout_us": 2 * DAY, "category": "paid"}
        steps.append(Step(pools, "alerts", 0, 0, {"recharge": rule}))
        steps.append(Step(pools + 1, "grant a recharge", 0, 0, {"which": 1, "amount": 300, "expires_at": None}))
    return steps


def there_and_back(dice: Random) -> list[Step]:
    """Return steps that move credits of a plan to another pool and, some time later, back."""
    amount = dice.randint(2, 9)
    plan = terms_for("plan", dice, 5) | {"starts_at": None, "ends_at": None, "prorate": False, "amount": amount}
    moved = dice.randint(1, amount)
    back = dice.randint(1, moved)
    return [
        Step(0, "plan", 0, 0, plan | {"roll_over": dice.choice([1, 3, None])}),
        Step(1, "transfer", 0, HOUR, {"amount": moved, "by": 1, "open_pool": True}),
        Step(
            2, "transfer", 1, dice.choice([HOUR, DAY, 2 * DAY, 4 * DAY]), {"amount": back, "by": 2, "open_pool": False}
        ),
    ]


def held_for_long(dice: Random) -> list[Step]:
    """Return steps that extend a hold day after day, for longer than a hold may last."""
    terms = {"category": "paid", "priority": 50, "effective_at": None, "expires_at": None, "metadata": {}}
    steps = [Step(0, "grant", 0, 0, {"amount": 30, **terms}), Step(1, "hold", 0, 0, {"amount": 3, "ttl": DAY})]
    for number in range(2, 11):
        wait = dice.choice([19 * HOUR, 20 * HOUR, 23 * HOUR])
        steps.append(Step(number, "extend", 0, wait, {"of": (1, 0), "which": 1, "ttl": DAY}))
    return steps


def crowded(what: str, dice: Random) -> list[Step]:
    """Return steps that set as many budgets, say, as a pool can have, and ask for one more."""
    names, most = CROWDS[what]
    steps = [Step(0, "open", 0, 0, {})]
    for number in range(most + 1):
        terms = terms_for(what, dice, 5) | {"name": names[number % 2]}
        if what == "plan":
            terms |= {"starts_at": 1_000 * DAY, "ends_at": None, "left_out": ()}
        if number < most - 1:
            terms |= {"name": f"{what} {number}"} | ({} if what == "plan" else {"match": NOBODY})
        steps.append(Step(len(steps), what, 0, 0, terms))
    return steps


def terms_for(kind: str, dice: Random, richness: int) -> dict[str, Any]:
    """Return what a command asks for."""
    which = dice.randrange(10_000)
    match kind:
        case "grant":
            return {
                "amount": dice.randint(1, richness),
                "category": dice.choice(["paid", "promotional"]),
                "priority": dice.choice([50, 50, 50, 10, 90]),
                "effective_at": dice.choice([None, None, None, dice.randint(1, 5 * HOUR)]),
                "expires_at": dice.choice([None, dice.randint(1, HOUR), dice.randint(1, 3 * DAY)]),
                "metadata": dice.choice([{}, {}, {"order": dice.randint(1, 3)}]),
            }
        case "debit":
            # What a rate card priced may cost nothing.
            card = dice.choice([0, 0, 0, 0, 0, 0, 0, 1])
            return {
                "amount": dice.randint(0 if card else 1, 9),
                "card": card,
                "partial": dice.random() < 0.3,
                "backfill": dice.random() < 0.3,
                **date(dice),
                **usage(dice),
            }
        case "hold":
            found = usage(dice)
            del found["quantity"]
            ttl = dice.choice([SECOND, MINUTE, HOUR, 6 * HOUR, DAY, DAY, DAY])
            until = (
                {"expires_at": dice.choice([MINUTE, HOUR, DAY, DAY + 1, 0])} if dice.random() < 0.2 else {"ttl": ttl}
            )
            return {"amount": dice.randint(1, 9), **until, **found}
        case "extend":
            span = dice.choice([SECOND, HOUR, 5 * HOUR, 20 * HOUR, DAY, DAY, DAY])
            if dice.random() < 0.3:
                return {"which": which, "expires_at": span + dice.choice([0, 0, 1, HOUR])}
            return {"which": which, "ttl": span}
        case "capture":
            found = usage(dice)
            del found["dims"]
            beyond = dice.choice([-6, -3, -2, -1, 0, 1, 2, 3, 5, 8, 20])
            card = dice.choice([0, 0, 0, 0, 0, 1])
            return {"which": which, "beyond": beyond, "card": card, **date(dice), **found}
        case "reverse":
            return {"which": which, "amount": dice.choice([None, dice.randint(1, 6)])}
        case "update":
            changes = {
                "priority": dice.choice([KEEP, 5, 50, 95]),
                "expires_at": dice.choice([KEEP, KEEP, None, dice.randint(1, 2 * DAY), dice.randint(-DAY, 2 * DAY)]),
                "metadata": dice.choice([KEEP, KEEP, {"order": dice.randint(1, 3)}]),
            }
            kept = all(value is KEEP for value in changes.values())
            return {"which": which, **(changes | {"priority": 5} if kept else changes)}
        case "transfer":
            return {"amount": dice.randint(1, 9), "by": dice.choice([1, 2]), "open_pool": dice.random() < 0.8}
        case "allowance":
            name = dice.choice(list(SCOPES))
            scope = SCOPES[name if dice.random() < 0.8 else dice.choice(list(SCOPES))]
            amount = dice.randint(2, 15)
            if "metric" in scope:
                amount = dice.choice([amount * 10**6, 3_333_333, 12_345_678, 1])
            return {"name": name, "amount": amount, **missing(dice, scope), **scope}
        case "remove allowance":
            return {"name": dice.choice(list(SCOPES))}
        case "budget":
            name = dice.choice(list(LIMITS))
            scope = LIMITS[name if dice.random() < 0.8 else dice.choice(list(LIMITS))]
            return {
                "name": name,
                "amount": dice.choice([dice.randint(2, 10), dice.randint(3, 30)]),
                "mode": dice.choice(["block", "block", "block", "warn"]),
                "holds_max": dice.choice([None, None, None, 1, 2]),
                **missing(dice, scope),
                **scope,
            }
        case "remove budget":
            return {"name": dice.choice(list(LIMITS))}
        case "plan":
            starts = dice.choice([None, None, None, None, dice.randint(1, 2 * DAY), dice.randint(-HOUR, -1)])
            return {
                "name": dice.choice(PLANS),
                "period": dice.choice(["day"] * 9 + ["week"]),
                "every": dice.choice([1, 1, 1, 2, 3, 7]),
                "zone": dice.choice(["UTC", "UTC", "Etc/UTC"]),
                "anchor": dice.choice([None, None, -dice.randint(1, 5 * DAY)]),
                "starts_at": starts,
                "ends_at": dice.choice([None, None, (starts or 0) + dice.randint(-HOUR, 6 * DAY)]),
                "category": dice.choice(["paid", "promotional"]),
                "priority": dice.choice([50, 50, 20]),
                "prorate": dice.random() < 0.4,
                "start": dice.choice([None, None, None, "now"]),
                "left_out": tuple(name for name in LEFT_OUT if dice.random() < 0.3),
                **quantity_of_plan(dice),
            }
        case "the same plan":
            return {
                "which": which,
                "later": dice.randint(-3, 3),
                "zone": dice.choice(["UTC", "Etc/UTC"]),
                "start": dice.choice([None, None, "now"]),
            }
        case "new terms of a plan":
            ends = dice.choice([None, None, dice.randint(1, 5 * DAY), dice.randint(1, 5 * DAY), -HOUR])
            return {"which": which, "ends_at": ends, **quantity_of_plan(dice)}
        case "cancel":
            return {"which": which, "at_once": dice.random() < 0.6}
        case "alerts":
            return alert_terms(dice)
        case "grant a recharge":
            return {
                "which": which,
                "amount": dice.choice([None, None, 1, dice.randint(1, 3), dice.randint(1, 9), 300]),
                "expires_at": dice.choice([None, None, -SECOND, dice.randint(1, DAY)]),
            }
        case "conflict":
            return {"which": which, "key": dice.choice([0, 1])}
    return {"which": which}


def usage(dice: Random) -> dict[str, Any]:
    dims: dict[str, Any] = {"user": dice.choice(USERS), "kind": dice.choice(["chat", "job"])}
    if dice.random() < 0.3:
        del dims[dice.choice(["user", "kind"])]
    if (names := NUMBERED.get(dims.get("user", ""))) is not None:
        dims["user"] = dice.choice(names)
    is_metered = dice.random() < 0.45
    return {
        "dims": dims,
        "metric": dice.choice(["tokens", "tokens", "tokens", "calls"]) if is_metered else None,
        "quantity": dice.choice(["1", "2.5", "3", "7", "0.000001", "0.123456789", "40", "0"]) if is_metered else None,
    }


def missing(dice: Random, scope: dict[str, Any]) -> dict[str, Any]:
    """Return what happens to usage without the dimension of which each value counts on its own."""
    words = ["pass", "count together", "count together", "block"] if "each" in scope else ["pass"]
    return {"missing": dice.choice(words)}


def date(dice: Random) -> dict[str, Any]:
    """Return when usage occurred: mostly when it is recorded, at times further off than it may be."""
    if dice.random() < 0.9:
        return {"occurred_at": None}
    return {"occurred_at": dice.choice([-HOUR, -5 * DAY, -399 * DAY, -401 * DAY, 299 * SECOND, 301 * SECOND])}


def quantity_of_plan(dice: Random) -> dict[str, Any]:
    return {
        "amount": dice.randint(1, 9),
        "roll_over": dice.choice([0, 0, None, dice.randint(1, 9), dice.randint(1, 4)]),
    }


def alert_terms(dice: Random) -> dict[str, Any]:
    if dice.random() < 0.1:
        return {"recharge": None}
    below = dice.choice([dice.randint(1, 16), dice.randint(10, 40)])
    rule: dict[str, Any] = {
        "below": below,
        "target": below + dice.randint(0, 12),
        "monthly_max": dice.choice([None, dice.randint(5, 60), dice.randint(3, 12)]),
        "grants": dice.random() < 0.4,
        "timeout_us": dice.choice([10 * MINUTE, 6 * HOUR, 2 * DAY]),
        "category": dice.choice(["paid", "promotional"]),
    }
    low = [Threshold(dice.randint(1, 25)), Threshold(dice.randint(1, 8)), Threshold(0, dice.choice([20, 50, 100]))]
    return {
        "low": tuple(dice.sample(low, dice.randint(0, 3))),
        "expiring_us": dice.choice([None, None, 10 * MINUTE, DAY]),
        "budget_percents": dice.choice([(), (50, 100), (30, 80)]),
        "recharge": dice.choice([None, rule, rule, rule]),
    }
