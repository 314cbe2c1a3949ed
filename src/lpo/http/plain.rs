//! The short way: `GET /price` with a key and nothing else, which is what nearly all requests
//! are, answered from the bytes as they came to the bytes as they go.
//!
//! It says what [`Answerer::begin`] says, to the letter, and does the same: limits, usage. What
//! it spares is work that is the same from request to request. The head of a connection's next
//! request is mostly that of its last, so it is compared instead of read, and its key is proven as
//! long as the key table is the same; the text of a price is kept until the price changes;
//! the response's head is written, not collected. Nothing is allocated.
//!
//! It answers only what it surely can: everything else, errors among it, is [`Plain::Other`],
//! and nothing has been done about it.

mod head;

use std::fmt;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use trinity_protocol::{Code, KeyId};

use self::head::{Head, Read, read_head, read_line};
use super::json::{Json, push_integer};
use super::price::{PRICE_BYTES, Quoted, write_latency};
use super::query::{PriceQuery, carries_key};
use super::rendered::Rendered;
use super::{Answerer, limit_headers, seconds};
use crate::limits::HTTP_PROVEN_BYTES;
use crate::tables::keys::KeyEntry;
use crate::tables::meter::Protocol;
use crate::tables::misses::is_missed;

/// What became of the bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// They begin with a request, which is answered.
    Answered {
        /// Bytes of the request.
        length: usize,
        /// When the answer was there, Unix nanoseconds.
        now_ns: u64,
    },
    /// They are the beginning of a plain request, or nothing.
    Partial,
    /// They begin with something else.
    Other,
}

/// When a request came, and to which keys.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// When the request arrived, Unix nanoseconds.
    pub arrived_ns: u64,
    /// The latest that is known of the time, Unix nanoseconds; not before `arrived_ns`.
    pub now_ns: u64,
    /// Changes whenever the key table does.
    pub keys: u64,
}

/// What a connection remembers of its last plain request.
pub struct Remembered {
    /// All that stood behind its query; empty if nothing is remembered.
    rest: Vec<u8>,
    /// The key that is presented in there.
    key_id: KeyId,
    /// The key table that had it.
    keys: u64,
}

/// What one worker needs for the short way.
#[derive(Debug, Default)]
pub struct PlainDesk {
    rendered: Rendered,
    date: Date,
    body: Vec<u8>,
}

/// The line of the date, made once a second.
#[derive(Debug, Default)]
struct Date {
    second: u32,
    line: String,
}

/// A response's head up to the fields that differ.
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\n";

