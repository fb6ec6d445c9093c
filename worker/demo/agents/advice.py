"""Two task types of the support agent: questions about products, and billing."""

from datetime import date, timedelta
from typing import Any

from worker.demo.agents.draft import Draft, Fault
from worker.demo.agents.orders import order_number
from worker.demo.agents.words import PRODUCTS, Product, customer, message, reply

PRODUCT_FAULTS = (
    Fault("generic", "General advice that would fit any product; what the spec sheet says is not used."),
    Fault("contradicts", "The recommendation contradicts the spec sheet that the agent had just read.", weight=0.8),
    Fault("other", "The answer is about another product than the one asked for.", weight=0.4),
    Fault("stock", "The product is recommended for this week although the shop has none left.", weight=0.5),
)
BILLING_FAULTS = (
    Fault("promised", "The correction was announced, but no step makes it."),
    Fault("other", "The wrong invoice was corrected; the one complained about stands.", weight=0.8),
    Fault("explains", "The charge is explained away; the ledger shows that the customer is right.", weight=0.7),
    Fault("half", "Only the charge is dealt with, the missing company name is not.", "all_parts", weight=0.4),
)

_NEEDS = {
    "tent": ("three weeks in Scotland in October", "two people and a dog", "a windy ridge camp", "a festival weekend"),
    "tarp": ("a bikepacking trip", "cooking in the rain", "a beach in June"),
    "sleeping bag": ("nights around freezing", "a hut tour in August", "someone who always sleeps cold"),
    "mat": ("sleeping on snow", "side sleepers", "a summer trip where weight matters"),
    "backpack": ("a five-day hut tour", "carry-on luggage", "commuting with a 15-inch laptop"),
    "jacket": ("steady rain all day", "windy ridges", "belaying in winter", "a city that never stops raining"),
    "trousers": ("scrambling", "hot summer days", "long approaches in thorns"),
    "boots": ("wet bogs", "a resole in two years", "long days with a heavy pack"),
    "stove": ("melting snow", "two people for a week", "places where only petrol is sold"),
    "filter": ("muddy rivers", "a group of four", "glacier water"),
    "lamp": ("trail running at night", "a week without charging", "cave tours"),
    "poles": ("air travel in a small bag", "steep descents with bad knees", "a trekking tent"),
}
_ASKS_OF_ONE = (
    "Would the {name} do for {need}?",
    "I am looking at the {name} and wonder whether it suits {need}.",
    "Quick question: {name}, good for {need}?",
    "We are planning {need}. Does the {name} make sense?",
    "How does the {name} hold up for {need}? And is it in stock?",
)
_ASKS = (
    *_ASKS_OF_ONE,
    "Is the {name} the right choice for {need}, or would you take the {rival}?",
    "{name} or {rival} for {need}?",
    "I cannot decide between {name} and {rival}; it is for {need}.",
)
_FITS = (
    "Yes: with {facts} the {name} is a good match for {need}.",
    "The {name} ({facts}) handles {need} well; {stock} are in stock right now.",
    "For {need} I would take the {name}: {facts}. We have {stock} left.",
    "It fits. The spec sheet says {facts}, and customers who used it for {need} rate it {stars} of 5.",
)
_UNFIT = (
    "For {need} I would rather not: the {name} has {facts}. The {rival} is the better choice.",
    "Honestly, no. {facts} is too little for {need}; look at the {rival} instead.",
)
_GENERIC = (
    "It depends on your needs. Quality gear always pays off, and our {kind}s are very popular with customers.",
    "Choosing a {kind} is personal: think about comfort, weight and budget, then pick what feels right.",
    "All of our products are made for the outdoors, so you cannot go wrong with this {kind}.",
)


