//! Symbols from the wire and from people: whatever is taken survives the way back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trinity_protocol::Symbol;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(raw) = <[u8; 16]>::try_from(bytes)
        && let Ok(symbol) = Symbol::from_wire(raw)
    {
        assert_eq!(symbol.to_wire(), raw);
        assert_eq!(Symbol::new(symbol.as_str()), Ok(symbol));
    }
    if let Ok(text) = core::str::from_utf8(bytes)
        && let Ok(symbol) = Symbol::from_any_case(text)
    {
        assert_eq!(symbol.as_str(), text.to_ascii_uppercase());
        assert_eq!(Symbol::from_wire(symbol.to_wire()), Ok(symbol));
    }
});