impl Default for Remembered {
    fn default() -> Self {
        Self {
            rest: Vec::new(),
            key_id: KeyId(0),
            keys: 0,
        }
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it remembers contains a key.
        f.debug_struct("Remembered")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl Remembered {
    /// The key and the length of what is remembered, if `rest` begins with the same bytes and the
    /// key table is still the same.
    fn recall(&self, rest: &[u8], keys: u64) -> Option<(KeyId, usize)> {
        let known = self.rest.as_slice();
        let same = keys == self.keys
            && !known.is_empty()
            // A proxy may send requests of several clients, so time must not tell how much of a
            // key was right.
            && rest
                .get(..known.len())
                .is_some_and(|rest| constant_time_eq::constant_time_eq(rest, known));
        same.then_some((self.key_id, known.len()))
    }

    fn remember(&mut self, rest: &[u8], key_id: KeyId, keys: u64) {
        self.rest.clear();
        if rest.len() <= HTTP_PROVEN_BYTES {
            self.rest.extend_from_slice(rest);
        }
        (self.key_id, self.keys) = (key_id, keys);
    }
}

impl<'a> Answerer<'a> {
    /// Answers the request at the beginning of `bytes`, behind what `out` holds already.
    pub fn plain(
        &mut self,
        bytes: &[u8],
        moment: Moment,
        remembered: &mut Remembered,
        desk: &mut PlainDesk,
        out: &mut Vec<u8>,
    ) -> Plain {
        let (query, rest) = match read_line(bytes) {
            Read::Line { query, rest } => (query, rest),
            Read::Partial => return Plain::Partial,
            Read::Other => return Plain::Other,
        };
        let (key, length) = match self.key_of(bytes, rest, moment, remembered) {
            Ok(found) => found,
            Err(other) => return other,
        };
        match self.answer_plain(query, key, moment, desk, out) {
            Some(now_ns) => Plain::Answered { length, now_ns },
            None => Plain::Other,
        }
    }

    /// The key that the head at the beginning of `bytes` proves, and the head's length. `rest` is
    /// what follows its query.
    fn key_of(
        &self,
        bytes: &[u8],
        rest: &[u8],
        moment: Moment,
        remembered: &mut Remembered,
    ) -> Result<(&'a KeyEntry, usize), Plain> {
        let before = bytes.len() - rest.len();
        if let Some((key_id, length)) = remembered.recall(rest, moment.keys) {
            let key = self.keys.find(key_id);
            let key = key.filter(|key| key.is_usable(moment.now_ns));
            return key.map(|key| (key, before + length)).ok_or(Plain::Other);
        }
        match read_head(bytes) {
            Head::Plain { length, key } => {
                let entry = self.prove(&key, moment.now_ns).ok_or(Plain::Other)?;
                remembered.remember(&bytes[before..length], entry.key_id, moment.keys);
                Ok((entry, length))
            }
            Head::Partial => Err(Plain::Partial),
            Head::Other => Err(Plain::Other),
        }
    }

    /// Grants, answers and counts a question; gives the time when that was done.
    fn answer_plain(
        &mut self,
        query: &str,
        key: &KeyEntry,
        moment: Moment,
        desk: &mut PlainDesk,
        out: &mut Vec<u8>,
    ) -> Option<u64> {
        let query = read_query(query)?;
        let now_ns = moment.now_ns;
        let quoted = Quoted::look_up(&query.asset, self.prices, query.max_age_ms, now_ns);
        let (index, _) = quoted.symbol?;
        let status = quoted.status();
        if self.misses.is_some() && is_missed(status) || !self.meter.has_room(1 + self.kept_rows()) {
            return None;
        }
        let allowance = key.state.acquire(&key.limits, now_ns, self.month_left_ms).ok()?;

        let mut json = Json::reusing(std::mem::take(&mut desk.body));
        json.open_object().key("asset").string(quoted.asset);
        json.members(desk.rendered.price(&quoted, self.source));
        quoted.write_age(&mut json);
        let done_ns = (self.clock)();
        let latency_ns = done_ns.saturating_sub(moment.arrived_ns);
        write_latency(&mut json, latency_ns);
        json.close_object();
        desk.body = json.finish();

        out.reserve(HEAD.len() + PRICE_BYTES + desk.body.len());
        out.extend_from_slice(HEAD);
        limit_headers::push(out, key, allowance, self.month_left_ms);
        out.extend_from_slice(b"content-length: ");
        push_integer(out, desk.body.len() as u64);
        out.extend_from_slice(desk.date.line(seconds(done_ns)).as_bytes());
        out.extend_from_slice(&desk.body);

        let second = seconds(done_ns);
        self.meter.symbol(key.key_id, Some(index), second, status);
        let row = self.meter.request(key.key_id, second, Protocol::Http, Code::Ok);
        if let Some(row) = row {
            self.meter.latency(row, latency_ns);
        }
        // What a client hears of is in the journal.
        self.meter.write_down();
        Some(done_ns)
    }
}

impl Date {
    /// The end of the line before, the line of the date and the end of the head.
    fn line(&mut self, second: u32) -> &str {
        if self.second != second || self.line.is_empty() {
            let time = Timestamp::from_second(second.into()).unwrap_or(Timestamp::UNIX_EPOCH);
            let time = DateTimePrinter::new().timestamp_to_rfc9110_string(&time);
            self.line = format!("\r\ndate: {}\r\n\r\n", time.unwrap_or_default());
            self.second = second;
        }
        &self.line
    }
}

/// Reads a query; `None` if it is refused.
fn read_query(query: &str) -> Option<PriceQuery<'_>> {
    // The most common one holds nothing that must be looked at.
    let asset = query.strip_prefix("asset=").filter(|asset| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'/');
        !asset.is_empty() && asset.bytes().all(is_plain)
    });
    if let Some(asset) = asset {
        return Some(PriceQuery {
            asset: asset.into(),
            max_age_ms: 0,
        });
    }
    (!carries_key(Some(query)))
        .then(|| PriceQuery::parse(Some(query)).ok())
        .flatten()
}

#[cfg(test)]
mod tests;
