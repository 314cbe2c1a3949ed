#!/usr/bin/env python3
"""Trinity Beast prices over UDP (TBP v1), in one file.

Needs Python 3.9 or newer and the package blake3 (`pip install blake3`).

    python trinity.py --server 127.0.0.1:2679 --key-file data/demo.key BTC-USD ETH-USD

    from trinity import ApiKey, Client
    with Client("127.0.0.1:2679", ApiKey.from_file("data/demo.key")) as client:
        for price in client.prices(["BTC-USD", "ETH-USD"]).prices:
            print(price.symbol, price.status, price.value)

Written from protocol/SPEC.md alone, which says what every byte means.
"""

from __future__ import annotations

import argparse
import hmac
import json
import secrets
import socket
import struct
import sys
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple, Union

try:
    import blake3 as _blake3
except ImportError:  # Said when it is needed, with the way out.
    _blake3 = None

BLAKE3_HELP = (
    "This client needs the Python package 'blake3' for its authentication tags.\n"
    "Install it with:  python3 -m pip install blake3\n"
    "(or in a virtual environment: python3 -m venv .venv && .venv/bin/pip install blake3)"
)

MAGIC = b"TB"
VERSION = 1
HEADER_LEN, ENTRY_LEN, TAG_LEN = 32, 32, 16
MIN_DATAGRAM = HEADER_LEN + TAG_LEN
MAX_ENTRIES = 31
MAX_DATAGRAM = MIN_DATAGRAM + MAX_ENTRIES * ENTRY_LEN
CLOCK_WINDOW_NS = 5_000_000_000
UNSIGNED = bytes(TAG_LEN)
UNLIMITED = 0xFFFF_FFFF

PRICE, PING = 0x01, 0x02
PRICE_REPLY, PING_REPLY, ERROR = 0x81, 0x82, 0xFF

CODES = (
    "OK", "MALFORMED", "VERSION", "UNAUTHENTICATED", "CLOCK", "RATE_LIMITED",
    "QUOTA", "FORBIDDEN", "OVERLOADED", "INTERNAL", "COOKIE", "REPLAY",
)
STATUSES = ("LIVE", "STALE", "THIN", "DISPUTED", "UNKNOWN_SYMBOL", "NO_PRICE", "HELD")
WITHOUT_VALUE = ("UNKNOWN_SYMBOL", "NO_PRICE")
FLAGS = ("shared_cache", "fetched", "derived", "one_venue", "replayed", "depegged")

_REQUEST_HEADER = struct.Struct("<2sBBBBBBQQQ")
_REPLY_HEADER = struct.Struct("<2sBBBBHIIQQ")
_REQUEST_ENTRY = struct.Struct("<16sI12x")
_PRICE_ENTRY = struct.Struct("<qQQbBBBI")


# ---------------------------------------------------------------- API keys


class ApiKeyError(ValueError):
    """A text is no API key. `form` names what is wrong; nothing repeats the text."""

    HELP = {
        "prefix": "an API key begins with tb_live_",
        "length": "an API key is tb_live_, 13 characters, an underscore and 53 characters",
        "character": "the API key has a character that keys never have: copy it again",
        "check": "the API key has a typing error (its check character does not fit): copy it again",
        "key_id": "the API key's key id is out of range",
    }

    def __init__(self, form: str) -> None:
        super().__init__(self.HELP[form])
        self.form = form


