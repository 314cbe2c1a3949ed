//! Replies: what a server sends and how a client reads it.

use core::fmt;

use zerocopy::{FromBytes, IntoBytes};

use crate::auth::{MacKey, Tag, UNSIGNED, sign};
use crate::code::Code;
use crate::kind::Kind;
use crate::request::RequestId;
use crate::wire::{PriceEntry, ReplyHeader};
use crate::{
    ENTRY_LEN, HEADER_LEN, MAGIC, MAX_DATAGRAM, MAX_ENTRIES, MIN_DATAGRAM, TAG_LEN, VERSION, datagram_len,
};

/// The parts of a reply's header that differ from reply to reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHead {
    /// Outcome.
    pub code: Code,
    /// Requests left in the key's current window; `u32::MAX` where nothing limits it.
    pub remaining: u32,
    /// In an answer: milliseconds until the window is full again. In a refusal by a limit: until
    /// the next request is granted.
    pub refill_ms: u32,
    /// The request's id.
    pub request_id: RequestId,
    /// Server's clock, Unix nanoseconds.
    pub clock_ns: u64,
}

impl ReplyHead {
    /// Requests left in the key's current window; `None` where nothing limits it.
    pub const fn limited(&self) -> Option<u32> {
        if self.remaining == u32::MAX {
            None
        } else {
            Some(self.remaining)
        }
    }
}

/// Why a datagram is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// Not this protocol, or not this version.
    Foreign,
    /// No reply kind, an unknown code, or lengths that do not fit.
    Malformed,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "not a TBP v1 datagram",
            Self::Malformed => "a malformed TBP v1 reply",
        })
    }
}

impl core::error::Error for ReplyError {}

/// A well-formed reply, lying over its datagram. Its tag is not checked yet.
#[derive(Clone, Copy, Debug)]
pub struct ReplyView<'a> {
    kind: Kind,
    head: ReplyHead,
    entries: &'a [PriceEntry],
    signed: &'a [u8],
    tag: &'a Tag,
}

impl<'a> ReplyView<'a> {
    /// Checks a datagram's form.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ReplyError> {
        if datagram.len() < MIN_DATAGRAM {
            return Err(ReplyError::Foreign);
        }
        let (header, _) = ReplyHeader::ref_from_prefix(datagram).map_err(|_| ReplyError::Foreign)?;
        if header.magic != MAGIC || header.version != VERSION {
            return Err(ReplyError::Foreign);
        }
        let count = usize::from(header.count);
        let kind = match header.kind {
            0x81 if count != 0 => Kind::PriceReply,
            0x82 if count == 0 => Kind::PingReply,
            0xFF if count == 0 => Kind::Error,
            _ => return Err(ReplyError::Malformed),
        };
        let code = Code::from_wire(header.code.get()).ok_or(ReplyError::Malformed)?;
        if count > MAX_ENTRIES || datagram.len() != datagram_len(count) || header.flags != 0 {
            return Err(ReplyError::Malformed);
        }
        if (kind == Kind::Error) == (code == Code::Ok) {
            return Err(ReplyError::Malformed);
        }
        let (signed, tag) = datagram
            .split_last_chunk::<TAG_LEN>()
            .ok_or(ReplyError::Foreign)?;
        let entries =
            <[PriceEntry]>::ref_from_bytes(&signed[HEADER_LEN..]).map_err(|_| ReplyError::Malformed)?;
        let head = ReplyHead {
            code,
            remaining: header.remaining.get(),
            refill_ms: header.refill_ms.get(),
            request_id: RequestId::from_wire(header.request_id.get()),
            clock_ns: header.clock_ns.get(),
        };
        Ok(Self {
            kind,
            head,
            entries,
            signed,
            tag,
        })
    }

    /// Whether the tag is the key's.
    pub fn verify(&self, key: &MacKey) -> bool {
        key.verify(self.signed, self.tag)
    }

    /// Whether no key signed it: its tag is all zeros.
    pub fn is_unsigned(&self) -> bool {
        *self.tag == UNSIGNED
    }

    /// What is answered.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The header's varying parts.
    pub const fn head(&self) -> ReplyHead {
        self.head
    }

    /// The prices, in the order of the request's entries.
    pub const fn entries(&self) -> &'a [PriceEntry] {
        self.entries
    }
}

/// The entries of a PRICE reply that is being built in place; [`seal_reply`] finishes it.
///
/// # Panics
///
/// If the buffer is too short for `count` entries.
#[inline]
pub fn reply_entries_mut(buffer: &mut [u8], count: usize) -> &mut [PriceEntry] {
    let bytes = &mut buffer[HEADER_LEN..HEADER_LEN + count * ENTRY_LEN];
    <[PriceEntry]>::mut_from_bytes(bytes).expect("a whole number of entries, and they need no alignment")
}

/// Writes the header around `count` entries that are already in place, and signs.
///
/// # Panics
///
/// If the buffer is too short for a datagram of `count` entries.
#[inline]
pub fn seal_reply<'b>(
    buffer: &'b mut [u8],
    kind: Kind,
    count: usize,
    head: ReplyHead,
    key: Option<&MacKey>,
) -> &'b [u8] {
    write_reply_head(buffer, kind, count, head);
    sign(buffer, count, key)
}

/// Writes the header of a reply with `count` entries, for a train that is signed as a whole
/// ([`MacKey::tag_train`]): then the tag follows the last entry.
///
/// # Panics
///
/// If the buffer is shorter than a header.
#[inline]
pub fn write_reply_head(buffer: &mut [u8], kind: Kind, count: usize, head: ReplyHead) {
    let header = ReplyHeader {
        magic: MAGIC,
        version: VERSION,
        kind: kind as u8,
        count: count as u8,
        flags: 0,
        code: (head.code as u16).into(),
        remaining: head.remaining.into(),
        refill_ms: head.refill_ms.into(),
        request_id: head.request_id.to_wire().into(),
        clock_ns: head.clock_ns.into(),
    };
    buffer[..HEADER_LEN].copy_from_slice(header.as_bytes());
}

/// Writes a PRICE reply and signs it.
///
/// # Panics
///
/// If there are more than [`MAX_ENTRIES`] entries.
pub fn encode_price_reply<'b>(
    buffer: &'b mut [u8; MAX_DATAGRAM],
    head: ReplyHead,
    entries: &[PriceEntry],
    key: &MacKey,
) -> &'b [u8] {
    reply_entries_mut(buffer, entries.len()).copy_from_slice(entries);
    seal_reply(buffer, Kind::PriceReply, entries.len(), head, Some(key))
}

/// Writes a reply without entries: PING's, or an error.
pub fn encode_control_reply<'b>(
    buffer: &'b mut [u8; MAX_DATAGRAM],
    kind: Kind,
    head: ReplyHead,
    key: Option<&MacKey>,
) -> &'b [u8] {
    seal_reply(buffer, kind, 0, head, key)
}
