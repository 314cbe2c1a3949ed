//! Files that are one JSON value over many lines.

use serde::Deserialize;
use serde_json::value::RawValue;

/// Brackets that are open, outside of strings.
#[derive(Default)]
pub(super) struct Depth {
    open: i64,
    in_string: bool,
    escaped: bool,
}

impl Depth {
    /// Goes on over more text.
    pub(super) fn add(&mut self, text: &[u8]) {
        for byte in text {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.open += 1,
                b'}' | b']' => self.open -= 1,
                _ => {}
            }
        }
    }

    /// Whether the value goes on in the next line.
    pub(super) fn is_open(&self) -> bool {
        self.open > 0
    }
}

/// Whether a file that begins with this line is one value over many lines: the line opens more
/// than it closes, and ends where such a line is broken. A line that was cut seldom ends so.
pub(super) fn begins(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let mut depth = Depth::default();
    depth.add(line);
    line.starts_with(b"{") | line.starts_with(b"[")
        && depth.is_open()
        && !depth.in_string
        && matches!(line.last(), Some(b'{' | b'[' | b','))
}

/// The frames of `{"init":frame,"updates":[frame..]}`, each with the number of line ends before it.
pub(super) fn init_and_updates(text: &[u8]) -> Option<Vec<(u64, &str)>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File<'a> {
        #[serde(borrow)]
        init: &'a RawValue,
        #[serde(borrow)]
        updates: Vec<&'a RawValue>,
    }
    if !text.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let file: File<'_> = serde_json::from_str(text).ok()?;
    let (mut lines, mut at) = (0, 0);
    let mut frames = Vec::with_capacity(file.updates.len() + 1);
    for frame in std::iter::once(file.init).chain(file.updates) {
        // The frames are slices of the text.
        let start = frame.get().as_ptr() as usize - text.as_ptr() as usize;
        if start >= at {
            lines += text[at..start].matches('\n').count() as u64;
            at = start;
        }
        frames.push((lines, frame.get()));
    }
    Some(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unfinished_line_begins_a_long_value() {
        for line in ["{", " [", r#"{"init": {"#, r#"{"error": [],"#, r#"[{"a":1},"#] {
            assert!(begins(line.as_bytes()), "{line}");
        }
        for line in [
            "{}",
            r#"{"a":"{[","b":1}"#,
            r#"{"t":"recv","ts":161"#,
            r#"{"data":"x{"#,
            "pong",
            "",
            r#"[1,2],"#,
            r#"{"a":"\\"}"#,
        ] {
            assert!(!begins(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn init_and_updates_are_frames_in_the_venues_own_digits_with_their_lines() {
        let text = "{\n \"updates\": [\n  {\"p\":1.50},\n  [2]\n ],\n \"init\": {\"p\":29000.10}\n}";
        let frames = init_and_updates(text.as_bytes()).expect("the form");
        assert_eq!(
            frames.iter().map(|(_, frame)| *frame).collect::<Vec<_>>(),
            [r#"{"p":29000.10}"#, r#"{"p":1.50}"#, "[2]"]
        );
        let text = "{\n \"init\": {\"p\":29000.10},\n \"updates\": [\n  {\"p\":1.50},\n  [2]\n ]}";
        let lines: Vec<_> = init_and_updates(text.as_bytes())
            .expect("the form")
            .into_iter()
            .map(|(line, _)| line)
            .collect();
        assert_eq!(lines, [1, 3, 4]);
        for other in [
            r#"{"init":1}"#,
            r#"{"init":1,"updates":2}"#,
            r#"{"init":1,"updates":[],"x":1}"#,
            "[1,[2]]",
            "x",
        ] {
            assert!(init_and_updates(other.as_bytes()).is_none(), "{other}");
        }
    }
}
