"""The vectors, read by this client's own code: `python3 test_vectors.py`.

The server's side of the protocol (reading requests) is written here once more, from SPEC.md,
so that the vectors are checked by two implementations that share no line.
"""

import json
import pathlib
import struct
import sys
import unittest

import trinity
from trinity import ApiKey, ApiKeyError, Query, ReplyError, RequestId, Waiting

if trinity._blake3 is None:
    sys.exit(trinity.BLAKE3_HELP)

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "vectors"
KINDS = {1: "PRICE", 2: "PING", 3: "SUBSCRIBE", 5: "USAGE"}
REPLY_KINDS = {0x81: "PRICE_REPLY", 0x82: "PING_REPLY", 0xFF: "ERROR"}


def load(name):
    with open(VECTORS / name, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def key_of(vector):
    return ApiKey(int(vector["key"]["key_id"]), bytes.fromhex(vector["key"]["secret"]))


def form_of_request(datagram):
    """Step 1 of SPEC.md's processing order."""
    if len(datagram) < 48:
        return "short"
    magic, version, kind, count, flags, _lane, reserved = struct.unpack_from("<2s6B", datagram)
    if magic != b"TB":
        return "magic"
    if kind & 0x80:
        return "reply"
    if version != 1:
        return "version"
    if kind not in KINDS:
        return "kind"
    least, most = {1: (1, 31), 2: (0, 0)}.get(kind, (0, 31))
    if not least <= count <= most:
        return "count"
    if len(datagram) != 48 + 32 * count:
        return "length"
    if flags or reserved or any(any(datagram[52 + 32 * i : 64 + 32 * i]) for i in range(count)):
        return "reserved"
    return "ok"


def fields_of_request(datagram):
    kind, count = datagram[3], datagram[4]
    key_id, request_id, clock_ns = struct.unpack_from("<QQQ", datagram, 8)
    entries = []
    for i in range(count):
        raw, max_age_ms = struct.unpack_from("<16sI", datagram, 32 + 32 * i)
        entries.append({"symbol": symbol_of(raw), "symbol_hex": raw.hex(), "max_age_ms": max_age_ms})
    return {
        "kind": KINDS[kind],
        "lane": datagram[6],
        "key_id": str(key_id),
        "session": request_id >> 32,
        "counter": request_id & 0xFFFFFFFF,
        "clock_ns": str(clock_ns),
        "entries": entries,
    }


def symbol_of(raw):
    name = raw.split(b"\0")[0]
    good = name and name.ljust(16, b"\0") == raw and all(0x21 <= b <= 0x7E and not 0x61 <= b <= 0x7A for b in name)
    return name.decode("ascii") if good else None


def answer_of(vector, datagram, form):
    """Steps 1 to 5 of the processing order: those that need no memory."""
    if form in ("short", "magic", "reply"):
        return {"answer": "SILENCE"}
    if form != "ok":
        return {"answer": "ERROR", "code": "VERSION" if form == "version" else "MALFORMED", "signed": False}
    if datagram[3] == 2:
        return {"answer": "PING_REPLY", "code": "OK", "signed": False}
    key, (key_id, _, clock_ns) = key_of(vector), struct.unpack_from("<QQQ", datagram, 8)
    if key_id != key.key_id or not trinity.tag_fits(key.request_key, datagram):
        return {"answer": "ERROR", "code": "UNAUTHENTICATED", "signed": False}
    if abs(clock_ns - int(vector["server_clock_ns"])) > 5_000_000_000:
        return {"answer": "ERROR", "code": "CLOCK", "signed": True}
    if datagram[3] != 1:
        return {"answer": "ERROR", "code": "FORBIDDEN", "signed": True}
    return {"answer": "PRICE_REPLY", "code": "OK", "signed": True}


def fields_of_reply(reply):
    return {
        "kind": REPLY_KINDS[reply.kind],
        "code": reply.code,
        "remaining": reply.remaining,
        "refill_ms": reply.refill_ms,
        "session": reply.request_id.session,
        "counter": reply.request_id.counter,
        "clock_ns": str(reply.clock_ns),
        "entries": [
            {
                "status": entry.status,
                "price": entry.text,
                "mantissa": str(entry.mantissa),
                "exponent": entry.exponent,
                "confidence": str(entry.confidence),
                "publish_time_ns": str(entry.publish_time_ns),
                "venues": entry.venues,
                "flags": list(entry.flags),
                "sequence": entry.sequence,
            }
            for entry in reply.entries
        ],
    }


class Vectors(unittest.TestCase):
    maxDiff = None

    def test_every_request_is_read_as_its_vector_says(self):
        for vector in load("requests.jsonl"):
            with self.subTest(vector["name"]):
                datagram, expect = bytes.fromhex(vector["hex"]), vector["expect"]
                form = form_of_request(datagram)
                seen = {"form": form, **answer_of(vector, datagram, form)}
                if form == "ok":
                    seen["fields"] = fields_of_request(datagram)
                    seen["tag_ok"] = trinity.tag_fits(key_of(vector).request_key, datagram)
                self.assertEqual(seen, expect)

    def test_good_requests_are_written_to_the_same_bytes(self):
        written = 0
        for vector in load("requests.jsonl"):
            fields = vector["expect"].get("fields")
            if not fields or any(entry["symbol"] is None for entry in fields["entries"]):
                continue
            request_id = RequestId(fields["session"], fields["counter"])
            clock_ns, lane = int(fields["clock_ns"]), fields["lane"]
            key = key_of(vector)
            if fields["kind"] == "PING" and not vector["expect"]["tag_ok"] and vector["hex"].endswith("00" * 16):
                datagram = trinity.encode_ping(request_id, clock_ns, lane)
            elif fields["kind"] == "PRICE" and vector["expect"]["tag_ok"]:
                queries = [Query(entry["symbol"], entry["max_age_ms"]) for entry in fields["entries"]]
                datagram = trinity.encode_price_request(key, request_id, clock_ns, queries, lane)
            else:
                continue
            with self.subTest(vector["name"]):
                self.assertEqual(datagram.hex(), vector["hex"])
                written += 1
        self.assertGreaterEqual(written, 15)

    def test_every_reply_is_read_and_judged_as_its_vector_says(self):
        for vector in load("replies.jsonl"):
            with self.subTest(vector["name"]):
                datagram, expect, key = bytes.fromhex(vector["hex"]), vector["expect"], key_of(vector)
                waiting = vector["waiting_for"]
                verdict, _ = trinity.judge(
                    datagram,
                    Waiting(
                        {"PRICE": trinity.PRICE, "PING": trinity.PING}[waiting["kind"]],
                        RequestId(waiting["session"], waiting["counter"]),
                        int(waiting["clock_ns"]),
                        waiting["count"],
                    ),
                    key,
                )
                try:
                    reply = trinity.parse_reply(datagram)
                except ReplyError as error:
                    self.assertEqual({"form": error.form, "client": verdict}, expect)
                    continue
                tag = "unsigned" if reply.unsigned else "wrong"
                if trinity.tag_fits(key.reply_key, datagram):
                    tag = "valid"
                seen = {"form": "ok", "fields": fields_of_reply(reply), "tag": tag, "client": verdict}
                self.assertEqual(seen, expect)

    def test_every_api_key_is_read_as_its_vector_says(self):
        for vector in load("api_keys.jsonl"):
            with self.subTest(vector["name"]):
                expect = vector["expect"]
                try:
                    key = ApiKey.parse(vector["text"])
                except ApiKeyError as error:
                    self.assertEqual(error.form, expect["form"])
                    continue
                self.assertEqual("ok", expect["form"])
                self.assertEqual(str(key.key_id), expect["key_id"])
                self.assertEqual(key.verifier.hex(), expect["verifier"])
                self.assertEqual(key.verifier, ApiKey(key.key_id, bytes.fromhex(expect["secret"])).verifier)

    def test_no_representation_shows_a_secret(self):
        self.assertEqual(repr(ApiKey(7, b"s" * 32)), "ApiKey(key_id=7)")


if __name__ == "__main__":
    unittest.main()
