//! Exact decimal text of a mantissa and an exponent.

use core::fmt;

/// Prints `mantissa x 10^exponent` as plain decimal text, exactly: no float in between,
/// no scientific notation, every digit the exponent promises (`2263950000` at -5 is
/// `22639.50000`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecimalText {
    /// Units of 10^exponent.
    pub mantissa: i64,
    /// Decimal exponent, -128 to 127.
    pub exponent: i8,
}

impl fmt::Display for DecimalText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mantissa < 0 {
            f.write_str("-")?;
        }
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        let mut rest = self.mantissa.unsigned_abs();
        while rest != 0 || start == digits.len() {
            start -= 1;
            digits[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let digits = core::str::from_utf8(&digits[start..]).unwrap_or_default();
        if self.exponent >= 0 {
            f.write_str(digits)?;
            if self.mantissa != 0 {
                (0..self.exponent).try_for_each(|_| f.write_str("0"))?;
            }
            return Ok(());
        }
        let fraction = usize::from(self.exponent.unsigned_abs());
        if digits.len() > fraction {
            let (whole, part) = digits.split_at(digits.len() - fraction);
            return write!(f, "{whole}.{part}");
        }
        f.write_str("0.")?;
        (digits.len()..fraction).try_for_each(|_| f.write_str("0"))?;
        f.write_str(digits)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::*;

    #[test]
    fn text_is_exact_at_every_exponent() {
        for (mantissa, exponent, text) in [
            (2_263_950_000, -5, "22639.50000"),
            (5, -8, "0.00000005"),
            (-5, -1, "-0.5"),
            (12, 3, "12000"),
            (0, 5, "0"),
            (0, -2, "0.00"),
            (i64::MIN, -18, "-9.223372036854775808"),
            (i64::MAX, 0, "9223372036854775807"),
        ] {
            assert_eq!(DecimalText { mantissa, exponent }.to_string(), text);
        }
    }
}
