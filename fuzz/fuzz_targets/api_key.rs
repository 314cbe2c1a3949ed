//! A key as somebody typed it: refused with a reason, or the same key however it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trinity_protocol::{ApiKey, KeyId};

fuzz_target!(|text: &str| {
    if let Ok(id) = text.parse::<KeyId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    match text.parse::<ApiKey>() {
        Ok(key) => {
            assert!(key.key_id().is_valid());
            assert!(key.expose().as_str().parse() == Ok(key));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