def product_question(draft: Draft, night: date, fault: str | None) -> None:
    """Scenario: a customer asks whether a product suits a purpose."""
    rng, who, item = draft.rng, customer(draft.rng), draft.rng.choice(PRODUCTS)
    rival = rng.choice([each for each in PRODUCTS if each.kind == item.kind and each is not item] or [item])
    facts: dict[str, Any] = {
        "name": item.name,
        "rival": rival.name,
        "kind": item.kind,
        "need": rng.choice(_NEEDS[item.kind]),
        "facts": ", ".join(f"{name} {value}" for name, value in item.spec.items()),
        "stock": 0 if fault == "stock" else rng.randrange(12, 90),
        "stars": round(rng.uniform(3.8, 4.9), 1),
    }
    asks = _ASKS if rival is not item else _ASKS_OF_ONE
    draft.asked = message(rng, draft.ticket, f"Question about {item.name}", [rng.choice(asks).format(**facts)], who)
    draft.think(rng.choice(("Find the product.", "Search the catalogue, then read the spec.", "What do we sell here?")))
    _read_up(draft, item, rival, facts, night)
    draft.close(reply(rng, who, [_advice(draft, item, rival, facts, fault)]))


def _advice(draft: Draft, item: Product, rival: Product, facts: dict[str, Any], fault: str | None) -> str:
    rng = draft.rng
    if fault == "generic":
        return rng.choice(_GENERIC).format(**facts)
    if fault == "contradicts":
        return f"The {item.name} is the warmest and lightest we have, nothing is better for {facts['need']}."
    if fault == "other":
        other = rng.choice([each for each in PRODUCTS if each.kind != item.kind])
        return f"The {other.name} is our bestseller and will serve you well."
    if fault == "stock":
        return f"Take the {item.name}: order today and you have it this week. {facts['facts']}."
    is_unfit = rival is not item and rng.random() < 0.3
    return rng.choice(_UNFIT if is_unfit else _FITS).format(**facts)


def _read_up(draft: Draft, item: Product, rival: Product, facts: dict[str, Any], night: date) -> None:
    hits = [
        {"sku": each.sku, "name": each.name, "usd": each.price}
        for each in ((item, rival) if rival is not item else (item,))
    ]
    draft.call("catalog.search", {"query": item.name}, hits)
    draft.call("catalog.spec", {"sku": item.sku}, {"sku": item.sku, "name": item.name, **item.spec})
    draft.think("Check what is in stock." if facts["stars"] > 4.2 else "Stock, and what customers say.")
    restock = (night + timedelta(days=9)).isoformat()
    counted = {"sku": item.sku, "available": facts["stock"], "restock": restock}
    is_up = draft.call("inventory.lookup", {"sku": item.sku, "warehouse": "all"}, counted)
    notes = f"{facts['stars']} of 5. “Used it for {facts['need']}.” Shop page shows {facts['stock']} left."
    draft.call("reviews.search", {"sku": item.sku, "query": facts["need"]}, notes)
    if not is_up:
        draft.steps[-1]["arguments"]["with_stock"] = True


_COMPLAINTS = (
    "I was charged twice for invoice {invoice}, ${amount:.2f} each time.",
    "Invoice {invoice} is ${amount:.2f} too high, the discount code {code} was not taken off.",
    "My card shows ${amount:.2f} from you on {day:%d %B} and I do not know what for. Invoice {invoice}?",
    "The Fernhill Plus fee of ${amount:.2f} was taken although I cancelled on {day:%d %B}.",
    "You sent a reminder for {invoice} but I paid ${amount:.2f} on {day:%d %B}.",
    "VAT was added to invoice {invoice} though we gave you our VAT number, that is ${amount:.2f}.",
)
_COMPANY = (
    "And the invoice lacks our company name, please add {company}.",
    "Please also put {company} on it, our accountant insists.",
)
_SETTLED = (
    "You are right. I have credited ${amount:.2f} on invoice {invoice}, credit note {note}.",
    "Sorry about that: ${amount:.2f} is credited ({note}) and invoice {invoice} is settled.",
    "I checked {invoice}: the charge was ours to correct. Credit note {note} over ${amount:.2f} is booked.",
    "Credit note {note} takes ${amount:.2f} off invoice {invoice}; it goes back the way you paid.",
)
_ANNOUNCED = (
    "We will correct invoice {invoice} shortly. Our billing team has your message, reference {note}.",
    "Thank you for telling us, ${amount:.2f} on {invoice} will be looked at by our accounts team ({note}).",
    "I have asked for a correction of {invoice} under {note}; you will hear from us.",
)


