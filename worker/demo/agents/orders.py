"""Two task types of the support agent: refunds, and the status of an order."""

import random
from datetime import date, timedelta
from typing import Any

from worker.demo.agents.draft import Draft, Fault
from worker.demo.agents.words import CARRIERS, PRODUCTS, Customer, Product, customer, message, reply

REFUND_FAULTS = (
    Fault("promised", "The refund was promised, but nothing in the steps issues one."),
    Fault("fee", "A restocking fee was kept back although the policy waives it for faulty goods.", weight=0.7),
    Fault("refused", "The refund was refused as too late; the order lies well within the 30 days.", weight=0.6),
    Fault("half", "The return label that was also asked for is not dealt with.", "all_parts", weight=0.4),
    Fault("unsure", "The answer says the money was sent; the tool says it waits for a review.", weight=0.6),
)
STATUS_FAULTS = (
    Fault("stale", "The date comes from the order confirmation, not from the parcel's scans."),
    Fault("vague", "The customer asked where the parcel is and is told to be patient."),
    Fault("other", "The answer tells of another parcel of the same customer.", weight=0.5),
    Fault("half", "Nothing is said about the changed delivery address.", "all_parts", weight=0.4),
)

_FAULTY = {
    "soft": ("arrived with a torn seam", "has a zip that sticks and splits", "lost its colour in the first wash"),
    "hard": ("came with a broken part", "stopped working after two days", "arrived dented"),
    "any": ("leaks at the first rain", "smells of solvent even after airing it for days", "looks used"),
}
_OTHER_TROUBLE = (
    ("is the wrong size", "changed mind"),
    ("is not the colour I ordered", "wrong item"),
    ("is not what I hoped for", "changed mind"),
    ("never arrived, tracking stopped a week ago", "lost"),
    ("was missing from the parcel", "missing"),
    ("came twice, I only want one", "wrong item"),
)
_HARD_GOODS = ("stove", "filter", "lamp", "poles")
_WISHES = (
    "I would like my money back.",
    "Please refund it.",
    "Can you refund ${price:.2f} to my card?",
    "I do not want a replacement, just the refund.",
    "Please take it back and refund me.",
    "How do I get my ${price:.2f} back?",
)
_LABELS = (
    "Also, can you send me a return label?",
    "And please mail me a return label, I have no printer at home so a QR code would do.",
    "Please also tell me where to send it, a label would help.",
)
_THOUGHTS = (
    "Look the order up first.",
    "Need the order and its date before deciding.",
    "Check whether it falls under the 30 days.",
    "Faulty goods have their own rule; read the policy.",
    "Customer is upset; keep it short and settle it.",
)
_PAID = (
    "I have refunded ${amount:.2f} for order {order} to your {method}; it shows up in 3 to 5 working days.",
    "Your refund of ${amount:.2f} (order {order}) is on its way to your {method}.",
    "Done: ${amount:.2f} goes back to your {method} for the {item}, reference {ref}.",
    "The {item} is refunded in full: ${amount:.2f}, reference {ref}. Banks take up to 5 working days.",
)
_PROMISED = (
    "I have passed your refund of ${amount:.2f} on to the responsible team, case {ref}; they will look into it.",
    "Your refund request for order {order} is noted as case {ref}. We will come back to you as soon as we can.",
    "Thank you, the refund for the {item} is being arranged under case {ref}. No need to do anything.",
)


def order_number(rng: random.Random) -> str:
    """A random order number in the shop's format."""
    return f"{rng.randrange(100, 200)}-{rng.randrange(10_000, 99_999)}"


