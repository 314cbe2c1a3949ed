//! A frame as JSON: simd-json's tape with reused buffers, and each number's own text.
//!
//! simd-json turns numbers into binary floats. Prices must stay decimal, so a number is read
//! again from the untouched frame: stage 1 of simd-json leaves the offset of every token, and
//! the tokens that start a value stand in the same order as the nodes of the tape.

use std::cell::Cell;

use simd_json::{Buffers, ErrorType, INPUT_PADDING, Node, StaticNode, Tape, fill_tape_padded};

use super::{Invalid, MAX_FRAME_BYTES, Reason};

/// Deepest nesting of objects and arrays in a frame; venues stay below ten.
const MAX_DEPTH: usize = 64;

/// Buffers grown by a frame above this many bytes are given back after it, so that one order
/// book snapshot of some megabytes does not hold several times its size for ever.
pub(super) const RETAINED_BYTES: usize = 256 * 1024;

/// Reads frames one after the other with the same buffers.
pub(super) struct Reader {
    scratch: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            scratch: Vec::new(),
            buffers: Buffers::with_max_depth(0, MAX_DEPTH),
            tape: Tape(Vec::new()),
        }
    }

    /// Parses `frame` and hands its root value to `visit`.
    pub(super) fn read<R>(
        &mut self,
        frame: &[u8],
        visit: impl FnOnce(Json<'_>) -> Result<R, Invalid>,
    ) -> Result<R, Invalid> {
        if frame.len() > MAX_FRAME_BYTES {
            return Err(Invalid::frame(Reason::TooLarge));
        }
        // A copy, because simd-json unescapes strings in place and the numbers' text must stay.
        self.scratch.clear();
        self.scratch.reserve(frame.len() + INPUT_PADDING);
        self.scratch.extend_from_slice(frame);
        self.scratch.resize(frame.len() + INPUT_PADDING, b' ');

        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let result = fill_tape_padded(&mut self.scratch, frame.len(), &mut self.buffers, &mut tape)
            .map_err(|error| Invalid::frame(reason_of(error.error())))
            .and_then(|()| {
                let document = Document {
                    frame,
                    nodes: &tape.0,
                    tokens: self.buffers.structural_indexes(),
                    cursor: Cell::new((0, 0)),
                };
                if document.nodes.is_empty() {
                    return Err(Invalid::frame(Reason::NotJson));
                }
                visit(Json {
                    document: &document,
                    at: 0,
                })
            });
        self.tape = tape.reset();
        if frame.len() > RETAINED_BYTES {
            *self = Self::new();
        }
        result
    }
}

/// One value of a frame.
#[derive(Clone, Copy)]
pub(super) struct Json<'f> {
    document: &'f Document<'f>,
    at: usize,
}

impl<'f> Json<'f> {
    /// The text of a string.
    pub(super) fn string(self) -> Option<&'f str> {
        match self.node() {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a string or of a number, as the venue wrote it.
    pub(super) fn scalar(self) -> Option<&'f [u8]> {
        match self.node() {
            Node::String(text) => Some(text.as_bytes()),
            Node::Static(StaticNode::I64(_) | StaticNode::U64(_) | StaticNode::F64(_)) => {
                self.document.number(self.at)
            }
            _ => None,
        }
    }