class ApiKey:
    """An API key: a public id and a secret that never travels."""

    PREFIX = b"tb_live_"

    def __init__(self, key_id: int, secret: bytes) -> None:
        if not 1 <= key_id < 1 << 63:
            raise ApiKeyError("key_id")
        if len(secret) != 32:
            raise ApiKeyError("length")
        self.key_id = key_id
        self.verifier = derive_key("trinity-beast verifier v1", secret)
        self.request_key = derive_key("trinity-beast request v1", self.verifier)
        self.reply_key = derive_key("trinity-beast reply v1", self.verifier)

    @classmethod
    def parse(cls, text: str) -> "ApiKey":
        raw = text.strip(" \t\r\n\f").encode()
        if not raw.startswith(cls.PREFIX):
            raise ApiKeyError("prefix")
        rest = raw[len(cls.PREFIX):].upper()
        if len(rest) != 13 + 1 + 52 + 1 or rest[13:14] != b"_":
            raise ApiKeyError("length")
        payload = rest[:13] + rest[14:66]
        try:
            digits = [_BASE32[byte] for byte in payload]
        except KeyError:
            raise ApiKeyError("character") from None
        folded = [ord(_ALPHABET[digit]) for digit in digits]
        if _check_character(folded) != rest[66]:
            raise ApiKeyError("check")
        key_id = _join(digits[:13])
        secret = _join(digits[13:])
        if key_id >= 1 << 64:
            raise ApiKeyError("key_id")
        if secret & 0xF:  # 52 characters hold 260 bits; the last four must be zero.
            raise ApiKeyError("character")
        return cls(key_id, (secret >> 4).to_bytes(32, "big"))

    @classmethod
    def from_file(cls, path: str) -> "ApiKey":
        with open(path, encoding="utf-8") as file:
            return cls.parse(file.read())

    def __repr__(self) -> str:
        return f"ApiKey(key_id={self.key_id})"


_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BASE32 = {ord(character): value for value, character in enumerate(_ALPHABET)}
_BASE32.update({ord("O"): 0, ord("I"): 1, ord("L"): 1})


def _join(digits: Sequence[int]) -> int:
    number = 0
    for digit in digits:
        number = number << 5 | digit
    return number


def _check_character(payload: Sequence[int]) -> int:
    """ISO/IEC 7064 MOD 37,36 over upper-case letters and digits."""
    alphabet = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    product = 36
    for byte in payload:
        product = ((product + alphabet.index(byte)) % 36 or 36) * 2 % 37
    return alphabet[(37 - product) % 36]


# ---------------------------------------------------------------- tags


def derive_key(context: str, material: bytes) -> bytes:
    if _blake3 is None:
        raise RuntimeError(BLAKE3_HELP)
    return _blake3.blake3(material, derive_key_context=context).digest()


def tag(key: bytes, signed: bytes) -> bytes:
    if _blake3 is None:
        raise RuntimeError(BLAKE3_HELP)
    return _blake3.blake3(signed, key=key).digest()[:TAG_LEN]


def tag_fits(key: bytes, datagram: bytes) -> bool:
    return hmac.compare_digest(tag(key, datagram[:-TAG_LEN]), datagram[-TAG_LEN:])


# ---------------------------------------------------------------- requests


class Query(NamedTuple):
    """One asked symbol; max_age_ms 0 is the symbol's default."""

    symbol: str
    max_age_ms: int = 0


class RequestId(NamedTuple):
    session: int
    counter: int


def symbol_bytes(symbol: str) -> bytes:
    raw = symbol.upper().encode("utf-8")
    if not 1 <= len(raw) <= 16 or any(not 0x21 <= byte <= 0x7E for byte in raw):
        raise ValueError(f"{symbol!r} is no symbol: 1 to 16 printable ASCII characters, for example BTC-USD")
    return raw.ljust(16, b"\0")


def encode_price_request(
    key: ApiKey, request_id: RequestId, clock_ns: int, queries: Sequence[Query], lane: Optional[int] = None
) -> bytes:
    """A signed PRICE request. The lane is the counter's low byte unless it is given."""
    if not 1 <= len(queries) <= MAX_ENTRIES:
        raise ValueError(f"{len(queries)} symbols asked; one request holds 1 to {MAX_ENTRIES}")
    signed = _request_header(PRICE, len(queries), key.key_id, request_id, clock_ns, lane)
    for query in queries:
        signed += _REQUEST_ENTRY.pack(symbol_bytes(query.symbol), query.max_age_ms)
    return signed + tag(key.request_key, signed)


def encode_ping(request_id: RequestId, clock_ns: int, lane: Optional[int] = None) -> bytes:
    """A PING: no key, a tag of zeros."""
    return _request_header(PING, 0, 0, request_id, clock_ns, lane) + UNSIGNED


