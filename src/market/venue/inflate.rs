//! Binary frames: gzip, raw deflate, or text after all.
//!
//! OKX v3 sends raw deflate (RFC 1951, no header), others gzip (RFC 1952), `KuCoin`'s unified
//! account plain JSON. The first byte tells them apart: a deflate stream that begins with the
//! byte of `{` or `[` is one of fixed codes whose first symbol is above 143, so it inflates to
//! no JSON; and gzip's first byte would be a reserved block type.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::json::RETAINED_BYTES;
use super::{Invalid, MAX_FRAME_BYTES, Reason};

/// Room made at first; most messages need less.
const FIRST_BYTES: usize = 4 * 1024;

/// CRC-32 and length behind a gzip stream.
const GZIP_TRAILER: usize = 8;

/// Inflates messages one after the other with the same buffers.
pub(super) struct Inflater {
    /// Made at the first compressed frame: most venues never send one.
    stream: Option<Decompress>,
    text: Vec<u8>,
}

impl Inflater {
    pub(super) const fn new() -> Self {
        Self {
            stream: None,
            text: Vec::new(),
        }
    }

    /// The text of a binary frame: its own bytes if they are plain, else what they inflate to.
    pub(super) fn inflate<'a>(&'a mut self, frame: &'a [u8]) -> Result<&'a [u8], Invalid> {
        if frame.len() > MAX_FRAME_BYTES {
            return Err(Invalid::frame(Reason::TooLarge));
        }
        let broken = Invalid::frame(Reason::NotCompressed);
        match frame {
            [b'{' | b'[', ..] => return Ok(frame),
            [0x1f, 0x8b, ..] => {
                let body = gzip_body(frame).ok_or(broken)?;
                let used = self.stream(body)?;
                let trailer: [u8; GZIP_TRAILER] = body[used..].try_into().map_err(|_| broken)?;
                let mut crc = Crc::new();
                crc.update(&self.text);
                let [c0, c1, c2, c3, n0, n1, n2, n3] = trailer;
                let told = (
                    u32::from_le_bytes([c0, c1, c2, c3]),
                    u32::from_le_bytes([n0, n1, n2, n3]),
                );
                if told != (crc.sum(), crc.amount()) {
                    return Err(broken);
                }
            }
            _ => {
                if self.stream(frame)? != frame.len() {
                    return Err(broken);
                }
            }
        }
        Ok(&self.text)
    }

    /// Gives back what an uncommonly large frame took.
    pub(super) fn give_back(&mut self) {
        if self.text.capacity() > RETAINED_BYTES {
            self.text = Vec::new();
        }
    }

    /// Inflates one whole stream at the front of `body` and returns how long it was.
    fn stream(&mut self, body: &[u8]) -> Result<usize, Invalid> {
        let broken = Invalid::frame(Reason::NotCompressed);
        let stream = self.stream.get_or_insert_with(|| Decompress::new(false));
        stream.reset(false);
        self.text.clear();
        let mut used = 0;
        loop {
            if self.text.len() == self.text.capacity() {
                // One byte above the limit tells a message that is too large from the largest.
                let limit = MAX_FRAME_BYTES + 1 - self.text.len();
                let more = self.text.len().max(FIRST_BYTES).min(limit);
                self.text.reserve_exact(more);
            }
            let (taken, made) = (stream.total_in(), self.text.len());
            let status = stream
                .decompress_vec(&body[used..], &mut self.text, FlushDecompress::None)
                .map_err(|_| broken)?;
            let step = stream.total_in() - taken;
            used += usize::try_from(step).map_err(|_| broken)?;
            if self.text.len() > MAX_FRAME_BYTES {
                return Err(Invalid::frame(Reason::TooLarge));
            }
            if status == Status::StreamEnd {
                return Ok(used);
            }
            // There was room and yet nothing happened: the stream is cut.
            if step == 0 && self.text.len() == made {
                return Err(broken);
            }
        }
    }
}

