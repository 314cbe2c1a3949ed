//! Exact decimal numbers as venues write them.
//!
//! A venue's price is text. It becomes a mantissa and a power of ten, never a binary
//! fraction, so that two venues that print the same digits give the same number and every
//! node, core and replay computes with the same integers.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};

use thiserror::Error;

/// Significant digits that [`Decimal::parse`] keeps; further digits are cut off.
///
/// 18 digits always fit an `i64`, with a factor of nine to spare.
pub const SIGNIFICANT_DIGITS: u32 = 18;

/// Powers of ten that fit a `u64`.
const POW10: [u64; 20] = {
    let mut table = [1_u64; 20];
    let mut i = 1;
    while i < table.len() {
        table[i] = table[i - 1] * 10;
        i += 1;
    }
    table
};

/// Longest plain text: a sign, 19 digits and 127 zeros, or `-0.` and 128 decimals.
const TEXT_MAX: usize = 152;

/// A decimal number: `mantissa x 10^exponent`, in lowest form.
///
/// Lowest form means that the mantissa has no trailing zero (zero itself is `0 x 10^0`), so
/// equal values have equal fields: `1.50` and `15e-1` are the same `Decimal`. (At exponent 127
/// a trailing zero stays, for want of a larger exponent; that form is unique too.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Decimal {
    mantissa: i64,
    exponent: i8,
}

/// Why a text is not a [`Decimal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecimalError {
    /// No text at all.
    #[error("the number is empty")]
    Empty,
    /// Something else than sign, digits, one point and an exponent, such as `0.-10000` or `NaN`.
    #[error("the text is not a decimal number")]
    Malformed,
    /// The value needs a power of ten outside -128 to 127.
    #[error("the number is too large or too small: its power of ten is outside -128 to 127")]
    ExponentRange,
    /// A binary float that is infinite or not a number.
    #[error("the number is not finite")]
    NotFinite,
}

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self {
        mantissa: 0,
        exponent: 0,
    };

    /// `mantissa x 10^exponent`, brought to lowest form.
    pub const fn new(mut mantissa: i64, mut exponent: i8) -> Self {
        if mantissa == 0 {
            return Self::ZERO;
        }
        while mantissa % 10 == 0 && exponent < i8::MAX {
            mantissa /= 10;
            exponent += 1;
        }
        Self { mantissa, exponent }
    }

    /// Reads decimal text: `[+-] digits [. digits] [e [+-] digits]`, with a digit on at least
    /// one side of the point, ASCII only, no surrounding space.
    ///
    /// Up to [`SIGNIFICANT_DIGITS`] significant digits are kept exactly; the rest is cut off
    /// (rounded toward zero). The error is therefore below one unit of the 18th digit, less than
    /// 1 part in 10^17, and zero for every price and size a venue quotes in 18 digits or fewer.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        Self::parse_bytes(text.as_bytes())
    }

    /// [`Decimal::parse`] on bytes that need not be UTF-8; what is not ASCII is malformed.
    pub fn parse_bytes(text: &[u8]) -> Result<Self, DecimalError> {
        if text.is_empty() {
            return Err(DecimalError::Empty);
        }
        let (negative, mut rest) = split_sign(text);

        let mut digits = Digits::default();
        let mut point: Option<u32> = None;
        while let [byte, tail @ ..] = rest {
            match byte {
                b'0'..=b'9' => digits.push(byte - b'0'),
                b'.' if point.is_none() => point = Some(digits.seen),
                b'e' | b'E' => break,
                _ => return Err(DecimalError::Malformed),
            }
            rest = tail;
        }
        if digits.seen == 0 {
            return Err(DecimalError::Malformed);
        }
        let shift = match rest {
            [] => 0,
            [_, exponent @ ..] => parse_exponent(exponent)?,
        };
        if digits.mantissa == 0 {
            return Ok(Self::ZERO);
        }

        // The last kept digit is never 0, so the number is in lowest form already.
        let whole = point.unwrap_or(digits.seen);
        let place = i64::from(whole) - i64::from(digits.last_kept) + shift;
        let magnitude = digits.mantissa as i64;
        let mantissa = if negative { -magnitude } else { magnitude };
        Self::at_exponent(mantissa, place)
    }

    /// The shortest decimal that reads back as this very float, as JSON writers print it.
    ///
    /// For venues that send prices as JSON numbers when the text itself is no longer at hand:
    /// `0.1` gives 0.1, not 0.1000000000000000055.
    pub fn from_f64_shortest(value: f64) -> Result<Self, DecimalError> {
        if !value.is_finite() {
            return Err(DecimalError::NotFinite);
        }
        let mut text = Text::<32>::default();
        // Rust prints the shortest digits that round-trip (Grisu/Dragon); `e` form stays short.
        write!(text, "{value:e}").map_err(|fmt::Error| DecimalError::Malformed)?;
        Self::parse_bytes(text.as_bytes())
    }

    /// The whole number in front of the power of ten.
    pub const fn mantissa(self) -> i64 {
        self.mantissa
    }

    /// The power of ten.
    pub const fn exponent(self) -> i8 {
        self.exponent
    }

    /// Whether the value is zero.
    pub const fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// Whether the value is below zero.
    pub const fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// The mantissa of this value at another exponent, rounded half to even.
    ///
    /// `None` when it does not fit an `i64`. Half to even, because any other rule would push the
    /// median of many venues one way.
    pub fn rescale(self, exponent: i8) -> Option<i64> {
        let shift = i32::from(self.exponent) - i32::from(exponent);
        if self.mantissa == 0 || shift == 0 {
            return Some(self.mantissa);
        }
        let power = POW10.get(shift.unsigned_abs() as usize).copied();
        if shift > 0 {
            let product = i128::from(self.mantissa) * i128::from(power?);
            return i64::try_from(product).ok();
        }
        // |mantissa| < 10^19, so beyond the table the quotient is below one half.
        let Some(divisor) = power else { return Some(0) };
        let mantissa = i128::from(self.mantissa);
        let divisor = i128::from(divisor);
        let (quotient, twice) = (mantissa / divisor, (mantissa % divisor).abs() * 2);
        let away = match twice.cmp(&divisor) {
            Ordering::Less => false,
            Ordering::Equal => quotient % 2 != 0,
            Ordering::Greater => true,
        };
        i64::try_from(quotient + i128::from(away) * mantissa.signum()).ok()
    }

    fn at_exponent(mut mantissa: i64, mut exponent: i64) -> Result<Self, DecimalError> {
        // A number slightly above the range of exponents may still fit with zeros in the mantissa.
        while exponent > i64::from(i8::MAX) {
            match mantissa.checked_mul(10) {
                Some(larger) => (mantissa, exponent) = (larger, exponent - 1),
                None => return Err(DecimalError::ExponentRange),
            }
        }
        let exponent = i8::try_from(exponent).map_err(|_| DecimalError::ExponentRange)?;
        Ok(Self { mantissa, exponent })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    /// By value.
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = self.mantissa.signum();
        if sign != other.mantissa.signum() || sign == 0 {
            return self.mantissa.cmp(&other.mantissa);
        }
        let (a, b) = (self.mantissa.unsigned_abs(), other.mantissa.unsigned_abs());
        let top = |m: u64, e: i8| i32::from(e) + m.ilog10() as i32;
        let magnitude = top(a, self.exponent).cmp(&top(b, other.exponent)).then_with(|| {
            // Equal leading places: the exponents differ by at most 18, and 2^63 x 10^18 < 2^127.
            let shift = i32::from(self.exponent) - i32::from(other.exponent);
            let power = u128::from(POW10[shift.unsigned_abs() as usize]);
            let (a, b) = (u128::from(a), u128::from(b));
            if shift >= 0 {
                (a * power).cmp(&b)
            } else {
                a.cmp(&(b * power))
            }
        });
        if sign < 0 { magnitude.reverse() } else { magnitude }
    }
}

