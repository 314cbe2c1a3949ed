//! What holds for all datagrams, not only for the vectors.

use proptest::prelude::*;
use trinity_protocol::reply::seal_reply;
use trinity_protocol::{
    ApiKey, Code, Kind, MAX_DATAGRAM, MAX_ENTRIES, MIN_DATAGRAM, MacKeys, PriceEntry, PriceQuery, ReplyHead,
    ReplyView, RequestHead, RequestId, RequestView, Symbol, encode_control_reply, encode_control_request,
    encode_price_reply, encode_price_request,
};

fn mac_keys() -> impl Strategy<Value = MacKeys> {
    any::<[u8; 32]>().prop_map(|secret| {
        let key = ApiKey::from_parts(1, secret).expect("1 is in range");
        MacKeys::from_verifier(&key.verifier())
    })
}

fn symbol() -> impl Strategy<Value = Symbol> {
    let byte = (0x21u8..=0x7E).prop_filter("no lower case", |byte| !byte.is_ascii_lowercase());
    proptest::collection::vec(byte, 1..=16).prop_map(|bytes| {
        Symbol::new(core::str::from_utf8(&bytes).expect("ASCII")).expect("no lower case, no space")
    })
}

fn queries() -> impl Strategy<Value = Vec<PriceQuery>> {
    let query = (symbol(), any::<u32>()).prop_map(|(symbol, max_age_ms)| PriceQuery { symbol, max_age_ms });
    proptest::collection::vec(query, 1..=MAX_ENTRIES)
}

fn request_head() -> impl Strategy<Value = RequestHead> {
    any::<(u64, u64, u8, u64)>().prop_map(|(key_id, id, lane, clock_ns)| RequestHead {
        key_id: trinity_protocol::KeyId(key_id),
        request_id: RequestId::from_wire(id),
        lane,
        clock_ns,
    })
}

fn reply_head() -> impl Strategy<Value = ReplyHead> {
    any::<(u32, u32, u64, u64)>().prop_map(|(remaining, refill_ms, id, clock_ns)| ReplyHead {
        code: Code::Ok,
        remaining,
        refill_ms,
        request_id: RequestId::from_wire(id),
        clock_ns,
    })
}

fn entry() -> impl Strategy<Value = PriceEntry> {
    any::<(i64, u64, u64, i8, u8, u8, u8, u32)>().prop_map(
        |(mantissa, confidence, time, exponent, status, venues, flags, sequence)| PriceEntry {
            mantissa: mantissa.into(),
            confidence: confidence.into(),
            publish_time_ns: time.into(),
            exponent,
            status,
            venues,
            flags,
            sequence: sequence.into(),
        },
    )
}

fn entries() -> impl Strategy<Value = Vec<PriceEntry>> {
    proptest::collection::vec(entry(), 1..=MAX_ENTRIES)
}

fn error_code() -> impl Strategy<Value = Code> {
    proptest::sample::select(&Code::ALL[1..])
}

/// Random bytes that often get past the first checks.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let noise = proptest::collection::vec(any::<u8>(), 0..=MAX_DATAGRAM + 40);
    let near = (any::<u8>(), 0u8..40, 0usize..34, any::<[u8; 26]>(), any::<bool>()).prop_map(
        |(kind, count, sent, rest, zeros)| {
            let mut bytes = vec![b'T', b'B', 1, kind, count, 0];
            bytes.extend(if zeros { [0; 26] } else { rest });
            bytes.resize(MIN_DATAGRAM + sent * 32, 0);
            bytes
        },
    );
    prop_oneof![noise, near]
}

