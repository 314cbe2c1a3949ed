//! The faults that a simulated venue can be given at run time.

use std::str::FromStr;
use std::time::Duration;

use super::book::{Digits, Tick};

/// A fault. Those of the stream replace each other, those of REST replace each other, and those
/// that act at once leave no state behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Connections stay open and messages are taken, but nothing comes: no ack, no heartbeat, no
    /// quote. (The WebSocket layer still answers pings.)
    Mute,
    /// Requests are confirmed, then nothing comes.
    AckThenSilent,
    /// Everything but quotes comes.
    HeartbeatsOnly,
    /// Each instrument's last quote is sent again and again, byte for byte.
    RepeatOld,
    /// Nothing is confirmed or refused; quotes do come.
    NoAck,
    /// Every subscription is refused in the venue's words.
    ErrorOnSubscribe,
    /// Connections are reset as soon as they are accepted.
    RefuseConnect,
    /// The WebSocket upgrade is answered by this status, with `Retry-After` in seconds.
    RefuseUpgrade { status: u16, retry_after: Option<u64> },
    /// Connections are accepted and left alone so long before TLS and HTTP begin.
    SlowHandshake(Duration),
    /// Each connection is closed after so many more frames.
    CloseAfter(u64),
    /// Quotes are replaced by what no client can use.
    Garbage(Garbage),
    /// Once per connection a quote is replaced by a JSON text of so many bytes.
    HugeFrame(usize),
    /// Prices are wrong by this power of ten, REST included.
    Wild(i32),
    /// Bid and ask change places, REST included.
    Crossed,
    /// The venue's clock is so many milliseconds ahead (behind, if negative), REST included.
    ClockSkew(i64),

    /// At once: the connections that are open are neither read nor written any more, and not
    /// closed either. New ones are well.
    HalfOpen,
    /// At once: the open connections end, with or without a close frame.
    Drop { close_frame: bool },
    /// At once: clients are asked to connect anew, in the venue's words where it has any,
    /// otherwise by a close frame "service restart".
    Reconnect,
    /// At once: each connection loses one message; seen where the venue numbers them all
    /// (Coinbase).
    Gap,

    /// Each answer comes so much later.
    RestDelay(Duration),
    /// No answer comes while this lasts.
    RestHang,
    /// New connections are reset, requests on old ones get the connection closed.
    RestRefuse,
    /// Each answer is this status, with `Retry-After` in seconds.
    RestStatus { status: u16, retry_after: Option<u64> },
    /// Each answer is a page of HTML with status 200.
    RestGarbage,
    /// Each answer is a JSON text of so many bytes.
    RestHuge(usize),
}

/// Kinds of nonsense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Garbage {
    /// Text that is no JSON.
    NotJson,
    /// The first half of a quote.
    Cut,
    /// A quote in a binary frame, with bytes in it that are no UTF-8.
    NotUtf8,
    /// A quote whose prices are objects.
    WrongTypes,
}

/// What a fault concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Stream,
    Rest,
    AtOnce,
}

/// Size of a frame that is called huge without a number: above what any client should take.
const HUGE: usize = 17 << 20;

impl Fault {
    pub(super) fn scope(self) -> Scope {
        match self {
            Self::HalfOpen | Self::Drop { .. } | Self::Reconnect | Self::Gap => Scope::AtOnce,
            Self::RestDelay(_)
            | Self::RestHang
            | Self::RestRefuse
            | Self::RestStatus { .. }
            | Self::RestGarbage
            | Self::RestHuge(_) => Scope::Rest,
            _ => Scope::Stream,
        }
    }

    /// Whether neither heartbeats nor quotes come.
    pub(super) fn is_silent(self) -> bool {
        matches!(self, Self::Mute | Self::AckThenSilent)
    }

    /// Whether no quotes come.
    pub(super) fn holds_quotes_back(self) -> bool {
        self.is_silent() || self == Self::HeartbeatsOnly
    }

    /// The quote as the venue gives it under this fault.
    pub(super) fn distort(self, mut tick: Tick) -> Tick {
        match self {
            Self::Wild(power) => {
                for price in [&mut tick.bid, &mut tick.ask, &mut tick.last] {
                    *price = Digits::parse(price).times_ten(power).to_string();
                }
            }
            Self::Crossed => std::mem::swap(&mut tick.bid, &mut tick.ask),
            Self::ClockSkew(_) => tick.time_ns = self.clock(tick.time_ns),
            _ => {}
        }
        tick
    }