def _request_header(
    kind: int, count: int, key_id: int, request_id: RequestId, clock_ns: int, lane: Optional[int]
) -> bytes:
    session, counter = request_id
    lane = counter & 0xFF if lane is None else lane
    return _REQUEST_HEADER.pack(
        MAGIC, VERSION, kind, count, 0, lane, 0, key_id, session << 32 | counter, clock_ns
    )


# ---------------------------------------------------------------- replies


@dataclass(frozen=True)
class Entry:
    """One price as it travels: price = mantissa x 10^exponent."""

    mantissa: int
    confidence: int
    publish_time_ns: int
    exponent: int
    status: str
    venues: int
    flags: Tuple[str, ...]
    sequence: int

    @property
    def value(self) -> Optional[Decimal]:
        """The price, exactly; None where the status gives none."""
        if self.status in WITHOUT_VALUE:
            return None
        return _decimal(self.mantissa, self.exponent)

    @property
    def text(self) -> Optional[str]:
        """The price as exact decimal text with every digit the exponent promises."""
        value = self.value
        return None if value is None else f"{value:f}"

    @property
    def confidence_text(self) -> Optional[str]:
        if self.status in WITHOUT_VALUE:
            return None
        return f"{_decimal(self.confidence, self.exponent):f}"


@dataclass(frozen=True)
class Price(Entry):
    """One symbol's price, or why it has none."""

    symbol: str


@dataclass(frozen=True)
class Reply:
    """A well-formed reply. Its tag is not checked yet."""

    kind: int
    code: str
    remaining: int
    refill_ms: int
    request_id: RequestId
    clock_ns: int
    entries: Tuple[Entry, ...]
    unsigned: bool


class ReplyError(ValueError):
    """A datagram is no reply of this version. `form` is 'foreign' or 'malformed'."""

    def __init__(self, form: str) -> None:
        super().__init__(f"a {form} datagram")
        self.form = form


def parse_reply(datagram: bytes) -> Reply:
    if len(datagram) < MIN_DATAGRAM:
        raise ReplyError("foreign")
    magic, version, kind, count, flags, code, remaining, refill_ms, request_id, clock_ns = (
        _REPLY_HEADER.unpack_from(datagram)
    )
    if magic != MAGIC or version != VERSION:
        raise ReplyError("foreign")
    counts = {PRICE_REPLY: range(1, MAX_ENTRIES + 1), PING_REPLY: range(1), ERROR: range(1)}.get(kind, ())
    if count not in counts or len(datagram) != MIN_DATAGRAM + count * ENTRY_LEN or flags != 0:
        raise ReplyError("malformed")
    if code >= len(CODES) or (kind == ERROR) == (code == 0):
        raise ReplyError("malformed")
    return Reply(
        kind=kind,
        code=CODES[code],
        remaining=remaining,
        refill_ms=refill_ms,
        request_id=RequestId(request_id >> 32, request_id & 0xFFFF_FFFF),
        clock_ns=clock_ns,
        entries=tuple(
            _entry(*_PRICE_ENTRY.unpack_from(datagram, HEADER_LEN + i * ENTRY_LEN)) for i in range(count)
        ),
        unsigned=datagram[-TAG_LEN:] == UNSIGNED,
    )


def _entry(mantissa, confidence, publish_time_ns, exponent, status, venues, flags, sequence) -> Entry:
    if status >= len(STATUSES):
        raise ReplyError("malformed")
    names = tuple(name for bit, name in enumerate(FLAGS) if flags >> bit & 1)
    return Entry(mantissa, confidence, publish_time_ns, exponent, STATUSES[status], venues, names, sequence)


def _decimal(mantissa: int, exponent: int) -> Decimal:
    # From digits, not by arithmetic: the context's precision never touches it.
    sign = 1 if mantissa < 0 else 0
    digits = tuple(int(digit) for digit in str(abs(mantissa)))
    return Decimal((sign, digits, exponent if mantissa else min(exponent, 0)))


# ---------------------------------------------------------------- what a datagram is to a waiting client