def refund(draft: Draft, night: date, fault: str | None) -> None:
    """Scenario: a customer wants a refund."""
    rng, who, item = draft.rng, customer(draft.rng), draft.rng.choice(PRODUCTS)
    order, method = order_number(rng), rng.choice(("card", "card", "PayPal account", "gift balance"))
    trouble, reason = rng.choice(_OTHER_TROUBLE)
    if fault == "fee" or rng.random() < 0.45:
        texture = "hard" if item.kind in _HARD_GOODS else "soft"
        trouble, reason = rng.choice(_FAULTY[texture] + (_FAULTY["any"] if texture == "soft" else ())), "faulty"
    bought = night - timedelta(days=rng.randrange(4, 26))
    wants_label = fault == "half" or rng.random() < 0.25
    sentences = [
        rng.choice(("I ordered the {0} ({1}) on {2:%d %B} and it {3}.", "The {0} from order {1} of {2:%d %B} {3}."))
        .format(item.name, order, bought, trouble),
        rng.choice(_WISHES).format(price=item.price),
    ]  # fmt: skip
    if wants_label:
        sentences.append(rng.choice(_LABELS))
    draft.asked = message(rng, draft.ticket, f"Refund for {item.name}", sentences, who)
    draft.think(rng.choice(_THOUGHTS))
    result = {"order": order, "placed": bought.isoformat(), "status": "delivered", "total_usd": item.price}
    draft.call("orders.get", {"order": order}, result | {"items": [{"sku": item.sku, "usd": item.price, "qty": 1}]})
    rule = "Returns within 30 days of delivery. Faulty, wrong or missing goods: full refund, no restocking fee."
    draft.call("policy.search", {"query": f"refund {reason}"}, rule + " Otherwise a fee of 10 % may be kept.")
    _settle_refund(draft, order, item, who, method, fault, wants_label=wants_label)


def _settle_refund(
    draft: Draft, order: str, item: Product, who: Customer, method: str, fault: str | None, *, wants_label: bool
) -> None:
    rng, amount = draft.rng, item.price
    if fault == "fee":
        amount = round(item.price * 0.9, 2)
    ref = f"RF{rng.randrange(100_000, 999_999)}"
    facts: dict[str, Any] = {"amount": amount, "order": order, "method": method, "item": item.name, "ref": ref}
    requested: dict[str, Any] = {"order": order, "sku": item.sku, "amount_usd": amount}
    draft.think(f"Within the window; {'issue' if fault is None else 'settle'} {amount:.2f} for {item.sku}.")
    sentence = rng.choice(_PAID).format(**facts)
    if fault == "promised":
        draft.call("cases.create", requested, {"case": ref, "queue": "refunds", "status": "open"})
        sentence = rng.choice(_PROMISED).format(**facts)
    elif fault == "refused":
        draft.call("cases.note", {"order": order, "note": "refund declined"}, {"saved": True, "ref": ref})
        sentence = f"Unfortunately order {order} is past our 30 days, so a refund for the {item.name} is not possible."
    else:
        status = "pending_review" if fault == "unsure" else "sent"
        draft.call(
            "refunds.issue", requested, {"refund": ref, "amount_usd": amount, "method": method, "status": status}
        )
    if fault == "fee":
        sentence += " A restocking fee of 10 % was kept."
    parts = [sentence]
    draft.think("Write to the customer." if not wants_label else "A label was asked for too.")
    if wants_label and fault != "half":
        label = f"LB{rng.randrange(10_000_000, 99_999_999)}"
        draft.call("labels.create", {"order": order, "email": who.email}, {"label": label, "format": "QR"})
        parts.append(f"The return label {label} comes by e-mail as a QR code.")
    draft.close(reply(rng, who, parts))


