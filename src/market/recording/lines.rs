//! Lines of a plain or gzip file, one at a time, in bounded memory.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use crate::market::venue::MAX_FRAME_BYTES;

/// Longest line that is read, bytes: the largest frame with every byte escaped, and its envelope.
pub const MAX_LINE_BYTES: usize = 2 * MAX_FRAME_BYTES + 4_096;

/// A buffer grown beyond this by one long line is given back before the next.
const KEPT_LINE_BYTES: usize = 1 << 20;

const READ_BUFFER_BYTES: usize = 64 << 10;

pub(in crate::market) struct Lines {
    input: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    number: u64,
}

pub(in crate::market) enum Line<'a> {
    /// A line without its end; `terminated` is false for what stands after the last line end.
    Text { text: &'a [u8], terminated: bool },
    /// A line longer than [`MAX_LINE_BYTES`], skipped.
    TooLong,
}

impl Lines {
    /// Reads `input` as gzip if it begins like it, else as it is.
    pub(in crate::market) fn new(input: impl Read + Send + 'static) -> io::Result<Self> {
        let mut plain = BufReader::with_capacity(READ_BUFFER_BYTES, input);
        let gzip = plain.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        let input: Box<dyn BufRead + Send> = if gzip {
            Box::new(BufReader::with_capacity(
                READ_BUFFER_BYTES,
                MultiGzDecoder::new(plain),
            ))
        } else {
            Box::new(plain)
        };
        Ok(Self {
            input,
            line: Vec::new(),
            number: 0,
        })
    }

    /// Number of the line last returned, from 1.
    pub(in crate::market) fn number(&self) -> u64 {
        self.number
    }

    /// The next line; None at the end. What stands before an error without a line end is lost
    /// with it: half a number must not pass for a whole one.
    pub(in crate::market) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        self.line.shrink_to(KEPT_LINE_BYTES);
        let mut too_long = false;
        let terminated = loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                if self.line.is_empty() && !too_long {
                    return Ok(None);
                }
                break false;
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            too_long |= self.line.len() + part.len() > MAX_LINE_BYTES;
            if !too_long {
                self.line.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                break true;
            }
        };
        self.number += 1;
        if too_long {
            return Ok(Some(Line::TooLong));
        }
        let text = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        Ok(Some(Line::Text { text, terminated }))
    }
}