class Waiting(NamedTuple):
    """The request whose reply is awaited."""

    kind: int
    request_id: RequestId
    clock_ns: int
    count: int


def judge(datagram: bytes, waiting: Waiting, key: Optional[ApiKey]) -> Tuple[str, Optional[Reply]]:
    """'answer', 'refusal' (signed), 'hint' (unsigned: never a proof) or 'ignore'."""
    try:
        reply = parse_reply(datagram)
    except ReplyError:
        return "ignore", None
    if reply.request_id != waiting.request_id:
        return "ignore", None
    if waiting.kind == PING:
        return {PING_REPLY: "answer", ERROR: "hint"}.get(reply.kind, "ignore"), reply
    if key is None or not tag_fits(key.reply_key, datagram):
        return ("hint" if reply.kind == ERROR and reply.unsigned else "ignore"), reply
    # A signed reply from another time is a recording of a session that drew the same id.
    if reply.code != "CLOCK" and abs(reply.clock_ns - waiting.clock_ns) > 2 * CLOCK_WINDOW_NS:
        return "ignore", reply
    if reply.kind == ERROR:
        return "refusal", reply
    if reply.kind == PRICE_REPLY and len(reply.entries) == waiting.count:
        return "answer", reply
    return "ignore", reply


# ---------------------------------------------------------------- the client


class TrinityError(Exception):
    """A request has no answer; the text says what to do next."""

    code: Optional[str] = None


class Unanswered(TrinityError):
    """No genuine answer came. `code` is an unsigned hint, if there was one."""

    def __init__(self, server, tries: int, waited: float, hint: Optional[str], refused: bool) -> None:
        self.code, self.tries, self.refused = hint, tries, refused
        where = f"{server[0]}:{server[1]}"
        if hint == "UNAUTHENTICATED":
            text = (
                f"{where} does not accept the API key (unsigned answer, {tries} tries): check that the key is "
                "complete, not revoked or expired, and meant for this server"
            )
        elif hint is not None:
            text = f"{where} refuses with {hint} (unsigned answer, {tries} tries)"
        elif refused:
            text = f"nothing listens at {where} (UDP, {tries} tries): start the server, or check host and port"
        else:
            text = (
                f"no answer from {where} after {tries} tries in {waited:.1f} s: check host and port, and that "
                "firewalls let UDP through both ways; where UDP is blocked, the same prices are on HTTP"
            )
        super().__init__(text)


class Refused(TrinityError):
    """The server refused, and its signature proves it."""

    HELP = {
        "RATE_LIMITED": "the key's rate is used up",
        "QUOTA": "the key's allowance for this period is used up; a larger tier lifts it",
        "CLOCK": "this machine's clock and the server's are still apart after a correction: set this machine's clock",
        "FORBIDDEN": "the key may not ask this, or the server does not offer it",
        "OVERLOADED": "the server sheds load; ask again after a pause",
        "INTERNAL": "the server failed; ask again, and tell its operator",
        "REPLAY": "the server has seen this request too often or too many later ones; ask again",
    }

    def __init__(self, reply: Reply) -> None:
        self.code, self.remaining, self.refill_ms = reply.code, reply.remaining, reply.refill_ms
        text = f"{reply.code}: {self.HELP.get(reply.code, 'the server refuses the request')}"
        if reply.code in ("RATE_LIMITED", "QUOTA"):
            text += f" (full again in {reply.refill_ms / 1000:.1f} s)"
        super().__init__(text)


@dataclass(frozen=True)
class PriceReply:
    """A verified answer: one price per query, in the same order."""

    prices: Tuple[Price, ...]
    remaining: Optional[int]
    refill_ms: int
    round_trip_us: int
    server_clock_ns: int
    tries_used: int


@dataclass(frozen=True)
class Pong:
    """An answer to PING. Nobody signed it."""

    server_clock_ns: int
    round_trip_us: int
    tries_used: int


