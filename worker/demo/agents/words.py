"""The vocabulary of the made-up runs: people, products, carriers, suppliers, and the style of customers' messages."""

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST = _words(
    "Amara Anouk Bashir Beatriz Callum Chen Dagny Darius Elif Emeka Esther Farid Fiona Gareth Greta Hamid Hannah Idris "
    "Ines Ivo Jamila Jonas Kaito Katya Lars Leila Luca Maeve Marisol Mateo Mila Nadia Niamh Noor Oskar Paloma Priya "
    "Rafael Rosa Sanjay Selma Soren Tadeo Tamsin Tomasz Uma Viktor Wanda Yara Zoltan"
)
LAST = _words(
    "Abara Almeida Baptiste Barlow Castellan Chowdhury Dahl Diallo Eriksen Falk Ferreira Gallagher Grabowski Haddad "
    "Hoang Ibarra Iversen Jankowski Kapoor Keller Kovacs Lindqvist Lombardi Mbeki McAllister Moreau Nakamura Novak "
    "Okafor Olsen Papadakis Petrov Quinn Rahman Rinaldi Sato Schreiber Tanaka Tremblay Ueda Varga Weiss Yilmaz"
)
CITIES = _words(
    "Aberdeen Antwerp Bergen Bologna Bristol Cork Dresden Dundee Ghent Graz Innsbruck Leeds Linz Malmö Nantes Odense "
    "Porto Rennes Salzburg Seville Tampere Trento Turin Utrecht Vigo Vilnius Wroclaw Zaragoza"
)
CARRIERS = ("PostNova", "ParcelWay", "BlueVan", "Kestrel Express", "Nordpak")


class Product(NamedTuple):
    """A product of the shop."""

    name: str
    sku: str
    price: float
    """Price, US dollars."""
    kind: str
    spec: Mapping[str, str]


PRODUCTS = (
    Product("Skarn 2 tent", "TNT-2210", 349.0, "tent", {"weight": "1.94 kg", "hydrostatic head": "3000 mm"}),
    Product("Skarn 3 tent", "TNT-2310", 419.0, "tent", {"weight": "2.45 kg", "hydrostatic head": "3000 mm"}),
    Product("Lodge 6 family tent", "TNT-6100", 689.0, "tent", {"weight": "13.8 kg", "hydrostatic head": "4000 mm"}),
    Product("Tarn ultralight tarp", "TRP-1030", 139.0, "tarp", {"weight": "410 g", "size": "3 x 3 m"}),
    Product("Cirrus down bag", "BAG-0520", 289.0, "sleeping bag", {"comfort": "-2 °C", "fill": "750 cuin duck down"}),
    Product("Moss synthetic bag", "BAG-0310", 119.0, "sleeping bag", {"comfort": "6 °C", "fill": "recycled fibre"}),
    Product("Drift 3S mat", "MAT-3300", 94.0, "mat", {"R-value": "3.2", "weight": "560 g"}),
    Product("Drift Winter mat", "MAT-5800", 159.0, "mat", {"R-value": "5.8", "weight": "740 g"}),
    Product("Ridge 38 pack", "PCK-3800", 149.0, "backpack", {"volume": "38 l", "weight": "1.18 kg"}),
    Product("Ridge 55 pack", "PCK-5500", 189.0, "backpack", {"volume": "55 l", "weight": "1.52 kg"}),
    Product("Commuter 22 daypack", "PCK-2200", 79.0, "backpack", {"volume": "22 l", "weight": "690 g"}),
    Product("Sleet 3L jacket", "JKT-7300", 279.0, "jacket", {"membrane": "20000 mm", "weight": "420 g"}),
    Product("Squall wind jacket", "JKT-7100", 109.0, "jacket", {"membrane": "none, wind and spray only"}),
    Product("Ember down jacket", "JKT-7600", 219.0, "jacket", {"fill": "800 cuin goose down", "weight": "365 g"}),
    Product("Fjell hiking trousers", "TRS-4100", 89.0, "trousers", {"fabric": "stretch polyamide", "weight": "310 g"}),
    Product("Scree mid boots", "BTS-9200", 169.0, "boots", {"membrane": "yes", "sole": "resoleable"}),
    Product("Scree low shoes", "BTS-9100", 129.0, "boots", {"membrane": "no", "sole": "trail rubber"}),
    Product("Pebble gas stove", "STV-1500", 64.0, "stove", {"output": "2600 W", "weight": "83 g"}),
    Product("Basin multi-fuel stove", "STV-3900", 159.0, "stove", {"fuels": "gas, petrol", "weight": "310 g"}),
    Product("Creek water filter", "FLT-0400", 49.0, "filter", {"flow": "1.7 l/min", "pores": "0.1 micron"}),
    Product("Beacon 400 headlamp", "LMP-0400", 59.0, "lamp", {"output": "400 lm", "runtime": "60 h on low"}),
    Product("Cairn trekking poles", "PLS-0800", 84.0, "poles", {"material": "aluminium", "packed": "43 cm"}),
)

