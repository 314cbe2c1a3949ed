//! Symbols as they travel: 16 bytes, ASCII upper case, NUL padded.

use core::fmt;

/// A symbol's name, 1 to 16 ASCII characters, no lower case, no spaces or control
/// characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol([u8; 16]);

/// Why a text is no symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolError {
    /// No character at all.
    Empty,
    /// More than 16 characters.
    TooLong,
    /// A character other than printable ASCII without spaces and lower case.
    Character,
}

impl Symbol {
    /// Takes a name as it is; lower case is refused.
    pub const fn new(name: &str) -> Result<Self, SymbolError> {
        let bytes = name.as_bytes();
        if bytes.is_empty() {
            return Err(SymbolError::Empty);
        }
        if bytes.len() > 16 {
            return Err(SymbolError::TooLong);
        }
        let mut padded = [0; 16];
        let mut i = 0;
        while i < bytes.len() {
            if !is_symbol_byte(bytes[i]) {
                return Err(SymbolError::Character);
            }
            padded[i] = bytes[i];
            i += 1;
        }
        Ok(Self(padded))
    }

    /// Takes a name in any case, as people type it.
    pub fn from_any_case(name: &str) -> Result<Self, SymbolError> {
        let mut upper = [0; 16];
        let bytes = name.as_bytes();
        if bytes.len() > upper.len() {
            return Err(SymbolError::TooLong);
        }
        upper[..bytes.len()].copy_from_slice(bytes);
        upper.make_ascii_uppercase();
        core::str::from_utf8(&upper[..bytes.len()])
            .map_err(|_| SymbolError::Character)
            .and_then(Self::new)
    }

    /// Takes the 16 bytes of a request entry, if they are a symbol.
    pub fn from_wire(bytes: [u8; 16]) -> Result<Self, SymbolError> {
        let len = bytes.iter().position(|b| *b == 0).unwrap_or(16);
        if len == 0 {
            return Err(SymbolError::Empty);
        }
        if bytes[..len].iter().any(|b| !is_symbol_byte(*b)) || bytes[len..].iter().any(|b| *b != 0) {
            return Err(SymbolError::Character);
        }
        Ok(Self(bytes))
    }

    /// The 16 bytes of a request entry.
    pub const fn to_wire(self) -> [u8; 16] {
        self.0
    }

    /// The name without padding.
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|b| *b == 0).unwrap_or(16);
        // Every constructor lets ASCII only through; an empty name would be a visible bug, not a panic.
        core::str::from_utf8(&self.0[..len]).unwrap_or_default()
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Symbol({})", self.as_str())
    }
}

impl fmt::Display for SymbolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a symbol needs at least one character, for example BTC-USD",
            Self::TooLong => "a symbol has at most 16 characters",
            Self::Character => "a symbol is printable ASCII without spaces, for example BTC-USD",
        })
    }
}

impl core::error::Error for SymbolError {}

const fn is_symbol_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !byte.is_ascii_lowercase()
}