class Client:
    """A blocking client for one server and one API key.

    `timeout` is how long the first try waits, in seconds; every further try waits twice as
    long as the one before. A retry is the same datagram byte for byte, so that it is neither
    counted nor charged again; servers take no datagram that is older than 5 s.
    """

    TRIES_AFTER_HINT = 2

    def __init__(
        self, server: Union[str, Tuple[str, int]], key: Optional[ApiKey], timeout: float = 0.3, tries: int = 3
    ) -> None:
        if not 1 <= tries <= 8 or timeout <= 0 or timeout * (2 ** (tries - 1) - 1) > 4:
            raise ValueError("1 to 8 tries, the last of which must start within 4 s of the first")
        self.key, self.timeout, self.tries = key, timeout, tries
        self.clock_offset_ns = 0
        self._session, self._counter = secrets.randbits(32), 0
        host, port = _host_and_port(server) if isinstance(server, str) else server
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise TrinityError(f"cannot find the server {host}: {error}") from error
        self._addresses = [(family, address) for family, _, _, _, address in found]
        self._socket = None
        while self._socket is None:
            try:
                self._connect()
            except OSError as error:  # A machine without IPv6 still has the name's IPv4 address.
                self._addresses.pop(0)
                if not self._addresses:
                    raise TrinityError(f"cannot reach the server {host}: {error}") from error

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def prices(self, queries: Sequence[Union[str, Query]]) -> PriceReply:
        """Asks for 1 to 31 prices, as one request."""
        if self.key is None:
            raise ValueError("prices need an API key")
        asked = [query if isinstance(query, Query) else Query(query) for query in queries]
        verdict, reply, round_trip_us, tries = self._ask(asked)
        if verdict == "refusal" and reply.code == "CLOCK":
            # The tag proves that the server said it: correct the clock, sign anew, once.
            self.clock_offset_ns = reply.clock_ns - time.time_ns()
            verdict, reply, round_trip_us, more = self._ask(asked)
            tries += more
        if verdict == "refusal":
            if reply.code == "REPLAY":
                self._session, self._counter = secrets.randbits(32), 0
            raise Refused(reply)
        return PriceReply(
            prices=tuple(
                Price(**vars(entry), symbol=query.symbol.upper()) for query, entry in zip(asked, reply.entries)
            ),
            remaining=None if reply.remaining == UNLIMITED else reply.remaining,
            refill_ms=reply.refill_ms,
            round_trip_us=round_trip_us,
            server_clock_ns=reply.clock_ns,
            tries_used=tries,
        )

    def ping(self) -> Pong:
        """Asks for the server's clock; needs no key."""
        waiting = Waiting(PING, self._next_id(), self._clock_ns(), 0)
        datagram = encode_ping(waiting.request_id, waiting.clock_ns)
        _, reply, round_trip_us, tries = self._exchange(datagram, waiting)
        return Pong(reply.clock_ns, round_trip_us, tries)

    def _ask(self, queries: List[Query]):
        waiting = Waiting(PRICE, self._next_id(), self._clock_ns(), len(queries))
        datagram = encode_price_request(self.key, waiting.request_id, waiting.clock_ns, queries)
        return self._exchange(datagram, waiting)

    def _exchange(self, datagram: bytes, waiting: Waiting):
        began, wait = time.monotonic(), self.timeout
        hint, refused, tries = None, False, 0
        while tries < self.tries and (hint is None or tries < self.TRIES_AFTER_HINT):
            tries += 1
            sent = time.monotonic()
            deadline, wait = sent + wait, wait * 2
            untried = len(self._addresses) - 1
            self._send(datagram)
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._socket.settimeout(left)
                try:
                    verdict, reply = judge(self._socket.recv(MAX_DATAGRAM + 1), waiting, self.key)
                except (ConnectionRefusedError, ConnectionResetError):
                    refused = True
                    # Refused means counted nowhere: another address cannot charge it twice.
                    if untried > 0:
                        untried -= 1
                        self._move_on()
                        sent = time.monotonic()
                        self._send(datagram)
                    continue
                except socket.timeout:
                    break
                refused = False
                if verdict == "hint":
                    hint = reply.code
                elif verdict != "ignore":
                    return verdict, reply, int((time.monotonic() - sent) * 1e6), tries
        server = self._addresses[0][1]
        raise Unanswered(server, tries, time.monotonic() - began, hint, refused)

    def _send(self, datagram: bytes) -> None:
        # A refusal of an earlier datagram is reported by the next call, which then sends nothing.
        for last in (False, True):
            try:
                self._socket.send(datagram)
                return
            except (ConnectionRefusedError, ConnectionResetError):
                if last:
                    return
            except OSError as error:
                raise TrinityError(f"the UDP socket failed: {error}") from error

    def _connect(self) -> None:
        family, address = self._addresses[0]
        self._socket = None
        opened = socket.socket(family, socket.SOCK_DGRAM)
        try:
            opened.connect(address)
        except OSError:
            opened.close()
            raise
        self._socket = opened

    def _move_on(self) -> None:
        self._addresses.append(self._addresses.pop(0))
        self._socket.close()
        self._connect()

    def _next_id(self) -> RequestId:
        if self._counter == 0xFFFF_FFFF:
            self._session, self._counter = secrets.randbits(32), 0
        self._counter += 1
        return RequestId(self._session, self._counter)

    def _clock_ns(self) -> int:
        return min(max(time.time_ns() + self.clock_offset_ns, 0), (1 << 64) - 1)


