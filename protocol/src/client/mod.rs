//! A blocking client: one UDP socket, one API key, the retry and clock rules of SPEC.md.
//!
//! A lost reply costs nothing: a retry is the same datagram byte for byte, which the server
//! answers again without counting it again. Nothing unsigned is ever taken as proof.
//!
//! ```no_run
//! use trinity_protocol::client::{Client, ClientConfig};
//! use trinity_protocol::{ApiKey, PriceQuery, Symbol};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key: ApiKey = std::fs::read_to_string("data/demo.key")?.parse()?;
//! let mut client = Client::connect("127.0.0.1:2679", &key, ClientConfig::default())?;
//! let reply = client.prices(&[PriceQuery::new(Symbol::new("BTC-USD")?)])?;
//! for price in &reply.prices {
//!     match price.price() {
//!         Some(text) => println!("{} {text} {}", price.symbol, price.status),
//!         None => println!("{} {}", price.symbol, price.status),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod answer;
mod clock;
mod error;
mod link;

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

pub use answer::{Pong, PriceReply, SymbolPrice};
pub use error::{ClientError, SignedRefusal, Unanswered};

use self::answer::SignedPrices;
use self::link::{Exchange, Link, Verdict};
use crate::{
    ApiKey, CLOCK_WINDOW_NS, Code, KeyId, Kind, MAX_DATAGRAM, MAX_ENTRIES, MacKeys, PriceQuery, ReplyView,
    RequestHead, RequestId, encode_control_request, encode_price_request,
};

/// How long and how often a client tries.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// How long the first try waits for its reply; every further try waits twice as long as
    /// the one before. 1 ms or more.
    pub timeout: Duration,
    /// Tries per request, the first one included, 1 to 8. The last one must start within 4 s
    /// of the first: a retry bears the first try's clock, and servers take no older one.
    pub tries: u32,
}

impl Default for ClientConfig {
    /// 300 ms and three tries: 2.1 s in all.
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(300),
            tries: 3,
        }
    }
}

/// A blocking client for one server and one API key.
#[derive(Debug)]
pub struct Client {
    link: Link,
    key_id: KeyId,
    keys: MacKeys,
    ids: RequestIds,
    /// What to add to this machine's clock to get the server's, nanoseconds.
    clock_offset_ns: i64,
}

