//! A client's first sight of a datagram: what is read is written back to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trinity_protocol::reply::{reply_entries_mut, seal_reply};
use trinity_protocol::{
    ApiKey, DecimalText, MAX_DATAGRAM, MacKeys, PriceFlags, PriceStatus, ReplyView, TAG_LEN,
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(view) = ReplyView::parse(bytes) else { return };
    let key = ApiKey::from_parts(1, [7; 32]).expect("1 is in range");
    let keys = MacKeys::from_verifier(&key.verifier());
    let _ = view.verify(&keys.reply);
    for entry in view.entries() {
        let text = DecimalText {
            mantissa: entry.mantissa.get(),
            exponent: entry.exponent,
        }
        .to_string();
        assert!(
            text.bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-' || byte == b'.')
        );
        let _ = PriceStatus::from_wire(entry.status).map(PriceStatus::has_value);
        assert!(PriceFlags(entry.flags).names().count() <= 5);
    }
    let mut buffer = [0; MAX_DATAGRAM];
    reply_entries_mut(&mut buffer, view.entries().len()).copy_from_slice(view.entries());
    let written = seal_reply(&mut buffer, view.kind(), view.entries().len(), view.head(), None);
    let signed = bytes.len() - TAG_LEN;
    assert_eq!(written[..signed], bytes[..signed]);
});