proptest! {
    #[test]
    fn a_request_reads_back_as_it_was_written(head in request_head(), queries in queries(), keys in mac_keys()) {
        let mut buffer = [0xEE; MAX_DATAGRAM];
        let datagram = encode_price_request(&mut buffer, head, &queries, &keys.request);
        prop_assert_eq!(datagram.len(), 48 + 32 * queries.len());
        let view = RequestView::parse(datagram).expect("well-formed");
        prop_assert_eq!(view.kind(), Kind::Price);
        prop_assert_eq!(view.key_id(), head.key_id);
        prop_assert_eq!(view.request_id(), head.request_id);
        prop_assert_eq!(view.lane(), head.lane);
        prop_assert_eq!(view.clock_ns(), head.clock_ns);
        let read: Vec<_> = view.entries().iter().map(|entry| PriceQuery {
            symbol: Symbol::from_wire(entry.symbol).expect("a symbol was written"),
            max_age_ms: entry.max_age_ms.get(),
        }).collect();
        prop_assert_eq!(read, queries);
        prop_assert!(view.verify(&keys.request));
        prop_assert!(!view.verify(&keys.reply), "the other direction's key fits nothing");
    }

    #[test]
    fn a_reply_reads_back_as_it_was_written(head in reply_head(), entries in entries(), keys in mac_keys()) {
        let mut buffer = [0xEE; MAX_DATAGRAM];
        let datagram = encode_price_reply(&mut buffer, head, &entries, &keys.reply);
        let view = ReplyView::parse(datagram).expect("well-formed");
        prop_assert_eq!(view.kind(), Kind::PriceReply);
        prop_assert_eq!(view.head(), head);
        prop_assert_eq!(view.entries(), &entries[..]);
        prop_assert!(view.verify(&keys.reply));
        prop_assert!(!view.verify(&keys.request));
    }

    #[test]
    fn an_error_reads_back_as_it_was_written(
        head in reply_head(),
        code in error_code(),
        keys in mac_keys(),
        signed: bool,
    ) {
        let head = ReplyHead { code, ..head };
        let mut buffer = [0xEE; MAX_DATAGRAM];
        let key = signed.then_some(&keys.reply);
        let datagram = encode_control_reply(&mut buffer, Kind::Error, head, key);
        let view = ReplyView::parse(datagram).expect("well-formed");
        prop_assert_eq!(view.kind(), Kind::Error);
        prop_assert_eq!(view.head(), head);
        prop_assert_eq!(view.verify(&keys.reply), signed);
        prop_assert_eq!(view.is_unsigned(), !signed);
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused_and_never_both_ways(bytes in bytes(), keys in mac_keys()) {
        let request = RequestView::parse(&bytes);
        let reply = ReplyView::parse(&bytes);
        prop_assert!(request.is_err() || reply.is_err(), "a datagram has one direction");
        if let Ok(view) = request {
            prop_assert!(!view.verify(&keys.request));
        }
        if let Ok(view) = reply {
            prop_assert!(!view.verify(&keys.reply));
        }
        if bytes.len() < MIN_DATAGRAM || !bytes.starts_with(b"TB") {
            prop_assert!(RequestView::parse(&bytes).is_err_and(|refusal| refusal.code().is_none()));
        }
    }

    #[test]
    fn every_truncation_of_a_request_is_refused(head in request_head(), queries in queries(), keys in mac_keys()) {
        let mut buffer = [0; MAX_DATAGRAM];
        let datagram = encode_price_request(&mut buffer, head, &queries, &keys.request);
        for length in 0..datagram.len() {
            prop_assert!(RequestView::parse(&datagram[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn every_truncation_of_a_reply_is_refused(head in reply_head(), entries in entries(), keys in mac_keys()) {
        let mut buffer = [0; MAX_DATAGRAM];
        let datagram = encode_price_reply(&mut buffer, head, &entries, &keys.reply);
        for length in 0..datagram.len() {
            prop_assert!(ReplyView::parse(&datagram[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn symbols_survive_the_wire_and_only_symbols_do(raw: [u8; 16], symbol in symbol()) {
        prop_assert_eq!(Symbol::from_wire(symbol.to_wire()), Ok(symbol));
        prop_assert_eq!(Symbol::new(symbol.as_str()), Ok(symbol));
        if let Ok(read) = Symbol::from_wire(raw) {
            prop_assert_eq!(read.to_wire(), raw);
            prop_assert_eq!(Symbol::new(read.as_str()), Ok(read));
        }
    }

    #[test]
    fn any_text_is_a_symbol_or_not_but_never_a_panic(text in "\\PC{0,20}") {
        if let Ok(symbol) = Symbol::from_any_case(&text) {
            prop_assert_eq!(symbol.as_str(), text.to_ascii_uppercase());
        }
    }

    #[test]
    fn keys_survive_their_text_and_no_text_panics(id in 1..=i64::MAX as u64, secret: [u8; 32], noise in "(tb_live_)?\\PC{0,80}") {
        let key = ApiKey::from_parts(id, secret).expect("in range");
        prop_assert!(key.expose().as_str().parse() == Ok(key));
        if let Ok(read) = noise.parse::<ApiKey>() {
            prop_assert!(read.expose().as_str().parse() == Ok(read));
        }
    }
}

proptest! {
    // Each case tries every bit of the datagram, up to 8,320 of them.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_flipped_bit_of_a_request_is_refused_or_fails_its_tag(
        head in request_head(),
        queries in queries(),
        keys in mac_keys(),
    ) {
        let mut buffer = [0; MAX_DATAGRAM];
        let mut datagram = encode_price_request(&mut buffer, head, &queries, &keys.request).to_vec();
        for bit in 0..datagram.len() * 8 {
            datagram[bit / 8] ^= 1 << (bit % 8);
            let taken = RequestView::parse(&datagram).is_ok_and(|view| view.verify(&keys.request));
            prop_assert!(!taken, "bit {bit}");
            datagram[bit / 8] ^= 1 << (bit % 8);
        }
        prop_assert!(RequestView::parse(&datagram).is_ok_and(|view| view.verify(&keys.request)));
    }

    #[test]
    fn every_flipped_bit_of_a_reply_is_refused_or_fails_its_tag(
        head in reply_head(),
        entries in entries(),
        keys in mac_keys(),
    ) {
        let mut buffer = [0; MAX_DATAGRAM];
        let mut datagram = encode_price_reply(&mut buffer, head, &entries, &keys.reply).to_vec();
        for bit in 0..datagram.len() * 8 {
            datagram[bit / 8] ^= 1 << (bit % 8);
            let taken = ReplyView::parse(&datagram).is_ok_and(|view| view.verify(&keys.reply));
            prop_assert!(!taken, "bit {bit}");
            datagram[bit / 8] ^= 1 << (bit % 8);
        }
        prop_assert!(ReplyView::parse(&datagram).is_ok_and(|view| view.verify(&keys.reply)));
    }
}

proptest! {
    #[test]
    fn no_answer_is_longer_than_its_request(bytes in bytes(), keys in mac_keys(), code in error_code()) {
        let mut buffer = [0; MAX_DATAGRAM];
        let head = ReplyHead { code, remaining: 0, refill_ms: 0, request_id: RequestId::new(0, 0), clock_ns: 0 };
        match RequestView::parse(&bytes) {
            Ok(view) => {
                let (kind, code) = match view.kind() {
                    Kind::Price => (Kind::PriceReply, Code::Ok),
                    Kind::Ping => (Kind::PingReply, Code::Ok),
                    _ => (Kind::Error, code),
                };
                let count = if kind == Kind::PriceReply { view.entries().len() } else { 0 };
                let answer = seal_reply(&mut buffer, kind, count, ReplyHead { code, ..head }, Some(&keys.reply));
                prop_assert!(answer.len() <= bytes.len());
                prop_assert!(ReplyView::parse(answer).is_ok());
            }
            Err(refusal) => {
                if let Some(code) = refusal.code() {
                    let answer = encode_control_reply(&mut buffer, Kind::Error, ReplyHead { code, ..head }, None);
                    prop_assert!(answer.len() <= bytes.len());
                }
            }
        }
    }

    #[test]
    fn no_answer_is_itself_answered(
        head in reply_head(),
        entries in entries(),
        code in error_code(),
        keys in mac_keys(),
    ) {
        let mut buffer = [0; MAX_DATAGRAM];
        let prices = encode_price_reply(&mut buffer, head, &entries, &keys.reply).to_vec();
        let error = encode_control_reply(&mut buffer, Kind::Error, ReplyHead { code, ..head }, None).to_vec();
        let pong = encode_control_reply(&mut buffer, Kind::PingReply, head, None).to_vec();
        for answer in [prices, error, pong] {
            prop_assert!(RequestView::parse(&answer).is_err_and(|refusal| refusal.code().is_none()));
        }
    }

    #[test]
    fn a_control_request_reads_back_as_it_was_written(head in request_head(), keys in mac_keys(), signed: bool) {
        for kind in [Kind::Ping, Kind::Subscribe, Kind::Usage] {
            let mut buffer = [0; MAX_DATAGRAM];
            let datagram = encode_control_request(&mut buffer, kind, head, signed.then_some(&keys.request));
            let view = RequestView::parse(datagram).expect("well-formed");
            prop_assert_eq!((view.kind(), view.request_id(), view.entries().len()), (kind, head.request_id, 0));
            prop_assert_eq!(view.verify(&keys.request), signed);
        }
    }
}