impl Client {
    /// Resolves the server's address and opens a socket. Nothing is sent yet.
    ///
    /// Where a name has several addresses (`localhost` is often `::1` and `127.0.0.1`), the
    /// client moves on to the next one when nothing listens at the first.
    pub fn connect(
        server: impl ToSocketAddrs,
        key: &ApiKey,
        config: ClientConfig,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            link: Link::open(server, config)?,
            key_id: key.key_id(),
            keys: MacKeys::from_verifier(&key.verifier()),
            ids: RequestIds::fresh()?,
            clock_offset_ns: 0,
        })
    }

    /// The server's address in use.
    pub fn server(&self) -> SocketAddr {
        self.link.server()
    }

    /// What the server's CLOCK answers have taught: nanoseconds to add to this machine's
    /// clock. 0 while the server has had no objection.
    pub const fn clock_offset_ns(&self) -> i64 {
        self.clock_offset_ns
    }

    /// Asks for 1 to 31 prices; the answer has one entry per query, in the same order.
    ///
    /// It counts as one request, however many symbols and retries. A symbol that has no
    /// price is no error: its entry's status says why.
    pub fn prices(&mut self, queries: &[PriceQuery]) -> Result<PriceReply, ClientError> {
        if !(1..=MAX_ENTRIES).contains(&queries.len()) {
            return Err(ClientError::QueryCount { asked: queries.len() });
        }
        let mut exchange = self.ask(queries)?;
        let mut tries_used = exchange.tries_used;
        if let SignedPrices::Refused(refusal) = &exchange.answer
            && refusal.code == Code::Clock
        {
            // The one refusal a client can heal by itself: the tag proves that the server said it.
            self.clock_offset_ns = clock::offset_to(refusal.server_clock_ns);
            exchange = self.ask(queries)?;
            tries_used += exchange.tries_used;
        }
        match exchange.answer {
            SignedPrices::Answered { prices, head } => Ok(PriceReply {
                prices,
                remaining: head.limited(),
                refill_ms: head.refill_ms,
                round_trip: exchange.round_trip,
                server_clock_ns: head.clock_ns,
                tries_used,
            }),
            SignedPrices::Refused(refusal) => {
                if refusal.code == Code::Replay {
                    // Whatever spoilt this session (another process with the same draw, too many
                    // repeats), the next request starts with a clean one.
                    self.ids = RequestIds::fresh()?;
                }
                Err(ClientError::Refused(refusal))
            }
            SignedPrices::Unreadable(why) => Err(ClientError::Unreadable(why)),
        }
    }

    /// Asks for the server's clock. It needs no key and counts against none; nobody signs the
    /// answer, so take it as a sign of life, not as the time.
    pub fn ping(&mut self) -> Result<Pong, ClientError> {
        let id = self.ids.next()?;
        ping_over(&mut self.link, id)
    }

    /// One new request: signed, sent, retried, answered.
    fn ask(&mut self, queries: &[PriceQuery]) -> Result<Exchange<SignedPrices>, ClientError> {
        let request_id = self.ids.next()?;
        let head = RequestHead {
            key_id: self.key_id,
            request_id,
            lane: lane(request_id),
            clock_ns: clock::unix_ns(self.clock_offset_ns),
        };
        let mut buffer = [0; MAX_DATAGRAM];
        let datagram = encode_price_request(&mut buffer, head, queries, &self.keys.request);
        let keys = &self.keys;
        self.link
            .exchange(datagram, |reply| judge_prices(reply, head, queries, keys))
    }
}

/// Asks a server for its clock, without a key.
pub fn ping(server: impl ToSocketAddrs, config: ClientConfig) -> Result<Pong, ClientError> {
    let mut link = Link::open(server, config)?;
    let id = RequestIds::fresh()?.next()?;
    ping_over(&mut link, id)
}

fn ping_over(link: &mut Link, request_id: RequestId) -> Result<Pong, ClientError> {
    let head = RequestHead {
        key_id: KeyId(0),
        request_id,
        lane: lane(request_id),
        clock_ns: clock::unix_ns(0),
    };
    let mut buffer = [0; MAX_DATAGRAM];
    let datagram = encode_control_request(&mut buffer, Kind::Ping, head, None);
    let exchange = link.exchange(datagram, |reply| judge_pong(reply, request_id))?;
    Ok(Pong {
        server_clock_ns: exchange.answer,
        round_trip: exchange.round_trip,
        tries_used: exchange.tries_used,
    })
}

/// Decides what a datagram is to the ping that waits. Nothing about it is signed.
fn judge_pong(reply: &ReplyView<'_>, request_id: RequestId) -> Verdict<u64> {
    if reply.head().request_id != request_id {
        return Verdict::Ignore;
    }
    match reply.kind() {
        Kind::PingReply => Verdict::Accept(reply.head().clock_ns),
        Kind::Error => Verdict::Hint(reply.head().code),
        _ => Verdict::Ignore,
    }
}

/// Decides what a datagram is to the PRICE request that waits.
fn judge_prices(
    reply: &ReplyView<'_>,
    head: RequestHead,
    queries: &[PriceQuery],
    keys: &MacKeys,
) -> Verdict<SignedPrices> {
    if reply.head().request_id != head.request_id {
        return Verdict::Ignore;
    }
    if !reply.verify(&keys.reply) {
        return if reply.kind() == Kind::Error && reply.is_unsigned() {
            Verdict::Hint(reply.head().code)
        } else {
            Verdict::Ignore
        };
    }
    // A server answers within its clock window of the request's clock, so a signed reply from
    // another time is a recording of a session that happened to draw the same id.
    let apart = reply.head().clock_ns.abs_diff(head.clock_ns);
    if reply.head().code != Code::Clock && apart > 2 * CLOCK_WINDOW_NS {
        return Verdict::Ignore;
    }
    match reply.kind() {
        Kind::PriceReply if reply.entries().len() == queries.len() => {
            Verdict::Accept(SignedPrices::read(reply, queries))
        }
        Kind::Error => Verdict::Accept(SignedPrices::refused(reply)),
        _ => Verdict::Ignore,
    }
}

