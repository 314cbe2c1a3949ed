//! What was sent, what came back, and whether it was right.

use serde::Serialize;
use trinity_protocol::{Code, Kind, PriceEntry, PriceStatus, ReplyView};

use crate::population::{is_right, is_sound};

/// Everything that was sent and came back, warm-up included: it must add up.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Tally {
    /// Requests that the kernel took.
    pub(crate) sent: u64,
    /// Requests that an open loop's schedule had and that were never sent, because the kernel did
    /// not take them or too many waited for replies.
    pub(crate) unsent: u64,
    /// Datagrams that came back.
    pub(crate) answered: u64,
    /// Replies that were right in every way.
    pub(crate) verified: u64,
    /// Requests without a reply in time.
    pub(crate) lost: u64,
    /// Replies to requests given up as lost.
    pub(crate) late: u64,
    /// Replies that came once more.
    pub(crate) duplicates: u64,
    /// Replies that nobody asked for.
    pub(crate) unexpected: u64,
    /// Datagrams that are no reply.
    pub(crate) malformed: u64,
    /// Replies whose tag is not the key's.
    pub(crate) bad_tags: u64,
    /// Signed prices that are not the symbols'.
    pub(crate) bad_prices: u64,
    /// Signed prices older than one seen before.
    pub(crate) sequence_back: u64,
    /// Replies with a code other than OK, in wire order.
    #[serde(skip)]
    pub(crate) codes: [u64; Code::ALL.len()],
}

/// What a reply is judged by.
pub(crate) struct Asked<'a> {
    /// The symbols that were asked for, in order.
    pub(crate) symbols: &'a [u16],
    /// Of every symbol the highest sequence seen; empty where replies may come in another order
    /// than they were given in.
    pub(crate) newest: &'a mut [u32],
    /// Whether the server is this program's, whose prices are known beforehand.
    pub(crate) ours: bool,
}

impl Tally {
    /// Whether the reply is genuine and gives prices of the symbols asked for that are no older
    /// than the newest ones seen; counts what is wrong. `is_genuine`: its tag is the key's.
    #[inline]
    pub(crate) fn judge(&mut self, view: &ReplyView<'_>, is_genuine: bool, asked: &mut Asked<'_>) -> bool {
        let code = view.head().code;
        if !is_genuine {
            if view.is_unsigned() && code != Code::Ok {
                self.codes[code as usize] += 1;
            } else {
                self.bad_tags += 1;
            }
            return false;
        }
        if code != Code::Ok {
            self.codes[code as usize] += 1;
            return false;
        }
        let entries = view.entries();
        let mut right = view.kind() == Kind::PriceReply && entries.len() == asked.symbols.len();
        let mut in_order = true;
        for (symbol, entry) in asked.symbols.iter().zip(entries) {
            let symbol = usize::from(*symbol);
            let is_right = if asked.ours {
                is_right(symbol, entry)
            } else {
                is_sound(entry)
            };
            if !is_right {
                right = false;
                continue;
            }
            let Some(newest) = asked.newest.get_mut(symbol) else {
                continue;
            };
            let sequence = entry.sequence.get();
            in_order &= sequence >= *newest || !has_value(entry);
            *newest = sequence.max(*newest);
        }
        if !right {
            self.bad_prices += 1;
        } else if !in_order {
            self.sequence_back += 1;
        }
        right && in_order
    }

    /// Replies with a code other than OK.
    pub(crate) fn refusals(&self) -> u64 {
        self.codes.iter().sum()
    }

    /// The codes other than OK that came at all.
    pub(crate) fn errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let codes = Code::ALL.iter().zip(self.codes);
        codes.filter(|(_, n)| *n > 0).map(|(code, n)| (code.name(), n))
    }
}

fn has_value(entry: &PriceEntry) -> bool {
    PriceStatus::from_wire(entry.status).is_some_and(PriceStatus::has_value)
}

#[cfg(test)]
mod tests {
    use trinity_protocol::RequestId;

    use super::*;
    use crate::population::{self, Population};

    #[test]
    fn a_price_is_judged_by_its_key_its_symbol_and_its_sequence() {
        let population = Population::new(2, 2).expect("drawn");
        let reply = |code, symbol, sequence, key: usize| {
            let head = trinity_protocol::ReplyHead {
                code,
                remaining: 1,
                refill_ms: 0,
                request_id: RequestId::new(1, 1),
                clock_ns: 1,
            };
            let mut buffer = [0; trinity_protocol::MAX_DATAGRAM];
            let mac = &population.keys[key].mac.reply;
            if code == Code::Ok {
                let entry = population::record(symbol, sequence, 5).entry_at(5, 0);
                trinity_protocol::encode_price_reply(&mut buffer, head, &[entry], mac).to_vec()
            } else {
                trinity_protocol::encode_control_reply(&mut buffer, Kind::Error, head, Some(mac)).to_vec()
            }
        };
        let (mut tally, mut newest) = (Tally::default(), [0, 0]);
        let mut judge = |datagram: &[u8]| {
            let view = ReplyView::parse(datagram).expect("well-formed");
            let is_genuine = view.verify(&population.keys[0].mac.reply);
            let mut asked = Asked {
                symbols: &[0],
                newest: &mut newest,
                ours: true,
            };
            tally.judge(&view, is_genuine, &mut asked)
        };
        assert!(judge(&reply(Code::Ok, 0, 7, 0)));
        assert!(!judge(&reply(Code::Ok, 0, 6, 0)), "older than the one before");
        assert!(!judge(&reply(Code::Ok, 1, 8, 0)), "another symbol's");
        assert!(!judge(&reply(Code::Ok, 0, 8, 1)), "another key's");
        assert!(!judge(&reply(Code::RateLimited, 0, 8, 0)), "an error");
        assert_eq!((tally.sequence_back, tally.bad_prices, tally.bad_tags), (1, 1, 1));
        assert_eq!(tally.codes[Code::RateLimited as usize], 1);
        assert_eq!(
            tally.errors().collect::<Vec<_>>(),
            [(Code::RateLimited.name(), 1)]
        );
    }

    #[test]
    fn every_price_of_a_batch_must_be_the_one_asked_for_at_its_place() {
        let population = Population::new(1, 3).expect("drawn");
        let reply = |symbols: &[usize]| {
            let head = trinity_protocol::ReplyHead {
                code: Code::Ok,
                remaining: 1,
                refill_ms: 0,
                request_id: RequestId::new(1, 1),
                clock_ns: 1,
            };
            let entries: Vec<_> = symbols
                .iter()
                .map(|symbol| population::record(*symbol, 5, 5).entry_at(5, 0))
                .collect();
            let mut buffer = [0; trinity_protocol::MAX_DATAGRAM];
            let mac = &population.keys[0].mac.reply;
            trinity_protocol::encode_price_reply(&mut buffer, head, &entries, mac).to_vec()
        };
        let judge = |symbols: &[usize], ours| {
            let datagram = reply(symbols);
            let mut asked = Asked {
                symbols: &[2, 0, 2],
                newest: &mut [0, 0, 0],
                ours,
            };
            let view = ReplyView::parse(&datagram).expect("well-formed");
            Tally::default().judge(&view, true, &mut asked)
        };
        assert!(judge(&[2, 0, 2], true));
        assert!(!judge(&[2, 0, 1], true), "one is another symbol's");
        assert!(!judge(&[0, 2, 2], true), "in another order");
        assert!(!judge(&[2, 0], true), "one is missing");
        assert!(!judge(&[2, 0], false), "one is missing");
        assert!(
            judge(&[2, 0, 1], false),
            "whose prices are whose only their server knows"
        );
    }
}
