//! Requests: what a client sends and how a server reads it.

use core::fmt;

use zerocopy::{FromBytes, IntoBytes};

use crate::api_key::KeyId;
use crate::auth::{MacKey, Tag, sign};
use crate::code::Code;
use crate::kind::Kind;
use crate::symbol::Symbol;
use crate::wire::{RequestEntry, RequestHeader};
use crate::{
    ENTRY_LEN, HEADER_LEN, MAGIC, MAX_DATAGRAM, MAX_ENTRIES, MIN_DATAGRAM, TAG_LEN, VERSION, datagram_len,
};

/// A request id: the client's session and its rising counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// Random at the client's start; tells its runs apart.
    pub session: u32,
    /// Rises by one per new request; a retry repeats it.
    pub counter: u32,
}

impl RequestId {
    /// Joins the two parts.
    pub const fn new(session: u32, counter: u32) -> Self {
        Self { session, counter }
    }

    /// The two parts of the wire's integer.
    pub const fn from_wire(id: u64) -> Self {
        Self {
            session: (id >> 32) as u32,
            counter: id as u32,
        }
    }

    /// The wire's integer.
    pub const fn to_wire(self) -> u64 {
        (self.session as u64) << 32 | self.counter as u64
    }
}

/// The parts of a request's header that its sender chooses.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead {
    /// Whose key signs.
    pub key_id: KeyId,
    /// Session and counter.
    pub request_id: RequestId,
    /// Picks the server's core; a retry must repeat it.
    pub lane: u8,
    /// Sender's clock, Unix nanoseconds.
    pub clock_ns: u64,
}

/// One asked symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceQuery {
    /// Which symbol.
    pub symbol: Symbol,
    /// Oldest price that still counts as live, milliseconds; 0 is the symbol's default.
    pub max_age_ms: u32,
}

impl PriceQuery {
    /// Asks for a symbol with its default max age.
    pub const fn new(symbol: Symbol) -> Self {
        Self {
            symbol,
            max_age_ms: 0,
        }
    }
}

/// Why a datagram is no request. [`Refusal::code`] says whether it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Shorter than 48 bytes.
    Short,
    /// Does not begin with `TB`.
    Magic,
    /// Is a reply itself.
    Reply,
    /// Another protocol version.
    Version,
    /// No request kind.
    Kind,
    /// More than 31 entries, or a number of entries that the kind does not take.
    Count,
    /// The length does not fit the number of entries.
    Length,
    /// A reserved byte or an undefined flag is set.
    Reserved,
}

impl Refusal {
    /// Every refusal, for counters.
    pub const ALL: [Self; 8] = [
        Self::Short,
        Self::Magic,
        Self::Reply,
        Self::Version,
        Self::Kind,
        Self::Count,
        Self::Length,
        Self::Reserved,
    ];

    /// The code to answer with; `None` is silence.
    ///
    /// What is not this protocol is not answered, and neither is a reply: a forged source
    /// address must not be able to set two servers talking.
    pub const fn code(self) -> Option<Code> {
        match self {
            Self::Short | Self::Magic | Self::Reply => None,
            Self::Version => Some(Code::Version),
            Self::Kind | Self::Count | Self::Length | Self::Reserved => Some(Code::Malformed),
        }
    }

    /// A name for counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Magic => "magic",
            Self::Reply => "reply",
            Self::Version => "version",
            Self::Kind => "kind",
            Self::Count => "count",
            Self::Length => "length",
            Self::Reserved => "reserved",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A well-formed request, lying over its datagram. Its tag is not checked yet.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    kind: Kind,
    header: &'a RequestHeader,
    entries: &'a [RequestEntry],
    signed: &'a [u8],
    tag: &'a Tag,
}