    /// The venue's clock under this fault.
    pub(super) fn clock(self, now_ns: u64) -> u64 {
        match self {
            Self::ClockSkew(ms) => now_ns.saturating_add_signed(ms.saturating_mul(1_000_000)),
            _ => now_ns,
        }
    }
}

impl Garbage {
    pub(super) fn spoil(self, quote: &str, tick: &Tick) -> Vec<u8> {
        match self {
            Self::NotJson => b"<html><body>502 Bad Gateway</body></html>".to_vec(),
            Self::Cut => quote.as_bytes()[..quote.len() / 2].to_vec(),
            Self::NotUtf8 => {
                let mut bytes = quote.as_bytes().to_vec();
                let middle = bytes.len() / 2;
                bytes.splice(middle..middle, [0xff, 0xfe, 0xc0]);
                bytes
            }
            Self::WrongTypes => {
                let mut text = quote.to_owned();
                for price in [&tick.bid, &tick.ask, &tick.last] {
                    for (before, after) in [("\"", "\""), (":", ",")] {
                        let to = format!(
                            "{}{{\"no\":[1]}}{}",
                            before.trim_matches('"'),
                            after.trim_matches('"')
                        );
                        text = text.replace(&format!("{before}{price}{after}"), &to);
                    }
                }
                text.into_bytes()
            }
        }
    }
}

/// As the example's command line has it: `mute`, `refuse-upgrade:429:5`, `clock-skew:-2000`.
impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let mut number = |otherwise: i64| match parts.next() {
            None => Ok(otherwise),
            Some(part) => part
                .parse::<i64>()
                .map_err(|_| format!("{part:?} in {text:?} is not a whole number")),
        };
        let ms = |number: i64| Duration::from_millis(number.max(0) as u64);
        let seconds = |number: i64| u64::try_from(number).ok();
        Ok(match name {
            "mute" => Self::Mute,
            "ack-then-silent" => Self::AckThenSilent,
            "heartbeats-only" => Self::HeartbeatsOnly,
            "repeat-old" => Self::RepeatOld,
            "no-ack" => Self::NoAck,
            "error-on-subscribe" => Self::ErrorOnSubscribe,
            "refuse-connect" => Self::RefuseConnect,
            "refuse-upgrade" => Self::RefuseUpgrade {
                status: number(403)? as u16,
                retry_after: seconds(number(-1)?),
            },
            "slow-handshake" => Self::SlowHandshake(ms(number(5_000)?)),
            "close-after" => Self::CloseAfter(number(10)?.max(0) as u64),
            "not-json" => Self::Garbage(Garbage::NotJson),
            "cut" => Self::Garbage(Garbage::Cut),
            "not-utf8" => Self::Garbage(Garbage::NotUtf8),
            "wrong-types" => Self::Garbage(Garbage::WrongTypes),
            "huge" => Self::HugeFrame(number(HUGE as i64)?.max(0) as usize),
            "wild" => Self::Wild(number(3)? as i32),
            "crossed" => Self::Crossed,
            "clock-skew" => Self::ClockSkew(number(10_000)?),
            "half-open" => Self::HalfOpen,
            "close" => Self::Drop { close_frame: true },
            "drop" => Self::Drop { close_frame: false },
            "reconnect" => Self::Reconnect,
            "gap" => Self::Gap,
            "rest-delay" => Self::RestDelay(ms(number(500)?)),
            "rest-hang" => Self::RestHang,
            "rest-refuse" => Self::RestRefuse,
            "rest-status" => Self::RestStatus {
                status: number(429)? as u16,
                retry_after: seconds(number(-1)?),
            },
            "rest-garbage" => Self::RestGarbage,
            "rest-huge" => Self::RestHuge(number(HUGE as i64)?.max(0) as usize),
            _ => {
                return Err(format!(
                    "{name:?} is not a fault; there are mute, ack-then-silent, heartbeats-only, repeat-old, \
                     no-ack, error-on-subscribe, refuse-connect, refuse-upgrade:STATUS:RETRY_AFTER, \
                     slow-handshake:MS, close-after:FRAMES, not-json, cut, not-utf8, wrong-types, huge:BYTES, \
                     wild:POWER, crossed, clock-skew:MS, half-open, close, drop, reconnect, gap, rest-delay:MS, \
                     rest-hang, rest-refuse, rest-status:STATUS:RETRY_AFTER, rest-garbage, rest-huge:BYTES"
                ));
            }
        })
    }
}
