//! Reads HTTP/1.1 responses out of a stream of bytes, strictly: what RFC 9112 does not allow,
//! or what neither this server nor a static page of nginx has a reason to send, is refused.
//!
//! A load generator that guesses where an answer ends would count wrong answers as right ones.

use std::fmt;
use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem::Finder;

/// Longest head taken, bytes.
const MAX_HEAD: usize = 16 << 10;
/// Longest body taken, bytes.
const MAX_BODY: usize = 256 << 10;
/// Room of a reader: any one response fits.
const ROOM: usize = MAX_HEAD + MAX_BODY;
/// A read is offered at least this much.
const READ: usize = 16 << 10;

static HEAD_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// Room for bytes that are not read yet. One serves any number of connections in turn, and stays
/// in the cache: what is left of a connection's bytes is put aside until its next turn.
pub(crate) struct Reader {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes from `start` that are known to hold no end of a head.
    searched: usize,
    head: Option<(Head, usize)>,
}

/// A whole response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Response<'a> {
    /// Status code.
    pub(crate) status: u16,
    /// Whether the server says that this is the connection's last.
    pub(crate) closes: bool,
    /// Body.
    pub(crate) body: &'a [u8],
}

/// Why a stream is no HTTP/1.1 as it is expected here. The connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(&'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: usize,
    closes: bool,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; ROOM + READ].into(),
            start: 0,
            end: 0,
            searched: 0,
            head: None,
        }
    }

    /// Where the next bytes go; never empty.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.end < READ {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buffer[self.end..]
    }

    /// That many bytes were written to the room.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buffer.len());
    }

    /// Goes on with what [`Reader::put_aside`] left of another turn; empty if nothing was.
    pub(crate) fn resume(&mut self, aside: &mut Vec<u8>) {
        (self.start, self.end, self.searched, self.head) = (0, aside.len(), 0, None);
        self.buffer[..aside.len()].copy_from_slice(aside);
        aside.clear();
    }

    /// Puts the beginning of a response aside whose rest is still to come.
    pub(crate) fn put_aside(&mut self, aside: &mut Vec<u8>) {
        aside.extend_from_slice(&self.buffer[self.start..self.end]);
    }

    /// The next response, once all of it is there.
    pub(crate) fn next(&mut self) -> Result<Option<Response<'_>>, Malformed> {
        let (head, head_len) = if let Some(found) = self.head {
            found
        } else {
            let unread = &self.buffer[self.start..self.end];
            let Some(at) = HEAD_END.find(&unread[self.searched..]) else {
                if unread.len() > MAX_HEAD {
                    return Err(Malformed("the head is too long"));
                }
                // The end may have begun.
                self.searched = unread.len().saturating_sub(3);
                return Ok(None);
            };
            let head_len = self.searched + at + 4;
            let found = (parse_head(&unread[..head_len - 2])?, head_len);
            self.head = Some(found);
            found
        };
        let whole = head_len + head.length;
        if self.end - self.start < whole {
            return Ok(None);
        }
        let body = self.start + head_len;
        self.start += whole;
        (self.searched, self.head) = (0, None);
        Ok(Some(Response {
            status: head.status,
            closes: head.closes,
            body: &self.buffer[body..body + head.length],
        }))
    }
}

/// Reads a head without its empty line; every line ends with CR LF.
fn parse_head(head: &[u8]) -> Result<Head, Malformed> {
    if head.len() > MAX_HEAD {
        return Err(Malformed("the head is too long"));
    }
    let (line, mut rest) = split_line(head)?;
    let status = parse_status(line)?;
    let (mut length, mut closes) = (None, false);
    while !rest.is_empty() {
        let (line, after) = split_line(rest)?;
        rest = after;
        let colon = memchr(b':', line).ok_or(Malformed("a field without a colon"))?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.is_empty() || !all(name, is_token) {
            return Err(Malformed("a field's name is no token"));
        }
        if !all(value, |byte| byte >= 0x20 && byte != 0x7F || byte == b'\t') {
            return Err(Malformed("a control character in a field"));
        }
        // Few fields matter; their lengths tell the others apart at a glance.
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => {
                closes |= value.trim_ascii().eq_ignore_ascii_case(b"close");
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let another = length.replace(parse_length(value.trim_ascii())?);
                if another.is_some() {
                    return Err(Malformed("two lengths"));
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                return Err(Malformed("a transfer encoding, which nobody asked for"));
            }
            _ => {}
        }
    }
    Ok(Head {
        status,
        length: length.ok_or(Malformed("no length"))?,
        closes,
    })
}

fn parse_status(line: &[u8]) -> Result<u16, Malformed> {
    let rest = line
        .strip_prefix(b"HTTP/1.1 ")
        .ok_or(Malformed("the status line is not HTTP/1.1's"))?;
    let (digits, reason) = rest.split_at_checked(3).ok_or(Malformed("no status"))?;
    // The space is there even if the reason is not.
    if !digits.iter().all(u8::is_ascii_digit) || reason.first() != Some(&b' ') {
        return Err(Malformed("the status is not three digits and a space"));
    }
    if !all(reason, |byte| byte >= 0x20 && byte != 0x7F || byte == b'\t') {
        return Err(Malformed("a control character in the reason"));
    }
    let status = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    match status {
        200..=599 if status != 204 && status != 304 => Ok(status),
        _ => Err(Malformed("a status without a body, or of no known class")),
    }
}

