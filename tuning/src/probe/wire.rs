//! The probe's datagrams.
//!
//! A datagram is 40 bytes of head and zeros up to its length: magic (4 bytes), version, kind, two
//! reserved, token (16 bytes), rung (u32), reserved (u32), sequence (u64); little-endian.
//!
//! The client says HELLO; the echo's WELCOME brings a token that only this address can know; PROBEs
//! that bear it come back as ECHOs. No answer is longer than its question, and nothing but the few
//! WELCOMEs goes to an address that has not shown that it receives there: neither amplification nor
//! a stream to a victim.

/// Head of every datagram, bytes.
pub const HEAD_BYTES: usize = 40;
/// Longest datagram of a probe, bytes: as of the price protocol.
pub const MAX_BYTES: usize = 1_040;
/// A price request for one symbol, bytes: what is sent unless told otherwise.
pub const DEFAULT_BYTES: usize = 80;

const MAGIC: [u8; 4] = *b"TBpr";
const VERSION: u8 = 1;

/// Proof that an address receives what is sent to it.
pub type Token = [u8; 16];

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The client asks for a token.
    Hello = 1,
    /// The token.
    Welcome = 2,
    /// To be sent back.
    Probe = 3,
    /// What came back.
    Echo = 4,
}

/// A head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// The token; zeros in a HELLO.
    pub token: Token,
    /// The rung of the ladder; in a HELLO anything, given back.
    pub rung: u32,
    /// The number within the rung.
    pub sequence: u64,
}

impl Head {
    /// Reads a datagram's head; `None` for what is not the probe's.
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD_BYTES] = datagram.first_chunk()?;
        if head[..4] != MAGIC || head[4] != VERSION || datagram.len() > MAX_BYTES {
            return None;
        }
        let kind = match head[5] {
            1 => Kind::Hello,
            2 => Kind::Welcome,
            3 => Kind::Probe,
            4 => Kind::Echo,
            _ => return None,
        };
        Some(Self {
            kind,
            token: *head[8..].first_chunk()?,
            rung: u32::from_le_bytes(*head[24..].first_chunk()?),
            sequence: u64::from_le_bytes(*head[32..].first_chunk()?),
        })
    }

    /// Writes the head over a datagram's beginning.
    ///
    /// # Panics
    ///
    /// If there is no room for a head.
    pub fn write(&self, datagram: &mut [u8]) {
        datagram[..4].copy_from_slice(&MAGIC);
        datagram[4..8].copy_from_slice(&[VERSION, self.kind as u8, 0, 0]);
        datagram[8..24].copy_from_slice(&self.token);
        datagram[24..28].copy_from_slice(&self.rung.to_le_bytes());
        datagram[28..32].fill(0);
        datagram[32..40].copy_from_slice(&self.sequence.to_le_bytes());
    }
}
