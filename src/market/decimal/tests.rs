use super::*;
use proptest::prelude::*;

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn fields(text: &str) -> (i64, i8) {
    let value = decimal(text);
    (value.mantissa(), value.exponent())
}

#[test]
fn text_becomes_the_mantissa_and_exponent_it_spells() {
    assert_eq!(fields("65083.67"), (6_508_367, -2));
    assert_eq!(fields("-0.00271700"), (-2717, -6));
    assert_eq!(fields("+12"), (12, 0));
    assert_eq!(fields("1E-8"), (1, -8));
    assert_eq!(fields("1.504E-5"), (1504, -8));
    assert_eq!(fields("6.9e+05"), (69, 4));
    assert_eq!(fields(".5"), (5, -1));
    assert_eq!(fields("5."), (5, 0));
    assert_eq!(fields("000123.4500"), (12345, -2));
    assert_eq!(fields("100200"), (1002, 2));
}

#[test]
fn every_spelling_of_one_value_is_one_decimal() {
    for text in [
        "1.50",
        "1.5",
        "15e-1",
        "0.00015E4",
        "01.5000000000000000000000000000",
        "+1.5",
    ] {
        assert_eq!(decimal(text), decimal("1.5"), "{text}");
    }
    for text in ["0", "-0", "0.000", "0e99999999999999999999", "00", "-0.0E-7"] {
        assert_eq!(decimal(text), Decimal::ZERO, "{text}");
    }
    assert_eq!(decimal("1e130"), Decimal::new(1000, 127));
    assert_eq!(Decimal::new(1500, -3), decimal("1.5"));
}

#[test]
fn digits_beyond_the_eighteenth_are_cut_toward_zero() {
    assert_eq!(
        fields("10394749.066094351423000000000000000095"),
        (103_947_490_660_943_514, -10)
    );
    assert_eq!(fields("0.08200000000000000000"), (82, -3));
    assert_eq!(fields("123456789012345678999"), (123_456_789_012_345_678, 3));
    assert_eq!(fields("-9999999999999999999"), (-999_999_999_999_999_999, 1));
    assert_eq!(fields("1000000000000000000000001"), (1, 24));
    assert_eq!(fields("1.000000000000000000000001"), (1, 0));
}

#[test]
fn what_is_no_number_is_refused_by_name() {
    use DecimalError::{Empty, ExponentRange, Malformed};
    for (text, error) in [
        ("", Empty),
        ("0.-10000", Malformed),
        ("NaN", Malformed),
        ("inf", Malformed),
        ("-Infinity", Malformed),
        ("-", Malformed),
        (".", Malformed),
        ("1..2", Malformed),
        ("1.2.3", Malformed),
        ("1e", Malformed),
        ("1e+", Malformed),
        ("e5", Malformed),
        ("1e5.0", Malformed),
        ("1,000.0", Malformed),
        (" 1", Malformed),
        ("1 ", Malformed),
        ("--1", Malformed),
        ("0x10", Malformed),
        ("1_000", Malformed),
        ("\u{663}", Malformed),
        ("1e200", ExponentRange),
        ("1e-129", ExponentRange),
        ("1e99999999999999999999999999", ExponentRange),
        ("1e-99999999999999999999999999", ExponentRange),
    ] {
        assert_eq!(Decimal::parse(text), Err(error), "{text:?}");
    }
    assert_eq!(Decimal::parse_bytes(b"1\xff"), Err(Malformed));
}

#[test]
fn floats_become_their_shortest_decimal() {
    for (float, text) in [
        (0.1, "0.1"),
        (5112.85, "5112.85"),
        (1e-8, "0.00000001"),
        (65843.7, "65843.7"),
        (-0.000_17, "-0.00017"),
        (0.0, "0"),
        (1e21, "1000000000000000000000"),
    ] {
        assert_eq!(
            Decimal::from_f64_shortest(float)
                .map(|d| d.to_string())
                .as_deref(),
            Ok(text)
        );
    }
    for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(Decimal::from_f64_shortest(float), Err(DecimalError::NotFinite));
    }
    assert_eq!(
        Decimal::from_f64_shortest(f64::MAX),
        Err(DecimalError::ExponentRange)
    );
}