/// Spreads a client's requests over the server's cores.
const fn lane(id: RequestId) -> u8 {
    id.counter as u8
}

/// Never gives the same id twice.
#[derive(Debug)]
struct RequestIds {
    session: u32,
    counter: u32,
}

impl RequestIds {
    fn fresh() -> Result<Self, ClientError> {
        let session = getrandom::u32().map_err(|_| ClientError::NoRandomness)?;
        Ok(Self { session, counter: 0 })
    }

    fn next(&mut self) -> Result<RequestId, ClientError> {
        if self.counter == u32::MAX {
            *self = Self::fresh()?;
        }
        self.counter += 1;
        Ok(RequestId::new(self.session, self.counter))
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::vec;
    use std::vec::Vec;

    use serde_json::Value;

    use super::*;
    use crate::Symbol;

    #[test]
    fn a_session_whose_counter_is_used_up_gives_way_to_a_new_one() {
        let mut ids = RequestIds {
            session: 7,
            counter: u32::MAX - 1,
        };
        assert_eq!(ids.next().expect("randomness"), RequestId::new(7, u32::MAX));
        assert_eq!(ids.next().expect("randomness").counter, 1);
    }

    #[test]
    fn every_reply_vector_is_answered_ignored_or_taken_as_a_hint_as_it_says() {
        for line in include_str!("../../vectors/replies.jsonl").lines() {
            let vector: Value = serde_json::from_str(line).expect("one JSON object a line");
            let datagram = unhex(&vector["hex"]);
            let seen = ReplyView::parse(&datagram).map_or("ignore", |reply| client_does(&vector, &reply));
            assert_eq!(vector["expect"]["client"], seen, "{}", vector["name"]);
        }
    }

    fn client_does(vector: &Value, reply: &ReplyView<'_>) -> &'static str {
        let (key, waiting) = (&vector["key"], &vector["waiting_for"]);
        let secret = unhex(&key["secret"]).try_into().expect("32 bytes");
        let key = ApiKey::from_parts(large(&key["key_id"]), secret).expect("in range");
        let small = |value: &Value| u32::try_from(value.as_u64().expect("a number")).expect("32 bits");
        let request_id = RequestId::new(small(&waiting["session"]), small(&waiting["counter"]));
        if waiting["kind"] == "PING" {
            return match judge_pong(reply, request_id) {
                Verdict::Accept(_) => "answer",
                Verdict::Hint(_) => "hint",
                Verdict::Ignore => "ignore",
            };
        }
        let head = RequestHead {
            key_id: key.key_id(),
            request_id,
            lane: 0,
            clock_ns: large(&waiting["clock_ns"]),
        };
        let query = PriceQuery::new(Symbol::new("BTC-USD").expect("a good name"));
        let queries = vec![query; small(&waiting["count"]) as usize];
        match judge_prices(reply, head, &queries, &MacKeys::from_verifier(&key.verifier())) {
            Verdict::Accept(SignedPrices::Answered { .. }) => "answer",
            Verdict::Accept(SignedPrices::Refused(_)) => "refusal",
            Verdict::Accept(SignedPrices::Unreadable(why)) => why,
            Verdict::Hint(_) => "hint",
            Verdict::Ignore => "ignore",
        }
    }

    fn large(text: &Value) -> u64 {
        text.as_str()
            .expect("large numbers are text")
            .parse()
            .expect("a number")
    }

    fn unhex(text: &Value) -> Vec<u8> {
        let digits: Vec<_> = text.as_str().expect("hex is text").chars().collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).expect("hex digits"))
            .collect()
    }
}
