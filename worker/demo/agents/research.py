"""Two task types of the research agent: comparing suppliers on the web, and reports from the shop's sales data."""

import random
from datetime import date, timedelta
from typing import Any

import orjson

from worker.core.calendar import nights_of_week, week_of
from worker.demo.agents.draft import Draft, Fault
from worker.demo.agents.words import FIRST, LAST, SUPPLIERS

SUPPLIER_FAULTS = (
    Fault("dearer", "A dearer supplier is recommended as the cheapest; the pages read say otherwise."),
    Fault("thin", "Two suppliers were asked for besides the current one; only one was looked at.", weight=0.9),
    Fault("dated", "The figures come from a price list that is years old, which the answer does not say.", weight=0.7),
    Fault("certificate", "The certificate is stated as held; the page read says it has lapsed.", weight=0.6),
)
REPORT_FAULTS = (
    Fault("period", "The figures are of another week than the one asked for."),
    Fault("gross", "Gross figures are given where net of returns was asked for.", weight=0.8),
    Fault("silent", "The comparison with the week before, which was asked for, is missing.", "all_parts", weight=0.3),
    Fault("swapped", "Two of the rows are swapped.", weight=0.6),
)
SALES_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["title", "week", "rows", "summary"],
    "properties": {
        "title": {"type": "string"},
        "week": {"type": "string"},
        "rows": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "net_usd", "change_pct"],
                "properties": {"net_usd": {"type": "number"}, "change_pct": {"type": ["number", "null"]}},
            },
        },
        "summary": {"type": "string"},
    },
}
"""JSON Schema of a sales report; the scorer `valid_json` checks every report against it."""

_GOODS = (
    ("20D ripstop nylon", "m"),
    ("3-layer membrane fabric", "m"),
    ("750 cuin duck down", "kg"),
    ("YKK-type coil zips, size 5", "piece"),
    ("stretch polyamide", "m"),
    ("silicone-coated tent fly fabric", "m"),
    ("merino jersey 190 g", "m"),
    ("recycled insulation 80 g", "m"),
    ("aluminium tent poles 8.5 mm", "set"),
    ("TPU-coated dry bag fabric", "m"),
)
_BRIEFS = (
    "Compare three suppliers for {good}: price per {unit} at {qty:,}, lead time, certificates. Recommend one.",
    "We pay {current} ${now:.2f} per {unit} for {good}. Find two alternatives below that at {qty:,} {unit} and check "
    "their certificates.",
    "Who can deliver {qty:,} {unit} of {good} before {due:%d %B}, and for how much? Three offers please.",
    "Second source for {good} wanted ({current} is slow). Price at {qty:,}, minimum order, lead time.",
    "Purchasing asks: is {current} still competitive for {good} at {qty:,} {unit} a year? Give a short memo.",
)
_CERTIFICATES = ("OEKO-TEX 100", "bluesign", "RDS", "GRS")
_NOTES = (
    "Price lists first, then certificates.",
    "Two sources disagree; read the primary one.",
    "The PDF is long, take page 3 only.",
    "Lead time is missing on the page; look for the terms.",
    "Currency is EUR on this page, convert with today's rate.",
    "Good, that is the third one. Compare.",
    "This is a reseller, not the mill. Search again.",
)


def supplier_research(draft: Draft, night: date, fault: str | None) -> None:
    """Scenario: purchasing wants suppliers compared."""
    rng = draft.rng
    good, unit = rng.choice(_GOODS)
    names = rng.sample(SUPPLIERS, 3)
    offers = sorted(((round(rng.uniform(2.2, 38.0), 2), name) for name in names), key=lambda offer: offer[0])
    facts: dict[str, Any] = {"good": good, "unit": unit, "qty": rng.choice((500, 1_200, 2_500, 5_000, 12_000))}
    facts |= {"current": names[0], "now": offers[-1][0], "due": night + timedelta(days=rng.randrange(40, 90))}
    draft.asked = f"[{draft.ticket}] {rng.choice(_BRIEFS).format(**facts)}"
    draft.think(f"Plan: search offers for {good}, read each supplier's page, compare, write the memo.")
    weeks = {name: rng.randrange(3, 14) for name in names}
    certificate = rng.choice(_CERTIFICATES)
    looked_at = names[:2] if fault == "thin" else names
    for name in looked_at:
        price = next(price for price, item in offers if item == name)
        _read_supplier(draft, name, good, unit, price, weeks[name], certificate, fault)
    draft.call("notes.save", {"title": f"{good} offers", "suppliers": looked_at}, {"saved": len(looked_at)})
    offers = [offer for offer in offers if offer[1] in looked_at]
    best = offers[-1] if fault == "dearer" else offers[0]
    notes = "; ".join(f"{name} ${price:.2f} per {unit}, {weeks[name]} weeks" for price, name in offers)
    held = f"holds {certificate}" if fault == "certificate" or rng.random() < 0.6 else f"{certificate} not confirmed"
    draft.close(f"{rng.choice(_MEMOS).format(best=best[1], price=best[0], unit=unit, held=held)} Offers: {notes}.")


_MEMOS = (
    "Recommendation: {best} at ${price:.2f} per {unit} ({held}).",
    "I would go with {best}: ${price:.2f} per {unit}, {held}.",
    "Cheapest of those read is {best} with ${price:.2f} per {unit}; {held}.",
    "Short memo. First choice {best}, ${price:.2f} per {unit}, {held}.",
)