#[test]
fn rescaling_rounds_half_to_even_and_refuses_overflow() {
    for (text, exponent, expected) in [
        ("65083.67", -8, Some(6_508_367_000_000)),
        ("2.5", 0, Some(2)),
        ("3.5", 0, Some(4)),
        ("-2.5", 0, Some(-2)),
        ("-3.5", 0, Some(-4)),
        ("2.51", 0, Some(3)),
        ("2.49", 0, Some(2)),
        ("0.5", 0, Some(0)),
        ("0.51", 0, Some(1)),
        ("999999999999999999", 19, Some(0)),
        ("999999999999999999", 18, Some(1)),
        ("5e-100", 0, Some(0)),
        ("1", -18, Some(1_000_000_000_000_000_000)),
        ("10", -18, None),
        ("1e100", 0, None),
        ("1e100", 100, Some(1)),
        ("0", -128, Some(0)),
    ] {
        assert_eq!(decimal(text).rescale(exponent), expected, "{text} at {exponent}");
    }
    assert_eq!(Decimal::new(i64::MIN, 0).rescale(0), Some(i64::MIN));
}

#[test]
fn display_is_plain_exact_text() {
    for text in [
        "0",
        "1",
        "-1",
        "0.001",
        "-0.00271",
        "65083.67",
        "123000",
        "0.000000454",
    ] {
        assert_eq!(decimal(text).to_string(), text);
    }
    assert_eq!(decimal("1e-128").to_string().len(), 130);
    assert_eq!(Decimal::new(i64::MIN, 127).to_string().len(), 147);
    assert_eq!(format!("{:>8}", decimal("-1.5")), "    -1.5");
}

#[test]
fn order_is_by_value() {
    let ascending = [
        "-1e20", "-2", "-1.5", "-1e-9", "0", "1e-128", "0.1", "0.11", "1", "9.99", "10", "1e127",
    ];
    for (i, a) in ascending.iter().enumerate() {
        for (j, b) in ascending.iter().enumerate() {
            assert_eq!(decimal(a).cmp(&decimal(b)), i.cmp(&j), "{a} {b}");
        }
    }
}

fn any_decimal() -> impl Strategy<Value = Decimal> {
    (any::<i64>(), any::<i8>()).prop_map(|(m, e)| Decimal::new(m, e))
}

proptest! {
    #[test]
    fn arbitrary_text_is_read_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = Decimal::parse_bytes(&bytes);
    }

    #[test]
    fn number_like_text_is_read_or_refused_without_a_panic(text in "[+-]?[0-9]{0,40}[.]?[0-9]{0,40}([eE][+-]?[0-9]{0,25})?") {
        let _ = Decimal::parse(&text);
    }

    #[test]
    fn plain_text_reads_back_as_itself(
        mantissa in -999_999_999_999_999_999_i64..=999_999_999_999_999_999,
        exponent in any::<i8>(),
    ) {
        let value = Decimal::new(mantissa, exponent);
        prop_assert_eq!(Decimal::parse(&value.to_string()), Ok(value));
        prop_assert_eq!(Decimal::parse(&format!("{mantissa}e{exponent}")), Ok(value));
    }

    #[test]
    fn truncation_stays_within_one_unit_of_the_eighteenth_digit(digits in "[1-9][0-9]{17,30}") {
        let read = Decimal::parse(&digits).expect("digits are a number");
        let text = read.to_string();
        prop_assert_eq!(text.len(), digits.len());
        prop_assert_eq!(&text[..18], &digits[..18]);
        prop_assert!(text[18..].bytes().all(|b| b == b'0'));
    }

    #[test]
    fn floats_survive_the_way_through_text(value in -1e15_f64..1e15) {
        let read = Decimal::from_f64_shortest(value).expect("finite");
        prop_assert_eq!(read.to_string().parse::<f64>(), Ok(value));
    }

    #[test]
    fn order_agrees_with_wide_integers(a in any::<i64>(), b in any::<i64>(), e in -9_i8..=9, f in -9_i8..=9) {
        let wide = |m: i64, e: i8| i128::from(m) * 10_i128.pow(u32::try_from(e + 9).expect("positive"));
        prop_assert_eq!(Decimal::new(a, e).cmp(&Decimal::new(b, f)), wide(a, e).cmp(&wide(b, f)));
    }

    #[test]
    fn order_is_antisymmetric(a in any_decimal(), b in any_decimal()) {
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a.cmp(&b) == Ordering::Equal, a == b);
    }

    #[test]
    fn rescaling_is_within_half_a_unit(mantissa in any::<i64>(), exponent in -18_i8..=0) {
        let value = Decimal::new(mantissa, exponent);
        let whole = i128::from(value.rescale(0).expect("a smaller magnitude fits"));
        let unit = 10_i128.pow(exponent.unsigned_abs().into());
        prop_assert!((whole * unit - i128::from(mantissa)).abs() * 2 <= unit);
    }
}