def billing(draft: Draft, night: date, fault: str | None) -> None:
    """Scenario: a customer disputes a charge."""
    rng, who = draft.rng, customer(draft.rng)
    facts: dict[str, Any] = {
        "invoice": f"INV-{rng.randrange(100_000, 999_999)}",
        "amount": rng.choice((4.99, 9.9, 12.5, 19.0, 24.95, 37.4, 49.0, 64.8, 89.0, 120.0, 189.0)) + rng.randrange(40),
        "day": night - timedelta(days=rng.randrange(3, 20)),
        "code": rng.choice(("TRAIL10", "WELCOME5", "AUTUMN15", "PLUS20")),
        "company": rng.choice(("Hollis & Daughters", "Bergmann Tiefbau", "Studio Cinque", "Lakeside School")),
        "note": f"CN{rng.randrange(100_000, 999_999)}",
    }
    wants_name = fault == "half" or rng.random() < 0.15
    sentences = [rng.choice(_COMPLAINTS).format(**facts)]
    sentences += [
        rng.choice(("Please put this right.", "Can you check?", "What happened there?", "Please correct it."))
    ]
    sentences += [rng.choice(_COMPANY).format(**facts)] if wants_name else []
    draft.asked = message(rng, draft.ticket, f"Invoice {facts['invoice']}", sentences, who)
    draft.think(rng.choice(("Pull the invoice.", "Invoice and payments side by side.", "See what was booked.")))
    _check_books(draft, facts)
    parts = [_correct(draft, facts, fault)]
    if wants_name and fault != "half":
        parts.append(f"The invoice now carries {facts['company']}.")
    draft.close(reply(rng, who, parts))


def _check_books(draft: Draft, facts: dict[str, Any]) -> None:
    rng = draft.rng
    billed = {"invoice": facts["invoice"], "disputed_usd": facts["amount"], "order": order_number(rng)}
    draft.call("invoices.get", {"invoice": facts["invoice"]}, billed | {"state": "open"})
    booked = {"date": facts["day"].isoformat(), "usd": facts["amount"], "method": rng.choice(("card", "transfer"))}
    draft.call("payments.search", {"invoice": facts["invoice"], "days": 60}, [booked])
    draft.think("The books agree with the customer; correct it.")


def _correct(draft: Draft, facts: dict[str, Any], fault: str | None) -> str:
    rng = draft.rng
    request = {"invoice": facts["invoice"], "amount_usd": facts["amount"]}
    if fault == "promised":
        draft.call("cases.create", {**request, "queue": "billing"}, {"case": facts["note"], "status": "open"})
        return rng.choice(_ANNOUNCED).format(**facts)
    if fault == "explains":
        draft.call("cases.note", {**request, "note": "explained"}, {"saved": True, "ref": facts["note"]})
        return (
            f"The ${facts['amount']:.2f} on {facts['invoice']} are our regular charges, so there is nothing to change."
        )
    if fault == "other":
        wrong = f"INV-{rng.randrange(100_000, 999_999)}"
        draft.call("credits.issue", {**request, "invoice": wrong}, {"credit_note": facts["note"], "invoice": wrong})
        return f"Credit note {facts['note']} over ${facts['amount']:.2f} is booked on invoice {wrong}."
    draft.call("credits.issue", request, {"credit_note": facts["note"], "usd": facts["amount"], "state": "booked"})
    return rng.choice(_SETTLED).format(**facts)