impl fmt::Display for Decimal {
    /// Plain decimal text, exact: no exponent, no trailing zeros after the point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = Text::<20>::default();
        write!(digits, "{}", self.mantissa.unsigned_abs())?;
        let digits = digits.as_bytes();

        let mut text = Text::<TEXT_MAX>::default();
        if self.exponent >= 0 {
            text.push(digits)?;
            text.fill(b'0', self.exponent.unsigned_abs().into())?;
        } else {
            let decimals = usize::from(self.exponent.unsigned_abs());
            let whole = digits.len().saturating_sub(decimals);
            text.push(if whole == 0 { b"0" } else { &digits[..whole] })?;
            text.push(b".")?;
            text.fill(b'0', decimals.saturating_sub(digits.len()))?;
            text.push(&digits[whole..])?;
        }
        let text = std::str::from_utf8(text.as_bytes()).map_err(|_| fmt::Error)?;
        f.pad_integral(self.mantissa >= 0, "", text)
    }
}

impl std::str::FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        Self::parse(text)
    }
}

/// Digits on their way into a mantissa; zeros wait until a digit after them needs them, so that
/// no trailing zero is ever multiplied in and divided out again.
#[derive(Default)]
struct Digits {
    mantissa: u64,
    significant: u32,
    zeros: u32,
    seen: u32,
    /// Digits seen up to and including the last one in the mantissa.
    last_kept: u32,
    full: bool,
}

impl Digits {
    #[inline]
    fn push(&mut self, digit: u8) {
        self.seen = self.seen.saturating_add(1);
        if digit == 0 {
            self.zeros += u32::from(self.significant != 0);
            return;
        }
        let significant = self.significant.saturating_add(self.zeros).saturating_add(1);
        if self.full || significant > SIGNIFICANT_DIGITS {
            self.full = true;
            return;
        }
        self.mantissa = self.mantissa * POW10[self.zeros as usize + 1] + u64::from(digit);
        self.significant = significant;
        self.zeros = 0;
        self.last_kept = self.seen;
    }
}

/// A few bytes of text on the stack; writing past the end is a `fmt::Error`.
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, bytes: &[u8]) -> fmt::Result {
        let end = self.len + bytes.len();
        self.bytes
            .get_mut(self.len..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    fn fill(&mut self, byte: u8, count: usize) -> fmt::Result {
        let end = self.len + count;
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.fill(byte);
        self.len = end;
        Ok(())
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes())
    }
}

/// Whether a number is negative, and what stands behind its sign.
fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    }
}

fn parse_exponent(text: &[u8]) -> Result<i64, DecimalError> {
    let (negative, digits) = split_sign(text);
    if digits.is_empty() {
        return Err(DecimalError::Malformed);
    }
    let mut value = 0_i64;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return Err(DecimalError::Malformed);
        }
        // Far beyond any exponent that can be kept; stopping here prevents an overflow.
        value = (value * 10 + i64::from(byte - b'0')).min(1 << 40);
    }
    Ok(if negative { -value } else { value })
}

#[cfg(test)]
mod tests;