SUPPLIERS = (
    "Alto Textile Mills",
    "Brenta Filati",
    "Caspian Weave",
    "Dovre Membrane",
    "Eastgate Coating",
    "Fiume Tessile",
    "Guangnan Down",
    "Halcyon Nylon",
    "Isar Laminates",
    "Jade River Textiles",
    "Kolmar Zip",
    "Lanka Knit",
)


class Customer(NamedTuple):
    """A customer."""

    name: str
    email: str
    city: str


def customer(rng: random.Random) -> Customer:
    """A random customer; the e-mail address must be redacted before a judge sees the run."""
    first, last = rng.choice(FIRST), rng.choice(LAST)
    host = rng.choice(("mail.example", "post.example", "inbox.example"))
    return Customer(f"{first} {last}", f"{first}.{last}{rng.randrange(100)}@{host}".lower(), rng.choice(CITIES))


_HELLO = ("Hi,", "Hello,", "Hi there,", "Good morning,", "Dear team,", "Hello Fernhill,", "Hi folks,", "Hey,")
_BYE = ("Thanks", "Thank you", "Best", "Kind regards", "Many thanks", "Cheers", "Regards", "Thanks in advance")
_ASIDES = (
    "I have been a customer for years and this is the first time anything went wrong.",
    "I leave on Friday, so a quick answer would help.",
    "I could not find this in the FAQ.",
    "I am writing from my phone, sorry for typos.",
    "It was meant as a present.",
    "The chat told me to write here instead.",
    "No rush, just want it sorted.",
    "I tried the phone line twice and gave up.",
    "Photos attached.",
    "If you need anything else from me, just say.",
)
_CHATTY = (("please", "pls"), ("you", "u"), ("because", "cos"), ("thanks", "thx"), (" and ", " & "))


def message(rng: random.Random, ticket: str, subject: str, sentences: Sequence[str], who: Customer) -> str:
    """A customer's message as the helpdesk forwards it: an e-mail, a chat line or a form.

    Args:
        rng: Decides channel and manners.
        ticket: The helpdesk's number; it comes first, whatever the channel.
        subject: For an e-mail or a form.
        sentences: What is wanted.
        who: Who writes.
    """
    said = list(sentences)
    if rng.random() < 0.25:
        said.insert(rng.randrange(1, len(said) + 1), rng.choice(_ASIDES))
    channel = rng.random()
    if channel < 0.45:
        body = " ".join(said)
        signed = f"{rng.choice(_BYE)},\n{who.name}" + (f"\n{who.email}" if rng.random() < 0.3 else "")
        return f"[{ticket}] {subject}\n\n{rng.choice(_HELLO)}\n\n{body}\n\n{signed}"
    if channel < 0.8:
        line = " ".join(said)
        line = line[0].lower() + line[1:]
        for long, short in _CHATTY:
            if rng.random() < 0.3:
                line = line.replace(long, short)
        return f"[{ticket}] (chat) {line.rstrip('.')}"
    fields = f"Name: {who.name}\nE-mail: {who.email}\nTopic: {subject}\n\n{' '.join(said)}"
    return f"[{ticket}] Contact form\n{fields}"


_ANSWER_HELLO = ("Hi {first},", "Hello {first},", "Hi {first}, thanks for writing.", "{first}, thank you for waiting.")
_ANSWER_BYE = (
    "Anything else, just reply here.",
    "Happy trails!",
    "Sorry again for the trouble.",
    "Reply to this message if something is unclear.",
    "",
    "",
    "",
)


def reply(rng: random.Random, who: Customer, sentences: Sequence[str]) -> str:
    """The support agent's answer, with or without a polite form."""
    opened = rng.choice(_ANSWER_HELLO).format(first=who.name.split()[0])
    closed = rng.choice(_ANSWER_BYE)
    return f"{opened}\n\n{' '.join(part for part in (*sentences, closed) if part)}"