    /// [`Json::scalar`] as a string slice.
    pub(super) fn text(self) -> Option<&'f str> {
        std::str::from_utf8(self.scalar()?).ok()
    }

    pub(super) fn boolean(self) -> Option<bool> {
        match self.node() {
            Node::Static(StaticNode::Bool(value)) => Some(value),
            _ => None,
        }
    }

    pub(super) fn is_null(self) -> bool {
        matches!(self.node(), Node::Static(StaticNode::Null))
    }

    pub(super) fn is_object(self) -> bool {
        matches!(self.node(), Node::Object { .. })
    }

    pub(super) fn is_array(self) -> bool {
        matches!(self.node(), Node::Array { .. })
    }

    /// The members of an object in their order; none for any other value.
    pub(super) fn members(self) -> Members<'f> {
        let left = match self.node() {
            Node::Object { len, .. } => len,
            _ => 0,
        };
        Members {
            document: self.document,
            next: self.at + 1,
            left,
        }
    }

    /// The elements of an array in their order; none for any other value.
    pub(super) fn elements(self) -> Elements<'f> {
        let left = match self.node() {
            Node::Array { len, .. } => len,
            _ => 0,
        };
        Elements {
            document: self.document,
            next: self.at + 1,
            left,
        }
    }

    /// The value of the first member with this name.
    pub(super) fn get(self, name: &str) -> Option<Self> {
        self.members()
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The text of the member with this name, if it is a string.
    pub(super) fn get_string(self, name: &str) -> Option<&'f str> {
        self.get(name)?.string()
    }

    fn node(self) -> Node<'f> {
        self.document.node(self.at)
    }
}

/// Iterates over the members of an object.
pub(super) struct Members<'f> {
    document: &'f Document<'f>,
    next: usize,
    left: usize,
}

impl<'f> Iterator for Members<'f> {
    type Item = (&'f str, Json<'f>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let Node::String(key) = self.document.node(self.next) else {
            return None;
        };
        let at = self.next + 1;
        self.next = self.document.after(at);
        Some((
            key,
            Json {
                document: self.document,
                at,
            },
        ))
    }
}

/// Iterates over the elements of an array.
pub(super) struct Elements<'f> {
    document: &'f Document<'f>,
    next: usize,
    left: usize,
}

impl Elements<'_> {
    /// Elements not yet visited.
    pub(super) fn left(&self) -> usize {
        self.left
    }
}

impl<'f> Iterator for Elements<'f> {
    type Item = Json<'f>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let at = self.next;
        self.next = self.document.after(at);
        Some(Json {
            document: self.document,
            at,
        })
    }
}

struct Document<'f> {
    frame: &'f [u8],
    nodes: &'f [Node<'f>],
    tokens: &'f [u32],
    /// A node and its token, where the last search ended: parsers read forward, so the next
    /// search starts there.
    cursor: Cell<(usize, usize)>,
}

impl<'f> Document<'f> {
    fn node(&self, at: usize) -> Node<'f> {
        self.nodes
            .get(at)
            .copied()
            .unwrap_or(Node::Static(StaticNode::Null))
    }

    /// The node behind the value at `at`.
    fn after(&self, at: usize) -> usize {
        match self.node(at) {
            Node::Object { count, .. } | Node::Array { count, .. } => at + 1 + count,
            _ => at + 1,
        }
    }

    /// The text of the number at node `at`.
    fn number(&self, at: usize) -> Option<&'f [u8]> {
        let (mut node, mut token) = self.cursor.get();
        if node > at {
            (node, token) = (0, 0);
        }
        let mut tokens = self.tokens.get(token..)?.iter();
        loop {
            let start = *tokens.next()? as usize;
            let rest = self.frame.get(start..)?;
            // Closing and separating tokens have no node of their own.
            if !matches!(rest.first()?, b':' | b',' | b']' | b'}') {
                if node == at {
                    self.cursor.set((node, token));
                    let len = rest.iter().take_while(|byte| is_number(**byte)).count();
                    return Some(&rest[..len]);
                }
                node += 1;
            }
            token += 1;
        }
    }
}

fn is_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

