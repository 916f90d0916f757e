"""Invents what no list has: numbers, quantities, part codes, formulas and pieces of code."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator

SIZE = 2000  # of each pool of invented strings
UNITS = tuple(
    """
    mm|cm|m|km|inch|feet|miles|g|kg|lbs|mg|ml|liters|kWh|W|kW|V|mA|Ah|Hz|GHz|GB|TB|MB|Mbps|rpm|psi
    |bar|°C|°F|K|%|dB|lumens|mmHg|km/h|mph|m/s|km²|m³|sq ft|hp|N|Pa|ppm|mg/dL|kcal
    """.replace("\n    ", "").split("|")
)
FUNCTIONS = ("sin", "cos", "tan", "log", "ln", "exp", "sqrt", "f", "g", "arctan")
ELEMENTS = tuple("H C N O Na Mg Al Si P S Cl K Ca Fe Cu Zn Ag Pb".split())  # noqa: SIM905
WORDS = tuple(
    """
    main user data list index file name value test node item page key map config app core utils
    server client model view state error log cache token query result buffer
    """.split()  # noqa: SIM905
)


def pools(rng: random.Random) -> Iterator[tuple[str, list[str]]]:
    """Each category with its strings; some occur twice."""

    def some(make: Callable[[random.Random], str]) -> list[str]:
        return [make(rng) for _ in range(SIZE)]

    yield "small", [str(number) for number in range(2, 31)]
    yield (
        "number",
        some(lambda _: str(rng.choice((rng.randrange(2, 100), rng.randrange(10, 5000))))),
    )
    yield "year", [str(year) for year in range(1900, 2027)]
    yield "recent", [str(year) for year in range(2005, 2027)]
    yield "price", [str(price) for price in (5, 10, 15, 20, 25, 30, 40, 50, 75, *_hundreds())]
    yield "ordinal", [f"{number}{_ending(number)}" for number in range(1, 121)]
    yield "code", some(part_code)
    yield "version", some(lambda _: f"{rng.randrange(1, 30)}.{rng.randrange(20)}")
    yield "figure", some(figure)
    yield "quantity", some(quantity)
    yield "formula", some(formula)
    yield "snippet", some(snippet)


def _hundreds() -> range:
    return range(100, 2001, 50)


def _ending(number: int) -> str:
    if number % 100 in {11, 12, 13}:
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def _digits(rng: random.Random, most: int = 4) -> str:
    return str(rng.randrange(10 ** rng.randrange(1, most + 1)))


def part_code(rng: random.Random) -> str:
    """A part or model number such as DA29-00020B or WF45K."""
    letters = "".join(rng.choices(string.ascii_uppercase, k=rng.randrange(1, 4)))
    digits = "".join(rng.choices(string.digits, k=rng.randrange(2, 6)))
    tail = rng.choice(("", "", rng.choice(string.ascii_uppercase), f"-{rng.randrange(1, 1000)}"))
    return letters + rng.choice(("", "", "-")) + digits + tail


def figure(rng: random.Random) -> str:
    """A number as people write it: 12,500 or 3.75 or 1/2 or 16:9."""
    return rng.choice(
        (
            _digits(rng, 6),
            f"{rng.randrange(1, 999)},{rng.randrange(1000):03d}",
            f"{_digits(rng, 3)}.{_digits(rng, 3)}",
            f"{rng.randrange(1, 10)}/{rng.randrange(2, 17)}",
            f"{rng.randrange(2, 40)}:{rng.randrange(1, 60)}",
            f"{rng.randrange(2, 60)}x{rng.randrange(2, 60)}",
            f"{rng.randrange(1, 60)}-{rng.randrange(60, 200)}",
        )
    )


def quantity(rng: random.Random) -> str:
    """A number with its unit, such as 2.4 GHz, 120°F or $1,250."""
    number = rng.choice((_digits(rng, 3), _digits(rng, 4), f"{_digits(rng, 2)}.{_digits(rng, 1)}"))
    if rng.random() < 0.15:
        return rng.choice("$€£") + number
    return number + rng.choice((" ", "")) + rng.choice(UNITS)


def formula(rng: random.Random) -> str:
    """A formula such as |x^3|, y = c^3-4b or H2SO4."""
    shape = rng.randrange(5)
    if shape == 0:
        chosen = rng.sample(ELEMENTS, rng.randrange(2, 4))
        return "".join(element + rng.choice(("", "", "2", "3", "4", "6")) for element in chosen)
    if shape == 1:
        return f"{_term(rng)} = {_sum(rng)}"
    if shape == 2:
        return f"|{_sum(rng)}|"
    if shape == 3:
        return f"{rng.choice(FUNCTIONS)}({_sum(rng)})"
    return _sum(rng, least=2)


def _term(rng: random.Random) -> str:
    letter = rng.choice("abcdefgijkmnpqrstuvwxyz")
    return rng.choice(
        (
            letter,
            letter + str(rng.randrange(1, 4)),
            f"{rng.randrange(2, 20)}{letter}",
            f"{letter}^{rng.randrange(2, 6)}",
            f"{rng.choice(FUNCTIONS)}({letter})",
            str(rng.randrange(1, 100)),
        )
    )


def _sum(rng: random.Random, least: int = 1) -> str:
    sign = rng.choice((" + ", " - ", "+", "-", "*", "/"))
    return sign.join(_term(rng) for _ in range(max(least, rng.choice((1, 2, 2, 3)))))


def snippet(rng: random.Random) -> str:
    """A piece of code or of a message, such as std::list<int>, --no-cache or 192.168.1.14."""
    first, second = rng.sample(WORDS, 2)
    return rng.choice(
        (
            f"{first}.{second}()",
            f"{first}_{second}",
            f"{first}::{second}<int>",
            f"--no-{first}",
            f"--{first}={second}",
            f"{first}[{rng.randrange(10)}]",
            f"<{first}>",
            f"${first}",
            f"*.{rng.choice(('log', 'csv', 'tmp', 'py', 'docx'))}",
            f"{first}.{rng.choice(('txt', 'json', 'dll', 'exe', 'yaml', 'xml'))}",
            f"/{first}/{second}",
            f"C:\\{first}\\{second}",
            f"E{first.upper()}{_digits(rng, 3)}",
            f"0x{rng.randrange(16**6):X}",
            ".".join(str(rng.randrange(256)) for _ in range(4)),
            f"{first}{second.title()}",
            f"{first}-{second}",
            f"#{_digits(rng, 4)}",
        )
    )
