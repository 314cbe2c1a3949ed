//! Rule 2: a venue's quote in the currency and unit of the symbol it votes on.

use trinity_protocol::PriceStatus;

use super::aggregate::jumps;
use super::evaluate::SymbolState;
use super::explain::Disposition;
use super::quote::Reading;
use super::symbol::{Candidate, SymbolSpec, SymbolTable};

/// Price and confidence in the symbol's currency and exponent, and whether the way
/// there is solid.
///
/// price = a * r, rounded half to even; confidence = conf_a * r + a * conf_r, rounded up, at
/// least 1.
pub(super) fn convert(
    table: &SymbolTable,
    spec: &SymbolSpec,
    candidate: Candidate,
    reading: Reading,
    symbols: &[SymbolState],
) -> Result<(i64, i64, bool), Disposition> {
    let Some(rate) = candidate.rate else {
        return Ok((reading.price, reading.confidence, true));
    };
    let through = &symbols[rate.0 as usize].published;
    // A rate must stand on fresh venues that agree. Thin is allowed, but is told.
    if !matches!(through.status, PriceStatus::Live | PriceStatus::Thin) {
        return Err(Disposition::RateUnusable);
    }
    let priced = table.symbol(table.market(candidate.market).symbol);
    let shift = i32::from(priced.exponent) + i32::from(through.exponent) - i32::from(spec.exponent);
    let rate_confidence = i64::try_from(through.confidence).map_err(|_| Disposition::OutOfRange)?;
    // Two products of positive i64 sum to less than 2^127.
    let (a, r) = (i128::from(reading.price), i128::from(through.mantissa));
    let spread = i128::from(reading.confidence) * r + a * i128::from(rate_confidence);
    let price = scale(a * r, shift, Rounding::HalfEven)
        .filter(|price| *price > 0)
        .ok_or(Disposition::OutOfRange)?;
    let confidence = scale(spread, shift, Rounding::Up)
        .ok_or(Disposition::OutOfRange)?
        .max(1);
    Ok((price, confidence, through.status == PriceStatus::Live))
}

/// One price of a market in the symbol's currency and exponent, as [`convert`] would give it; for
/// what is shown beside the vote. None when it does not fit.
pub(super) fn convert_price(
    table: &SymbolTable,
    spec: &SymbolSpec,
    candidate: Candidate,
    price: i64,
    symbols: &[SymbolState],
) -> Option<i64> {
    let Some(rate) = candidate.rate else {
        return Some(price);
    };
    let through = &symbols[rate.0 as usize].published;
    let priced = table.symbol(table.market(candidate.market).symbol);
    let shift = i32::from(priced.exponent) + i32::from(through.exponent) - i32::from(spec.exponent);
    scale(
        i128::from(price) * i128::from(through.mantissa),
        shift,
        Rounding::HalfEven,
    )
}

/// Whether a price is further than `peg_bps` from one unit of its quote currency.
pub(super) fn is_off_peg(mantissa: i64, exponent: i8, peg_bps: u32) -> bool {
    // A unit that does not fit is further from any mantissa than can be told here; the symbol
    // table has no such pegged symbol.
    let places = exponent
        .checked_neg()
        .and_then(|places| u32::try_from(places).ok());
    places
        .and_then(|places| 10_i64.checked_pow(places))
        .is_some_and(|one| jumps(one, mantissa, peg_bps))
}

#[derive(Clone, Copy)]
enum Rounding {
    HalfEven,
    Up,
}

/// `value * 10^shift` of a value that is not negative, None when it does not fit an i64.
fn scale(value: i128, shift: i32, rounding: Rounding) -> Option<i64> {
    let factor = 10i128.checked_pow(shift.unsigned_abs());
    let scaled = if shift >= 0 {
        value.checked_mul(factor?)?
    } else {
        let Some(factor) = factor else {
            // A unit above every i128: the value is less than half of it.
            return Some(i64::from(matches!(rounding, Rounding::Up) && value > 0));
        };
        let (quotient, rest) = (value / factor, value % factor);
        let up = match rounding {
            Rounding::Up => rest > 0,
            // Written without doubling the rest, which could leave the i128.
            Rounding::HalfEven => rest > factor - rest || (rest == factor - rest && quotient % 2 == 1),
        };
        quotient + i128::from(up)
    };
    i64::try_from(scaled).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prices_round_half_to_even_and_uncertainty_always_up() {
        for (value, even, up) in [
            (0, 0, 0),
            (1, 0, 1),
            (49, 0, 1),
            (50, 0, 1),
            (51, 1, 1),
            (99, 1, 1),
            (100, 1, 1),
            (149, 1, 2),
            (150, 2, 2),
            (250, 2, 3),
        ] {
            assert_eq!(scale(value, -2, Rounding::HalfEven), Some(even), "{value}");
            assert_eq!(scale(value, -2, Rounding::Up), Some(up), "{value}");
        }
        assert_eq!(scale(7, 3, Rounding::HalfEven), Some(7_000));
    }

    #[test]
    fn what_does_not_fit_is_none() {
        assert_eq!(scale(i128::from(i64::MAX), 0, Rounding::Up), Some(i64::MAX));
        assert_eq!(scale(i128::from(i64::MAX) + 1, 0, Rounding::Up), None);
        assert_eq!(scale(1, 19, Rounding::Up), None);
        assert_eq!(scale(1, 60, Rounding::Up), None);
        assert_eq!(scale(i128::MAX, -60, Rounding::HalfEven), Some(0));
        assert_eq!(scale(1, -60, Rounding::Up), Some(1));
        assert_eq!(scale(i128::MAX, -38, Rounding::HalfEven), Some(2));
    }

    #[test]
    fn a_peg_is_left_beyond_its_bps_on_either_side_and_not_at_them() {
        for (mantissa, off) in [
            (99_000_000, false),
            (98_999_999, true),
            (101_000_000, false),
            (101_000_001, true),
            (1, true),
        ] {
            assert_eq!(is_off_peg(mantissa, -8, 100), off, "{mantissa}");
        }
        assert!(!is_off_peg(1, 0, 0));
        assert!(is_off_peg(2, 0, 9_999));
        for exponent in [i8::MIN, -19, 1, i8::MAX] {
            assert!(!is_off_peg(i64::MAX, exponent, 0), "{exponent}: cannot be told");
        }
    }

    proptest! {
        #[test]
        fn rounding_is_off_by_half_a_unit_at_most(value in 0..=i128::from(i64::MAX), places in 0_i32..=30) {
            let unit = 10_i128.pow(places.unsigned_abs());
            let even = i128::from(scale(value, -places, Rounding::HalfEven).expect("it became smaller"));
            prop_assert!((even * unit - value).abs() * 2 <= unit);
            let up = i128::from(scale(value, -places, Rounding::Up).expect("it became smaller"));
            prop_assert!((0..unit).contains(&(up * unit - value)));
        }
    }
}