def _read_supplier(
    draft: Draft, name: str, good: str, unit: str, price: float, weeks: int, certificate: str, fault: str | None
) -> None:
    rng, host = draft.rng, name.lower().replace(" ", "-")
    hits = [{"url": f"https://{host}.example/{page}"} for page in ("products", "prices", "company")]
    draft.call("web.search", {"query": f"{name} {good} price"}, hits)
    year = " (2019 list)" if fault == "dated" else ""
    page = f"{name}: {good}, ${price:.2f} per {unit} from the second price break{year}. Lead time {weeks} weeks."
    draft.call("web.fetch", {"url": f"https://{host}.example/prices"}, page)
    if rng.random() < 0.55:
        draft.think(rng.choice(_NOTES))
    if rng.random() < 0.6:
        state = "lapsed in spring" if fault == "certificate" else rng.choice(("valid", "valid", "renewal pending"))
        draft.call("certificates.check", {"holder": name, "standard": certificate}, {certificate: state})


_VIEWS = (
    ("category", ("tents", "sleeping bags", "backpacks", "jackets", "boots", "stoves")),
    ("country", ("Germany", "France", "Italy", "Norway", "Poland", "Ireland")),
    ("channel", ("web shop", "app", "marketplace", "store pick-up")),
    ("carrier", ("PostNova", "ParcelWay", "BlueVan", "Nordpak")),
)
_REQUESTS = (
    "Net sales by {view} for week {week}{scope}, with the change on the week before, as JSON.",
    "I need last week's ({week}) net revenue per {view}{scope}, compared with the week before.",
    "Weekly digest {week}: net of returns, by {view}{scope}, change in per cent.",
    "Which {view} moved most in {week}{scope}? Net sales and change, please.",
    "{view} by {view}: how did {week} go{scope} against the week before?",
    "Same report as always for {week}, by {view}{scope}. JSON, net, with changes.",
)
_SCOPES = (
    ("", ""),
    (", Plus members only", " AND is_plus"),
    (", without the marketplace", " AND channel <> 'marketplace'"),
    (", first orders only", " AND is_first_order"),
    (", orders above $100", " AND order_usd > 100"),
    (", new season goods", " AND season = 'AW26'"),
    (", full price only", " AND discount_usd = 0"),
)
_PURPOSES = (
    "For Monday's meeting.",
    "The board pack is due at noon.",
    "I will paste it into the dashboard.",
    "Purchasing wants to see it too.",
    "No commentary, just the document.",
    "",
)
_SQL = "SELECT {view}, SUM(net_usd) FROM sales WHERE iso_week = '{week}'{where} GROUP BY 1"


def sales_report(draft: Draft, night: date, fault: str | None) -> None:
    """Scenario: somebody wants figures from the shop's sales data."""
    rng = draft.rng
    view, names = rng.choice(_VIEWS)
    week = week_of(night - timedelta(days=7))
    reported_week = _week_before(week) if fault == "period" else week
    before = {name: round(rng.lognormvariate(9.5, 0.6), 2) for name in names}
    rows = {name: round(usd * rng.lognormvariate(0.01, 0.14), 2) for name, usd in before.items()}
    scope, where = rng.choice(_SCOPES)
    request = rng.choice(_REQUESTS).format(view=view, week=week, scope=scope)
    who = f"{rng.choice(FIRST)} {rng.choice(LAST)}, {rng.choice(('finance', 'sales', 'purchasing', 'marketing'))}"
    draft.asked = f"[{draft.ticket}] {request[0].upper()}{request[1:]} {rng.choice(_PURPOSES)}".rstrip() + f"\n— {who}"
    draft.think(rng.choice(("Two queries: the week and the one before.", "Net of returns; use the returns table too.")))
    draft.call("warehouse.query", {"sql": _SQL.format(view=view, week=reported_week, where=where)}, rows)
    if rng.random() < 0.35:
        draft.call("warehouse.schema", {"table": "returns"}, {"columns": ["order", "sku", "usd", "returned_on"]})
    draft.think("Now the week before.")
    draft.call(
        "warehouse.query", {"sql": _SQL.format(view=view, week=_week_before(reported_week), where=where)}, before
    )
    changes = {name: round(100 * (rows[name] - before[name]) / before[name], 1) for name in names}
    draft.call("python.run", {"code": "{k: round(100 * (a[k] - b[k]) / b[k], 1) for k in a}"}, changes)
    draft.close(_report(rng, f"Net sales by {view}", reported_week, rows, changes, fault))


def _week_before(week: str) -> str:
    return week_of(nights_of_week(week)[0] - timedelta(days=7))


def _report(
    rng: random.Random, title: str, week: str, rows: dict[str, float], changes: dict[str, float], fault: str | None
) -> str:
    names = list(rows)
    values = [rows[name] for name in names]
    if fault == "swapped":
        values[0], values[1] = values[1], values[0]
    lines: list[dict[str, Any]] = [
        {"name": name, "net_usd": value, "change_pct": None if fault == "silent" else changes[name]}
        for name, value in zip(names, values, strict=True)
    ]
    best = max(changes, key=lambda name: changes[name])
    said = f"{best} grew most." if fault != "silent" else "See the rows."
    document: dict[str, Any] = {"title": title, "week": week, "rows": lines, "summary": said}
    if fault == "gross":
        document["summary"] = "Gross of returns."
    if rng.random() < 0.02:
        del document["summary"]
    text = orjson.dumps(document).decode()
    return f"```json\n{text}\n```" if rng.random() < 0.3 else text