fn reason_of(error: &ErrorType) -> Reason {
    match error {
        ErrorType::InvalidUtf8 | ErrorType::InvalidUnicodeCodepoint => Reason::NotUtf8,
        ErrorType::DepthLimitExceeded => Reason::TooDeep,
        ErrorType::InputTooLarge => Reason::TooLarge,
        _ => Reason::NotJson,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes a value back, numbers by their own text.
    fn print(json: Json<'_>, out: &mut String) {
        if json.is_object() {
            out.push('{');
            for (i, (key, value)) in json.members().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                out.push_str(&serde_json::to_string(key).expect("a string is JSON"));
                out.push(':');
                print(value, out);
            }
            out.push('}');
        } else if json.is_array() {
            out.push('[');
            for (i, value) in json.elements().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                print(value, out);
            }
            out.push(']');
        } else if let Some(text) = json.string() {
            out.push_str(&serde_json::to_string(text).expect("a string is JSON"));
        } else if let Some(value) = json.boolean() {
            out.push_str(if value { "true" } else { "false" });
        } else if json.is_null() {
            out.push_str("null");
        } else {
            out.push_str(json.text().expect("what is left is a number"));
        }
    }

    fn printed(frame: &str) -> Result<String, Invalid> {
        Reader::new().read(frame.as_bytes(), |json| {
            let mut out = String::new();
            print(json, &mut out);
            Ok(out)
        })
    }

    #[test]
    fn every_value_comes_back_and_every_number_in_its_own_digits() {
        let frame = concat!(
            r#"{"a":[1,-2.50,{"b":18239578009413566319,"c":[]},{}],"d":10003317158754670853281,"e":1E-8,"#,
            r#""f":"x\"y\\,:]}é","g":[true,false,null,0.1234567890123456789012345678],"h":0}"#,
        );
        assert_eq!(printed(frame).as_deref(), Ok(frame));
        let spaced = " { \"a\" : [ 1 ,\n2.50\t, { } ] ,\r\n \"b\":-0.1e+5 } \n";
        assert_eq!(printed(spaced).as_deref(), Ok(r#"{"a":[1,2.50,{}],"b":-0.1e+5}"#));
    }

    #[test]
    fn numbers_are_found_in_any_order_of_reading() {
        let found = Reader::new().read(br#"[10,[20,{"k":30}],40]"#, |json| {
            let all: Vec<Json<'_>> = json.elements().collect();
            let inner = all[1]
                .elements()
                .nth(1)
                .and_then(|object| object.get("k"))
                .expect("it is there");
            Ok([all[2], inner, all[0], all[2]].map(|value| value.text().map(str::to_owned)))
        });
        assert_eq!(
            found,
            Ok(["40", "30", "10", "40"].map(|text| Some(text.to_owned())))
        );
    }

    #[test]
    fn broken_frames_are_refused_by_name() {
        let reason = |frame: &[u8]| {
            Reader::new()
                .read(frame, |_| Ok(()))
                .map_err(|invalid| invalid.reason)
        };
        for frame in [
            &b""[..],
            b" ",
            b"{",
            b"pong",
            b"{\"a\":1",
            b"[1,]",
            b"{\"a\" 1}",
            b"[01]",
            b"[1]x",
            b"[NaN]",
            b"\0",
        ] {
            assert_eq!(reason(frame), Err(Reason::NotJson), "{frame:?}");
        }
        assert_eq!(reason(b"[\"\xff\"]"), Err(Reason::NotUtf8));
        assert_eq!(reason("[".repeat(1000).as_bytes()), Err(Reason::TooDeep));
        assert_eq!(reason(&vec![b' '; MAX_FRAME_BYTES + 1]), Err(Reason::TooLarge));
    }

    #[test]
    fn a_reader_goes_on_after_a_bad_frame_and_gives_back_what_a_huge_one_took() {
        let mut reader = Reader::new();
        let huge = format!("[{}1]", "1,".repeat(RETAINED_BYTES));
        assert!(reader.read(b"[1", |_| Ok(())).is_err());
        assert_eq!(
            reader.read(huge.as_bytes(), |json| Ok(json.elements().left())),
            Ok(RETAINED_BYTES + 1)
        );
        assert_eq!(reader.scratch.capacity(), 0);
        assert_eq!(reader.read(b"[7]", |json| Ok(json.elements().count())), Ok(1));
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            ".{0,12}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                proptest::collection::btree_map(".{0,6}", inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_an_independent_writer_wrote_reads_the_same(value in any_json()) {
            let frame = value.to_string();
            prop_assert_eq!(printed(&frame), Ok(frame));
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused_without_a_panic(
            frame in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = Reader::new().read(&frame, |json| { print(json, &mut String::new()); Ok(()) });
        }
    }
}
