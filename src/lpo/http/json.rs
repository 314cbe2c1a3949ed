//! A JSON writer for answers: no float ever comes between a price and its text.

use std::fmt::Display;
use std::io::Write;

/// Writes one JSON text (RFC 8259), member by member. Commas are its own business; brackets
/// are the caller's.
#[derive(Debug)]
pub struct Json {
    out: Vec<u8>,
    /// Whether the next key or item is to be parted from the one before.
    comma: bool,
}

impl Json {
    /// An empty text with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            out: Vec::with_capacity(bytes),
            comma: false,
        }
    }

    /// An empty text in a buffer that was used before.
    pub fn reusing(mut out: Vec<u8>) -> Self {
        out.clear();
        Self { out, comma: false }
    }

    /// Members that will stand behind others, in a buffer that was used before.
    pub fn continuing(mut out: Vec<u8>) -> Self {
        out.clear();
        Self { out, comma: true }
    }

    /// Opens an object.
    pub fn open_object(&mut self) -> &mut Self {
        self.open(b'{')
    }

    /// Closes an object.
    pub fn close_object(&mut self) -> &mut Self {
        self.close(b'}')
    }

    /// Opens an array.
    pub fn open_array(&mut self) -> &mut Self {
        self.open(b'[')
    }

    /// Closes an array.
    pub fn close_array(&mut self) -> &mut Self {
        self.close(b']')
    }

    /// Writes a member's name, which must need no escaping.
    pub fn key(&mut self, name: &'static str) -> &mut Self {
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.comma = false;
        self
    }

    /// Writes a string, escaped.
    pub fn string(&mut self, text: &str) -> &mut Self {
        self.separate();
        push_string(&mut self.out, text);
        self
    }

    /// Writes an integer.
    pub fn integer(&mut self, number: impl Into<i128>) -> &mut Self {
        self.separate();
        let number: i128 = number.into();
        match u64::try_from(number.unsigned_abs()) {
            Ok(magnitude) => push_decimal(&mut self.out, number < 0, magnitude, 0),
            // Writing to a vector cannot fail.
            Err(_) => _ = write!(self.out, "{number}"),
        }
        self
    }

    /// Writes `magnitude x 10^exponent`, exactly.
    pub fn decimal(&mut self, negative: bool, magnitude: u64, exponent: i8) -> &mut Self {
        self.separate();
        push_decimal(&mut self.out, negative, magnitude, exponent);
        self
    }

    /// Writes the same as [`Json::decimal`] as a string.
    pub fn decimal_text(&mut self, negative: bool, magnitude: u64, exponent: i8) -> &mut Self {
        self.separate();
        self.out.push(b'"');
        push_decimal(&mut self.out, negative, magnitude, exponent);
        self.out.push(b'"');
        self
    }

    /// Writes `true` or `false`.
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.raw(if value { b"true" } else { b"false" })
    }

    /// Writes `null`.
    pub fn null(&mut self) -> &mut Self {
        self.raw(b"null")
    }

    /// Writes a value that is JSON already.
    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.separate();
        self.out.extend_from_slice(value);
        self
    }

    /// Writes members that were written before, the comma before them included.
    pub fn members(&mut self, members: &[u8]) -> &mut Self {
        self.out.extend_from_slice(members);
        self.comma = true;
        self
    }

    /// Writes a string that needs no escaping.
    pub fn plain_string(&mut self, text: impl Display) -> &mut Self {
        self.separate();
        // Writing to a vector cannot fail.
        let _ = write!(self.out, "\"{text}\"");
        self
    }

    /// The text.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    fn open(&mut self, bracket: u8) -> &mut Self {
        self.separate();
        self.out.push(bracket);
        self.comma = false;
        self
    }

    fn close(&mut self, bracket: u8) -> &mut Self {
        self.out.push(bracket);
        self.comma = true;
        self
    }

    fn separate(&mut self) {
        if self.comma {
            self.out.push(b',');
        }
        self.comma = true;
    }
}

/// Appends a JSON string: quoted, with what RFC 8259 section 7 demands escaped.
fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            0..0x20 | 0x7F => {
                let digit = |n: u8| b"0123456789abcdef"[usize::from(n)];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Appends an integer.
pub(super) fn push_integer(out: &mut Vec<u8>, number: u64) {
    push_decimal(out, false, number, 0);
}

/// Appends `magnitude x 10^exponent` as plain decimal text, which is a JSON number.
///
/// The text is that of `trinity_protocol::DecimalText`, over the full range of a u64
/// (confidences are unsigned) and without the formatting machinery: it is written several
/// times per answer.
fn push_decimal(out: &mut Vec<u8>, negative: bool, magnitude: u64, exponent: i8) {
    if negative && magnitude != 0 {
        out.push(b'-');
    }
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    let mut rest = magnitude;
    while rest != 0 || start == digits.len() {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let digits = &digits[start..];
    let places = usize::from(exponent.unsigned_abs());
    if exponent >= 0 {
        out.extend_from_slice(digits);
        let zeros = if magnitude == 0 { 0 } else { places };
        out.resize(out.len() + zeros, b'0');
    } else if let Some((whole, part)) = digits.len().checked_sub(places).and_then(|at| {
        let (whole, part) = digits.split_at(at);
        (!whole.is_empty()).then_some((whole, part))
    }) {
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(part);
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + places - digits.len(), b'0');
        out.extend_from_slice(digits);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trinity_protocol::DecimalText;

    use super::*;

    #[test]
    fn members_and_items_are_parted_by_commas() {
        let mut json = Json::with_capacity(0);
        json.open_object().key("a").open_array();
        json.integer(1).string("b").open_object().close_object().null();
        json.close_array()
            .key("c")
            .boolean(true)
            .key("d")
            .decimal(true, 5, -1);
        json.close_object();
        assert_eq!(json.finish(), br#"{"a":[1,"b",{},null],"c":true,"d":-0.5}"#);
    }

    #[test]
    fn the_published_example_is_exact() {
        let mut json = Json::with_capacity(0);
        json.open_array()
            .decimal(false, 2_263_950_000, -5)
            .decimal(false, u64::MAX, -18);
        json.decimal_text(false, 1, 3).integer(u64::MAX).close_array();
        assert_eq!(
            json.finish(),
            br#"[22639.50000,18.446744073709551615,"1000",18446744073709551615]"#
        );
    }

    proptest! {
        #[test]
        fn decimals_read_as_the_protocol_writes_them(mantissa: i64, exponent: i8) {
            let mut out = Vec::new();
            push_decimal(&mut out, mantissa < 0, mantissa.unsigned_abs(), exponent);
            prop_assert_eq!(String::from_utf8(out).expect("ASCII"), DecimalText { mantissa, exponent }.to_string());
        }

        #[test]
        fn any_string_reads_back(text: String) {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), text);
        }
    }
}