def _host_and_port(server: str) -> Tuple[str, int]:
    host, _, port = server.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{server!r} is no HOST:PORT, for example 127.0.0.1:2679")
    return host.strip("[]"), int(port)


# ---------------------------------------------------------------- command line


def as_json(price: Price, round_trip_us: int) -> str:
    """One line, with the same fields as `trinity-beast query --json`."""
    given = price.value is not None
    return json.dumps(
        {
            "symbol": price.symbol,
            "status": price.status,
            "mantissa": price.mantissa if given else None,
            "exponent": price.exponent,
            "price": price.text,
            "confidence": price.confidence if given else None,
            "venues": price.venues,
            "flags": sum(1 << FLAGS.index(name) for name in price.flags),
            "flag_names": price.flags,
            "sequence": price.sequence,
            "publish_time_ns": price.publish_time_ns if given else None,
            "round_trip_us": round_trip_us,
        }
    )


def as_text(price: Price) -> str:
    if price.value is None:
        return f"{price.symbol:<16} {'-':>20} {price.status}"
    notes = " ".join((price.status, f"venues={price.venues}") + price.flags)
    return f"{price.symbol:<16} {price.text:>20} +/- {price.confidence_text} {notes}"


def main(arguments: Optional[Sequence[str]] = None, write: Callable[[str], object] = print) -> int:
    parser = argparse.ArgumentParser(description="Ask a Trinity Beast server for prices over UDP.")
    parser.add_argument("symbols", nargs="+", metavar="SYMBOL", help="for example BTC-USD")
    parser.add_argument("--server", default="127.0.0.1:2679", metavar="HOST:PORT")
    parser.add_argument("--key-file", default="data/demo.key", metavar="FILE", help="a file with the API key")
    parser.add_argument("--max-age-ms", type=int, default=0, metavar="MS", help="older prices are STALE")
    parser.add_argument("--timeout", type=float, default=0.3, metavar="S", help="wait of the first try")
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object a symbol")
    options = parser.parse_args(arguments)
    if _blake3 is None:
        print(BLAKE3_HELP, file=sys.stderr)
        return 2
    try:
        key = ApiKey.from_file(options.key_file)
        with Client(options.server, key, options.timeout, options.tries) as client:
            reply = client.prices([Query(symbol, options.max_age_ms) for symbol in options.symbols])
    except OSError as error:
        print(f"cannot read the API key: {error}; name its file with --key-file", file=sys.stderr)
        return 2
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except TrinityError as error:
        print(error, file=sys.stderr)
        return 1
    for price in reply.prices:
        write(as_json(price, reply.round_trip_us) if options.json else as_text(price))
    # 3 as `trinity-beast query` has it: answered, yet a symbol has no price.
    return 0 if all(price.value is not None for price in reply.prices) else 3


if __name__ == "__main__":
    sys.exit(main())