impl<'a> RequestView<'a> {
    /// Checks a datagram's form: length, magic, version, kind, count and reserved bytes.
    ///
    /// Symbols are not judged here: a name that no table knows, ASCII or not, gets its own
    /// UNKNOWN_SYMBOL entry, so that one bad symbol never spoils a batch.
    #[inline]
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Refusal> {
        if datagram.len() < MIN_DATAGRAM {
            return Err(Refusal::Short);
        }
        let (header, _) = RequestHeader::ref_from_prefix(datagram).map_err(|_| Refusal::Short)?;
        if header.magic != MAGIC {
            return Err(Refusal::Magic);
        }
        if Kind::is_reply(header.kind) {
            return Err(Refusal::Reply);
        }
        if header.version != VERSION {
            return Err(Refusal::Version);
        }
        let kind = Kind::request(header.kind).ok_or(Refusal::Kind)?;
        let count = usize::from(header.count);
        let counts = match kind {
            Kind::Price => 1..=MAX_ENTRIES,
            Kind::Ping => 0..=0,
            _ => 0..=MAX_ENTRIES,
        };
        if !counts.contains(&count) {
            return Err(Refusal::Count);
        }
        if datagram.len() != datagram_len(count) {
            return Err(Refusal::Length);
        }
        if header.flags != 0 || header.reserved != 0 {
            return Err(Refusal::Reserved);
        }
        let (signed, tag) = datagram.split_last_chunk::<TAG_LEN>().ok_or(Refusal::Short)?;
        let entries = <[RequestEntry]>::ref_from_bytes(&signed[HEADER_LEN..]).map_err(|_| Refusal::Length)?;
        if entries.iter().any(|entry| entry.reserved != [0; 12]) {
            return Err(Refusal::Reserved);
        }
        Ok(Self {
            kind,
            header,
            entries,
            signed,
            tag,
        })
    }

    /// Whether the tag is the key's.
    #[inline]
    pub fn verify(&self, key: &MacKey) -> bool {
        key.verify(self.signed, self.tag)
    }

    /// What is asked.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whose key is said to sign.
    pub fn key_id(&self) -> KeyId {
        KeyId(self.header.key_id.get())
    }

    /// Session and counter.
    pub fn request_id(&self) -> RequestId {
        RequestId::from_wire(self.header.request_id.get())
    }

    /// Sender's clock, Unix nanoseconds.
    pub fn clock_ns(&self) -> u64 {
        self.header.clock_ns.get()
    }

    /// The lane byte.
    pub const fn lane(&self) -> u8 {
        self.header.lane
    }

    /// The asked symbols, in order.
    pub const fn entries(&self) -> &'a [RequestEntry] {
        self.entries
    }

    /// What the tag covers: every byte before it.
    pub const fn signed(&self) -> &'a [u8] {
        self.signed
    }

    /// The tag as it came.
    pub const fn tag(&self) -> &'a Tag {
        self.tag
    }
}

/// Reads the request id of anything that is at least a header long, to echo it in an error.
pub fn peek_request_id(datagram: &[u8]) -> RequestId {
    RequestHeader::ref_from_prefix(datagram).map_or(RequestId::new(0, 0), |(header, _)| {
        RequestId::from_wire(header.request_id.get())
    })
}

/// Writes a PRICE request and signs it.
///
/// # Panics
///
/// If there are no queries or more than [`MAX_ENTRIES`].
pub fn encode_price_request<'b>(
    buffer: &'b mut [u8; MAX_DATAGRAM],
    head: RequestHead,
    queries: &[PriceQuery],
    key: &MacKey,
) -> &'b [u8] {
    assert!(
        (1..=MAX_ENTRIES).contains(&queries.len()),
        "a PRICE request asks 1 to 31 symbols"
    );
    for (query, slot) in queries
        .iter()
        .zip(buffer[HEADER_LEN..].chunks_exact_mut(ENTRY_LEN))
    {
        let entry = RequestEntry {
            symbol: query.symbol.to_wire(),
            max_age_ms: query.max_age_ms.into(),
            reserved: [0; 12],
        };
        slot.copy_from_slice(entry.as_bytes());
    }
    seal(buffer, Kind::Price, queries.len(), head, Some(key))
}

/// Writes a request without entries: PING (no key needed) or a reserved kind.
pub fn encode_control_request<'b>(
    buffer: &'b mut [u8; MAX_DATAGRAM],
    kind: Kind,
    head: RequestHead,
    key: Option<&MacKey>,
) -> &'b [u8] {
    seal(buffer, kind, 0, head, key)
}

fn seal<'b>(
    buffer: &'b mut [u8; MAX_DATAGRAM],
    kind: Kind,
    count: usize,
    head: RequestHead,
    key: Option<&MacKey>,
) -> &'b [u8] {
    let header = RequestHeader {
        magic: MAGIC,
        version: VERSION,
        kind: kind as u8,
        count: count as u8,
        flags: 0,
        lane: head.lane,
        reserved: 0,
        key_id: head.key_id.0.into(),
        request_id: head.request_id.to_wire().into(),
        clock_ns: head.clock_ns.into(),
    };
    buffer[..HEADER_LEN].copy_from_slice(header.as_bytes());
    sign(buffer, count, key)
}