/// What follows the header of a gzip member.
fn gzip_body(frame: &[u8]) -> Option<&[u8]> {
    const HEADER_CRC: u8 = 0x02;
    const EXTRA: u8 = 0x04;
    const NAME: u8 = 0x08;
    const COMMENT: u8 = 0x10;
    const RESERVED: u8 = 0xe0;

    let (header, mut rest) = frame.split_first_chunk::<10>()?;
    let flags = header[3];
    if header[2] != 8 || flags & RESERVED != 0 {
        return None;
    }
    if flags & EXTRA != 0 {
        let (len, tail) = rest.split_first_chunk::<2>()?;
        rest = tail.get(usize::from(u16::from_le_bytes(*len))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & HEADER_CRC != 0 {
        rest = rest.get(2..)?;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::{DeflateEncoder, GzEncoder};
    use flate2::{Compression, GzBuilder};
    use proptest::prelude::*;

    use super::super::{Event, Parser, VenueId};
    use super::*;

    fn deflated(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("a vector takes all");
        encoder.finish().expect("a vector takes all")
    }

    fn gzipped(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("a vector takes all");
        encoder.finish().expect("a vector takes all")
    }

    fn inflated(frame: &[u8]) -> Result<Vec<u8>, Reason> {
        Inflater::new()
            .inflate(frame)
            .map(<[u8]>::to_vec)
            .map_err(|invalid| invalid.reason)
    }

    #[test]
    fn a_frame_is_read_plain_or_inflated_by_how_it_begins() {
        let text = br#"{"table":"spot/ticker","data":[]}"#;
        assert_eq!(inflated(text).as_deref(), Ok(&text[..]));
        assert_eq!(inflated(b"[1").as_deref(), Ok(&b"[1"[..]));
        assert_eq!(inflated(&deflated(text)).as_deref(), Ok(&text[..]));
        assert_eq!(inflated(&gzipped(text)).as_deref(), Ok(&text[..]));
        // One by one, with the same buffers.
        let mut inflater = Inflater::new();
        for _ in 0..3 {
            assert_eq!(inflater.inflate(&deflated(text)), Ok(&text[..]));
            assert!(inflater.inflate(b"\xff\xff").is_err());
            assert_eq!(inflater.inflate(&gzipped(b"[]")), Ok(&b"[]"[..]));
        }
    }

    #[test]
    fn a_gzip_header_may_bear_every_optional_field() {
        let mut encoder = GzBuilder::new()
            .extra(vec![1, 2, 3])
            .filename("name")
            .comment("comment")
            .write(Vec::new(), Compression::default());
        encoder.write_all(b"[7]").expect("a vector takes all");
        let frame = encoder.finish().expect("a vector takes all");
        assert_eq!(inflated(&frame).as_deref(), Ok(&b"[7]"[..]));
        // The same with a checksum of the header, which is passed over.
        let body = gzip_body(&frame).expect("a header");
        let mut with_crc = vec![0x1f, 0x8b, 8, 0x02, 0, 0, 0, 0, 0, 255, 0xaa, 0xbb];
        with_crc.extend_from_slice(body);
        assert_eq!(inflated(&with_crc).as_deref(), Ok(&b"[7]"[..]));
    }

    #[test]
    fn every_cut_or_continued_stream_is_refused() {
        let text = br#"{"event":"subscribe","channel":"spot/ticker:BTC-USDT"}"#;
        for frame in [deflated(text), gzipped(text)] {
            for end in 0..frame.len() {
                assert_eq!(inflated(&frame[..end]), Err(Reason::NotCompressed), "{end}");
            }
            let mut longer = frame.clone();
            longer.push(0);
            assert_eq!(inflated(&longer), Err(Reason::NotCompressed));
            let twice = frame.repeat(2);
            assert_eq!(inflated(&twice), Err(Reason::NotCompressed));
        }
        // A gzip whose checksum or length is another's.
        for at in 1..=GZIP_TRAILER {
            let mut frame = gzipped(text);
            let len = frame.len();
            frame[len - at] ^= 1;
            assert_eq!(inflated(&frame), Err(Reason::NotCompressed), "{at}");
        }
        // Another method than deflate; a reserved flag.
        for at in [2, 3] {
            let mut frame = gzipped(text);
            frame[at] ^= 0x80;
            assert_eq!(inflated(&frame), Err(Reason::NotCompressed), "{at}");
        }
    }

    #[test]
    fn the_largest_message_is_inflated_and_a_larger_one_is_refused_without_growing_further() {
        let mut inflater = Inflater::new();
        let largest = vec![b' '; MAX_FRAME_BYTES];
        for frame in [deflated(&largest), gzipped(&largest)] {
            assert_eq!(inflater.inflate(&frame), Ok(&largest[..]));
        }
        let larger = deflated(&vec![b' '; MAX_FRAME_BYTES + 1]);
        assert_eq!(inflater.inflate(&larger), Err(Invalid::frame(Reason::TooLarge)));
        // A thousand to one: what a hostile peer would send.
        let bomb = deflated(&vec![0; 8 * MAX_FRAME_BYTES]);
        assert!(bomb.len() < MAX_FRAME_BYTES / 64);
        assert_eq!(inflater.inflate(&bomb), Err(Invalid::frame(Reason::TooLarge)));
        assert!(inflater.text.capacity() <= 2 * MAX_FRAME_BYTES);
        assert_eq!(
            inflater.inflate(&vec![0; MAX_FRAME_BYTES + 1]),
            Err(Invalid::frame(Reason::TooLarge))
        );
        inflater.give_back();
        assert_eq!(inflater.text.capacity(), 0);
    }

    #[test]
    fn inflating_allocates_nothing_once_the_buffers_have_grown() {
        let frames = [
            deflated(&b" ".repeat(20_000)),
            gzipped(b"[1,2,3]"),
            b"[]".to_vec(),
        ];
        let mut inflater = Inflater::new();
        let mut run = || {
            for frame in &frames {
                assert!(inflater.inflate(frame).is_ok());
                inflater.give_back();
            }
        };
        run();
        assert_eq!(allocation_counter::measure(run).count_total, 0);
    }

    #[test]
    fn a_binary_heartbeat_is_one_whether_or_not_it_is_compressed() {
        let okx = VenueId::from_name("okx").expect("a venue of the table");
        for frame in [b"pong".to_vec(), deflated(b"pong"), gzipped(b"pong")] {
            let mut events = 0;
            let result = Parser::new().parse_binary(okx, &frame, &mut |event| {
                assert_eq!(event, Event::Heartbeat);
                events += 1;
            });
            assert_eq!((result, events), (Ok(()), 1));
        }
    }

    #[test]
    fn a_binary_frame_gives_the_events_of_its_text_for_every_venue() {
        let mut parser = Parser::new();
        for venue in VenueId::all() {
            for text in [&b"{}"[..], b"[]", br#"{"event":"pong"}"#, b"nonsense", b"\xff"] {
                let mut told = Vec::new();
                let mut read = |binary: bool, frame: &[u8]| {
                    let mut kinds = Vec::new();
                    let sink = &mut |event: Event<'_>| kinds.push(event.kind());
                    let result = if binary {
                        parser.parse_binary(venue, frame, sink)
                    } else {
                        parser.parse(venue, frame, sink)
                    };
                    told.push((result, kinds));
                };
                read(false, text);
                read(true, &deflated(text));
                read(true, &gzipped(text));
                assert_eq!(told[0], told[1], "{venue} {text:?}");
                assert_eq!(told[0], told[2], "{venue} {text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(text in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            prop_assert_eq!(inflated(&gzipped(&text)), Ok(text.clone()));
            let raw = deflated(&text);
            // Bytes that are no text may compress to what looks plain; JSON cannot.
            if !matches!(raw[0], b'{' | b'[') {
                prop_assert_eq!(inflated(&raw), Ok(text));
            }
        }

        #[test]
        fn what_begins_like_json_is_never_the_beginning_of_compressed_json(
            first in proptest::sample::select(b"{[".as_slice()),
            tail in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut text = vec![first];
            text.extend(tail);
            for level in 0..=9 {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
                encoder.write_all(&text).expect("a vector takes all");
                let raw = encoder.finish().expect("a vector takes all");
                let plain = matches!(raw[0], b'{' | b'[');
                prop_assert!(!plain);
                prop_assert!(!raw.starts_with(&[0x1f, 0x8b]));
                prop_assert_eq!(inflated(&raw), Ok(text.clone()));
            }
        }

        #[test]
        fn arbitrary_bytes_are_inflated_or_refused_without_a_panic(
            frame in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = inflated(&frame);
            let mut gzip = vec![0x1f, 0x8b, 8];
            gzip.extend(frame);
            let _ = inflated(&gzip);
        }
    }
}
