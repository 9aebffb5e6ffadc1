"""JSON values that Gesta admits, and many spellings of each: made from a seed alone, so that a failure comes again."""

import decimal
import json
import struct

INTEGER_MAX = 2**53 - 1
INTEGERS = [0, 1, -1, 10, 100, 10**15, 2**31, 2**32, INTEGER_MAX, -INTEGER_MAX, INTEGER_MAX - 1]
# Where a printer changes from one form to another, rounds, or runs out of bits.
DECIMALS = [0.1, 0.3, 1e-6, 1e-7, 1.5e-6, 1.5e-7, 123456789.125, 0.1 + 0.2, 1 / 3, 5e-324, 2.2250738585072014e-308,
            2.225073858507201e-308, 4503599627370495.5, 2.0**51 + 0.25, 9.5e-300, -1e-10, 4.35, 0.000123]

# Runs of scalar values (both ends included) among which the characters of a string are drawn.
CHARACTERS = [
    (0x20, 0x7E), (0x20, 0x7E), (0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x2F, 0x2F), (0x7F, 0xA0), (0xA1, 0x7FF),
    (0x300, 0x36F), (0x800, 0xD7FF), (0x2028, 0x2029), (0xD7FF, 0xD7FF), (0xE000, 0xFFFF), (0xFB33, 0xFB33),
    (0xFEFF, 0xFEFF), (0xFFFE, 0xFFFF), (0x10000, 0x10001), (0x1F600, 0x1F64F), (0x10000, 0x10FFFF),
    (0x10FFFF, 0x10FFFF),
]
# UTF-16 sorts the second of these before the first, and code points after it.
MISORDERED = [(0xE000, 0xFFFF), (0x10000, 0x10FFFF)]
SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def string(random, length_max=12, runs=CHARACTERS):
    return "".join(chr(random.randint(*random.choice(runs))) for _ in range(random.randint(0, length_max)))


def identifier(random):
    """What an actor, a thread, a turn may be called: 1 to 256 bytes without control characters."""
    return "".join(c for c in string(random, 20) if not (c < " " or "\x7f" <= c < "\xa0")) or "x"


def number(random):
    kind = random.randrange(5)
    if kind == 0:
        return random.choice(INTEGERS)
    if kind == 1:
        return random.randint(-INTEGER_MAX, INTEGER_MAX) >> random.randrange(53)
    if kind == 2:
        return random.choice(DECIMALS)
    while True:  # Any bits, or few digits; integral ones are made above.
        bits = random.getrandbits(64)
        few = bits % 10**6 / 10**random.randint(1, 12)
        value = struct.unpack("<d", bits.to_bytes(8, "little"))[0] if kind == 3 else few
        if abs(value) <= INTEGER_MAX and not value.is_integer():
            return value


def value(random, depth):
    kind = random.randrange(6 if depth else 4)
    if kind == 0:
        return random.choice([None, True, False])
    if kind <= 2:
        return number(random)
    if kind == 3:
        return string(random)
    if kind == 4:
        return [value(random, depth - 1) for _ in range(random.randrange(5))]
    return members(random, depth - 1)


def members(random, depth):
    runs = random.choice([CHARACTERS, CHARACTERS, MISORDERED])
    return {string(random, 6, runs): value(random, depth) for _ in range(random.randrange(8))}


def nested(depth):
    return [nested(depth - 1)] if depth else 0


def misordered(value):
    """How many objects in it have keys whose order is another by code points than by UTF-16."""
    if isinstance(value, dict):
        here = sorted(value) != sorted(value, key=lambda key: key.encode("utf-16-be"))
        return here + sum(map(misordered, value.values()))
    return sum(map(misordered, value)) if isinstance(value, list) else 0


def spelled(random, value):
    """One of the texts that mean this value, which Python's own reader takes for it."""
    text = spell(random, value)
    if not same(json.loads(text), value):
        raise AssertionError(f"not a spelling of {value!r}: {text}")
    return text


def same(left, right):
    """Whether both are one JSON value: 1 and 1.0 are, 1 and true are not, -0 and 0 are."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def spell(random, value):
    if isinstance(value, dict):
        shuffled = random.sample(list(value.items()), len(value))
        inner = (spell_string(random, key) + space(random) + ":" + spell(random, item) for key, item in shuffled)
        return space(random) + "{" + ",".join(inner) + space(random) + "}" + space(random)
    if isinstance(value, list):
        return space(random) + "[" + ",".join(spell(random, item) for item in value) + space(random) + "]"
    if isinstance(value, str):
        return space(random) + spell_string(random, value) + space(random)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return spell_number(random, value)


def space(random):
    return random.choice(["", "", "", " ", "\n", "\t", "\r\n "])


def spell_string(random, text):
    return space(random) + '"' + "".join(spell_character(random, c) for c in text) + '"'


def spell_character(random, c):
    if c in SHORT_ESCAPES and random.random() < 0.7:
        return SHORT_ESCAPES[c]
    if c >= " " and c not in '"\\' and random.random() < 0.6:
        return c
    units = c.encode("utf-16-be")
    digits = random.choice(["04x", "04X"])
    return "".join("\\u" + format(int.from_bytes(units[at:at + 2], "big"), digits) for at in range(0, len(units), 2))


def spell_number(random, value):
    """As it is, with a point and zeroes, or with another exponent."""
    plain = json.dumps(value)
    sign, digits, exponent = decimal.Decimal(plain).as_tuple()
    digits = "-" * sign + "".join(map(str, digits))
    shifted = f"{digits}{random.choice('eE')}{exponent:{random.choice(['', '+'])}}"
    if value == 0:
        return random.choice(["0", "-0", "0.0", "-0.00", "0e7", "-0E-7"])
    if isinstance(value, int):
        short = plain.rstrip("0")
        return random.choice([plain, plain, plain + ".0", f"{plain}e0", f"{short}E+{len(plain) - len(short)}", shifted])
    return random.choice([plain, plain, shifted, plain if "e" in plain else plain + "0"])
