//! Binary frames as they were received, and REST bodies of the venues that answer under labels.

use std::io::Read as _;

use super::{Event, Parser, Reason, VenueId, lines, shared_data};

/// The frames of a recording that were binary, and the text of each, inflated by other means.
fn binary(root: &std::path::Path) -> Vec<(Vec<u8>, String)> {
    lines(&root.join("okx/captures/v3-deflate-frames-2021-04-17.jsonl"))
        .iter()
        .filter_map(|line| {
            let frame = base64(line["b64"].as_str()?);
            let text = inflated(&frame);
            Some((frame, text))
        })
        .collect()
}

pub(crate) fn inflated(frame: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::DeflateDecoder::new(frame)
        .read_to_string(&mut text)
        .expect("recorded binary frames are raw deflate of text");
    text
}

pub(crate) fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = LETTERS.iter().position(|known| *known == letter).expect("base64");
        bits = bits << 6 | u32::try_from(value).expect("below 64");
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}

#[test]
fn a_recorded_binary_frame_gives_what_its_text_gives_and_allocates_nothing() {
    let Some(root) = shared_data() else { return };
    let okx = VenueId::from_name("okx").expect("a venue of the table");
    let binary = binary(&root);
    assert_eq!(binary.len(), 250);
    let mut parser = Parser::new();
    for (frame, text) in &binary {
        let mut told = Vec::new();
        let result = parser.parse_binary(okx, frame, &mut |event| told.push(format!("{event:?}")));
        assert_eq!(result, Ok(()), "{text}");
        let mut expected = Vec::new();
        let result = parser.parse(okx, text.as_bytes(), &mut |event| {
            expected.push(format!("{event:?}"));
        });
        assert_eq!(result, Ok(()), "{text}");
        assert_eq!(told, expected, "{text}");
    }
    let mut events = 0_usize;
    let counted = allocation_counter::measure(|| {
        for (frame, _) in &binary {
            let _ = parser.parse_binary(okx, frame, &mut |_| events += 1);
        }
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
    assert!(events >= binary.len());
}

#[test]
fn a_recorded_binary_frame_that_is_cut_is_refused_and_a_damaged_one_never_panics() {
    let Some(root) = shared_data() else { return };
    let okx = VenueId::from_name("okx").expect("a venue of the table");
    let mut parser = Parser::new();
    let mut seed = 0x5eed_0002_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % 0xffff_ffff).expect("32 bits")
    };
    for (frame, text) in binary(&root).iter().filter(|(frame, _)| frame.len() < 300) {
        for end in 0..frame.len() {
            let result = parser.parse_binary(okx, &frame[..end], &mut |event| panic!("{event:?} of {text}"));
            let invalid = result.expect_err("a part of a stream is no stream");
            assert_eq!(invalid.reason, Reason::NotCompressed, "{text}");
        }
        for _ in 0..100 {
            let mut damaged = frame.clone();
            let at = random() % damaged.len();
            damaged[at] ^= 1 << (random() % 8);
            let _ = parser.parse_binary(okx, &damaged, &mut |event| match event {
                Event::Quote(quote) => {
                    let prices = [quote.bid, quote.ask, quote.last];
                    assert!(prices.iter().flatten().all(|price| price.mantissa() > 0));
                }
                Event::Trade(trade) => assert!(trade.price.mantissa() > 0),
                _ => {}
            });
        }
    }
}

#[test]
fn rest_bodies_are_what_their_label_says() {
    let Some(root) = shared_data() else { return };
    let mut parser = Parser::new();
    let mut seen = 0;
    for venue in ["okx", "bybit", "kucoin"] {
        let id = VenueId::from_name(venue).expect("a venue of the table");
        for file in super::files(&root.join(venue).join("rest")) {
            for line in lines(&file) {
                let body = line["data"].as_str().or_else(|| line["body"].as_str());
                let Some(body) = body else { continue };
                // Recorded answers bear their address, collected ones a label.
                let label = match line["kind"].as_str() {
                    Some(label) => label,
                    None if line["url"].as_str().is_some_and(|url| url.contains("level2")) => "book",
                    None => "other",
                };
                let mut kinds = Vec::new();
                let result = parser.parse_rest(id, body.as_bytes(), Some("ASKED-FOR"), &mut |event| {
                    assert_ne!(event.kind(), "invalid", "{venue}: {event:?} in {body:.300}");
                    kinds.push(event.kind());
                });
                // The body of a request, which no venue answers with.
                if label == "other" && body.contains("example_string_default_value") {
                    assert!(result.is_err(), "{body}");
                    continue;
                }
                assert_eq!(result, Ok(()), "{venue} {label}: {body:.300}");
                let allowed = match (super::otherwise(venue, label, body), label) {
                    (Some(allowed), _) => allowed,
                    (None, "ticker") => &["quote"],
                    (None, "trade") => &["trade"],
                    (None, "book") => &["book"],
                    (None, label) => panic!("{venue}: a label that this test does not know: {label}"),
                };
                assert!(
                    kinds.iter().all(|kind| allowed.contains(kind)),
                    "{venue} {label} gave {kinds:?}: {body:.300}"
                );
                seen += 1;
            }
        }
    }
    assert!(seen >= 25, "only {seen} bodies were found");
}

#[test]
fn the_sequence_of_a_recorded_quote_rises_per_instrument() {
    let Some(root) = shared_data() else { return };
    let mut parser = Parser::new();
    let mut last = std::collections::HashMap::new();
    let mut compared = 0;
    for recordings in [super::bybit::RECORDINGS, super::kucoin::RECORDINGS] {
        for (venue, file, _) in recordings {
            last.clear();
            let venue = VenueId::from_name(venue).expect("a venue of the table");
            for line in lines(&root.join(file)) {
                let Some(frame) = line["data"].as_str().filter(|_| line["t"] == "recv") else {
                    continue;
                };
                let _ = parser.parse(venue, frame.as_bytes(), &mut |event| {
                    let Event::Quote(quote) = event else { return };
                    let Some(sequence) = quote.sequence else { return };
                    let key = (line["conn"].to_string(), quote.instrument.to_owned());
                    if let Some(before) = last.insert(key, sequence) {
                        assert!(before < sequence, "{file}: {before} before {frame}");
                        compared += 1;
                    }
                });
            }
        }
    }
    assert!(compared > 900, "only {compared} were compared");
}