_WHERE = (
    "Where is my order {order}? It was supposed to be here by {due:%d %B}.",
    "Order {order} has not moved for days. When will it arrive in {city}?",
    "Can you tell me where parcel {parcel} is?",
    "I am waiting for order {order} ({item}). Any news?",
    "Tracking for {parcel} says nothing useful. When can I expect it?",
    "The shop promised {due:%d %B} for order {order}, is that still right?",
)
_MOVED = (
    "By the way, I moved: please deliver to {street} in {city}.",
    "Also, could it go to {street}, {city} instead? I am not home this week.",
)
_STREETS = ("12 Mill Lane", "4 Harbour Street", "77 Station Road", "9 Chapel Row", "31 Quarry Hill", "5 Linden Court")
_SCANS = ("sorted at the hub", "loaded at the depot", "handed to a local courier", "scanned at customs", "re-labelled")
_ETA = (
    "Your parcel {parcel} was {scan} in {hub} on {seen:%d %B} and should reach {city} on {eta:%d %B}.",
    "Good news: {parcel} is moving. Last scan: {scan}, {hub}, {seen:%d %B}. Expected on {eta:%d %B}.",
    "{carrier} has your parcel: {scan} in {hub} on {seen:%d %B}. Please count on {eta:%d %B}.",
    "Order {order} left our warehouse on {shipped:%d %B}; the last news is from {hub} ({scan}), expected {eta:%d %B}.",
)
_VAGUE = (
    "Deliveries can take a few days at the moment. We appreciate your patience!",
    "Please allow some more time, your parcel is on its way and will be with you soon.",
    "Our carriers are doing their best; parcels usually arrive within the promised time.",
)


def order_status(draft: Draft, night: date, fault: str | None) -> None:
    """Scenario: a customer asks where a parcel is."""
    rng, who, item = draft.rng, customer(draft.rng), draft.rng.choice(PRODUCTS)
    shipped = night - timedelta(days=rng.randrange(2, 7))
    facts: dict[str, Any] = {
        "order": order_number(rng),
        "parcel": f"{rng.choice('KNPBW')}{rng.randrange(10**8, 10**9)}",
        "item": item.name,
        "city": who.city,
        "carrier": rng.choice(CARRIERS),
        "hub": rng.choice(("Eindhoven", "Hanover", "Lille", "Milan", "Gdansk", "Coventry")),
        "scan": rng.choice(_SCANS),
        "street": rng.choice(_STREETS),
        "shipped": shipped,
        "due": night + timedelta(days=rng.randrange(-3, 2)),
        "seen": night - timedelta(days=rng.randrange(0, 2)),
        "eta": night + timedelta(days=rng.randrange(1, 4)),
    }
    has_moved = fault == "half" or rng.random() < 0.12
    sentences = [rng.choice(_WHERE).format(**facts)] + ([rng.choice(_MOVED).format(**facts)] if has_moved else [])
    draft.asked = message(rng, draft.ticket, f"Order {facts['order']}", sentences, who)
    draft.think(rng.choice(("Find the order and its parcel.", "Start with the order.", "Parcel number first.")))
    _follow_parcel(draft, facts, item)
    parts = [rng.choice(_ETA).format(**facts)]
    if fault == "stale":
        parts = [f"Order {facts['order']} is expected on {facts['due']:%d %B}, as our confirmation said."]
    elif fault == "vague":
        parts = [rng.choice(_VAGUE)]
    elif fault == "other":
        parts = [f"Your {rng.choice(PRODUCTS).name} was delivered on {shipped:%d %B}; nothing else is open."]
    if has_moved and fault != "half":
        parts.append(f"I have asked {facts['carrier']} to bring it to {facts['street']}, {facts['city']}.")
    draft.close(reply(rng, who, parts))


def _follow_parcel(draft: Draft, facts: dict[str, Any], item: Product) -> None:
    """Look up order, carrier and warehouse; when the carrier's tool fails, the warehouse's data are enough."""
    result = {"order": facts["order"], "sku": item.sku, "parcel": facts["parcel"], "carrier": facts["carrier"]}
    placed = {"promised": facts["due"].isoformat(), "shipped": facts["shipped"].isoformat()}
    draft.call("orders.get", {"order": facts["order"]}, result | placed)
    scans = {"parcel": facts["parcel"], "last_scan": facts["scan"], "hub": facts["hub"]}
    dated = {"seen": facts["seen"].isoformat(), "eta": facts["eta"].isoformat()}
    is_up = draft.call("carrier.track", {"parcel": facts["parcel"]}, scans | dated)
    draft.think("Compare with the warehouse." if is_up else "Carrier does not answer; the warehouse has its scans.")
    draft.call("warehouse.events", {"order": facts["order"]}, scans | dated | {"packed": facts["shipped"].isoformat()})