fn parse_length(text: &[u8]) -> Result<usize, Malformed> {
    if text.is_empty() || text.len() > 9 || !text.iter().all(u8::is_ascii_digit) {
        return Err(Malformed("a length that is no number, or far too large"));
    }
    let length = text
        .iter()
        .fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
    if length > MAX_BODY {
        return Err(Malformed("the body is too long"));
    }
    Ok(length)
}

/// A line without its CR LF, and what follows.
fn split_line(text: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let at = memchr(b'\n', text).ok_or(Malformed("a line without an end"))?;
    match text[..at].strip_suffix(b"\r") {
        Some(line) => Ok((line, &text[at + 1..])),
        None => Err(Malformed("a line that ends with a bare LF")),
    }
}

/// Like `Iterator::all` but looks at every byte, which the compiler can do many at a time.
fn all(bytes: &[u8], is_right: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |right, byte| right & is_right(*byte))
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0_u8;
        loop {
            table[byte as usize] = byte.is_ascii_alphanumeric();
            if byte == u8::MAX {
                break;
            }
            byte += 1;
        }
        let others = b"!#$%&'*+-.^_`|~";
        let mut i = 0;
        while i < others.len() {
            table[others[i] as usize] = true;
            i += 1;
        }
        table
    };
    TOKEN[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(stream: &[u8], cuts: &[usize]) -> Result<Vec<(u16, bool, Vec<u8>)>, Malformed> {
        let mut reader = Reader::new();
        let (mut got, mut aside) = (Vec::new(), Vec::new());
        let mut from = 0;
        for to in cuts.iter().copied().chain([stream.len()]) {
            let mut piece = &stream[from..to];
            reader.resume(&mut aside);
            while !piece.is_empty() {
                let room = reader.room();
                let fits = room.len().min(piece.len());
                room[..fits].copy_from_slice(&piece[..fits]);
                reader.filled(fits);
                piece = &piece[fits..];
                while let Some(response) = reader.next()? {
                    got.push((response.status, response.closes, response.body.to_vec()));
                }
            }
            reader.put_aside(&mut aside);
            from = to;
        }
        assert!(aside.is_empty(), "the stream ends with a response");
        Ok(got)
    }

    fn head(lines: &str) -> Result<Head, Malformed> {
        parse_head(lines.as_bytes())
    }

    #[test]
    fn a_response_is_read_to_its_last_byte_and_no_further() {
        let stream = b"HTTP/1.1 200 OK\r\ncontent-type: a\r\nContent-Length: 3\r\n\r\nabc\
                       HTTP/1.1 503 \r\nconnection: close\r\ncontent-length:0 \r\n\r\n";
        assert_eq!(
            read_all(stream, &[]).expect("well-formed"),
            [(200, false, b"abc".to_vec()), (503, true, Vec::new())]
        );
    }

    #[test]
    fn every_malformed_head_is_refused() {
        for bad in [
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n",
            "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n",
            "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n",
            "HTTP/1.1 200\r\nContent-Length: 0\r\n",
            "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n",
            "HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n",
            "http/1.1 200 OK\r\nContent-Length: 0\r\n",
            "HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n",
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n",
            "HTTP/1.1 700 What\r\nContent-Length: 0\r\n",
            "HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 0\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length 0\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n",
            "HTTP/1.1 200 OK\r\n: 0\r\nContent-Length: 0\r\n",
            "HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\nContent-Length: 0\r\n",
            "HTTP/1.1 200 OK\r\nA: \x00\r\nContent-Length: 0\r\n",
            "HTTP/1.1 200 OK\r\nA: 1\rB: 2\r\nContent-Length: 0\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: \r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0x1\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\ncontent-length: 1\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n",
        ] {
            assert!(head(bad).is_err(), "{bad:?}");
        }
        assert!(head("HTTP/1.1 200 OK\r\nA_b.c: \t x\r\nContent-Length: 5\r\n").is_ok());
    }

    #[test]
    fn an_endless_head_is_given_up() {
        let stream = [b"HTTP/1.1 200 OK\r\nA: ".as_slice(), &[b'a'; MAX_HEAD]].concat();
        assert_eq!(read_all(&stream, &[]), Err(Malformed("the head is too long")));
    }

    proptest! {
        #[test]
        fn pipelined_responses_are_split_alike_wherever_the_stream_is_cut(
            bodies in prop::collection::vec(
                (200_u16..204, any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)),
                1..20,
            ),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
            every_byte: bool,
        ) {
            let mut stream = Vec::new();
            for (status, closes, body) in &bodies {
                let connection = if *closes { "close" } else { "keep-alive" };
                let head = format!(
                    "HTTP/1.1 {status} Fine\r\nX: y\r\nConnection: {connection}\r\nContent-Length: {}\r\n\r\n", body.len()
                );
                stream.extend_from_slice(head.as_bytes());
                stream.extend_from_slice(body);
            }
            let mut cuts: Vec<_> = if every_byte {
                (0..stream.len()).collect()
            } else {
                cuts.iter().map(|cut| cut.index(stream.len())).collect()
            };
            cuts.sort_unstable();
            prop_assert_eq!(read_all(&stream, &cuts), Ok(bodies));
        }

        #[test]
        fn no_bytes_make_it_panic(stream: Vec<u8>, tail: Vec<u8>) {
            let mut reader = Reader::new();
            for piece in [stream.as_slice(), b"HTTP/1.1 200 OK\r\n", &tail, b"\r\n\r\n"] {
                reader.room()[..piece.len()].copy_from_slice(piece);
                reader.filled(piece.len());
                while let Ok(Some(_)) = reader.next() {}
            }
        }
    }
}
