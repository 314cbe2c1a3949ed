//! API keys as text: what a reader must make of each.

use trinity_protocol::ApiKey;

use super::key;
use super::vector::{ApiKeyExpect, ApiKeyVector, KeyHex, hex};

pub(crate) fn all() -> Vec<ApiKeyVector> {
    let secret: [u8; 32] = core::array::from_fn(|i| i as u8);
    let text = key().expose().to_string();
    let (prefix, rest) = text.split_at("tb_live_".len());
    let replaced = |at: usize, with: &str| {
        let mut text = text.clone();
        text.replace_range(at..=at, with);
        text
    };
    let mut swapped = text.clone().into_bytes();
    swapped.swap(14, 15);
    let swapped = String::from_utf8(swapped).expect("ASCII");
    let confusable = format!("{prefix}{}", rest.replace('0', "o").replace('1', "l"));
    let largest = ApiKey::from_parts(i64::MAX as u64, [0xFF; 32]).expect("in range");
    vec![
        good(
            "plain",
            "A key as it is shown; SPEC.md works it out.",
            text.clone(),
            &key(),
            secret,
        ),
        good(
            "lower_case",
            "Case does not matter after the prefix.",
            format!("{prefix}{}", rest.to_lowercase()),
            &key(),
            secret,
        ),
        good(
            "white_space_around",
            "White space around the key is no error.",
            format!("  {text}\r\n"),
            &key(),
            secret,
        ),
        good(
            "confusable_letters",
            "I and L read as 1, O as 0, as Crockford has it.",
            confusable,
            &key(),
            secret,
        ),
        good(
            "largest",
            "The largest key id and secret.",
            largest.expose().to_string(),
            &largest,
            [0xFF; 32],
        ),
        bad("empty", "Nothing.", String::new(), "prefix"),
        bad(
            "foreign_prefix",
            "Another service's key.",
            replaced(0, "s"),
            "prefix",
        ),
        bad(
            "prefix_upper_case",
            "The prefix is lower case.",
            format!("TB_LIVE_{rest}"),
            "prefix",
        ),
        bad(
            "one_character_missing",
            "The last character was not copied.",
            text[..text.len() - 1].to_owned(),
            "length",
        ),
        bad(
            "one_character_more",
            "One character too many.",
            format!("{text}0"),
            "length",
        ),
        bad(
            "separator_missing",
            "Where the underscore belongs there is none.",
            replaced(8 + 13, "0"),
            "length",
        ),
        bad(
            "letter_u",
            "U is not in the alphabet.",
            replaced(30, "U"),
            "character",
        ),
        bad(
            "not_ascii",
            "A character beyond ASCII takes two bytes.",
            format!("{}\u{E9}{}", &text[..30], &text[32..]),
            "character",
        ),
        bad(
            "one_character_wrong",
            "A typing error in the secret.",
            replaced(40, if text.as_bytes()[40] == b'7' { "8" } else { "7" }),
            "check",
        ),
        bad(
            "two_characters_swapped",
            "Two neighbours of the key id are swapped.",
            swapped,
            "check",
        ),
        bad(
            "check_character_wrong",
            "A typing error in the check character itself.",
            replaced(text.len() - 1, if text.ends_with('7') { "8" } else { "7" }),
            "check",
        ),
        bad(
            "key_id_zero",
            "Key id 0 means no key.",
            with_key_id("0000000000000", &secret),
            "key_id",
        ),
        bad(
            "key_id_beyond_63_bits",
            "Key ids end at 2^63 - 1.",
            with_key_id("8000000000000", &secret),
            "key_id",
        ),
        bad(
            "key_id_beyond_64_bits",
            "13 characters hold 65 bits; the first must be zero.",
            with_key_id("G000000000000", &secret),
            "key_id",
        ),
        bad(
            "filling_bits_not_zero",
            "The last character of the secret holds four bits that must be zero.",
            with_check("028T5CY4TQKFF", &filled(&secret)),
            "character",
        ),
    ]
}

fn good(
    name: &'static str,
    meaning: &'static str,
    text: String,
    key: &ApiKey,
    secret: [u8; 32],
) -> ApiKeyVector {
    let expect = ApiKeyExpect {
        form: "ok",
        key: Some(KeyHex::new(key, secret)),
        verifier: Some(hex(key.verifier().as_bytes())),
    };
    ApiKeyVector {
        name,
        meaning,
        text,
        expect,
    }
}

fn bad(name: &'static str, meaning: &'static str, text: String, form: &'static str) -> ApiKeyVector {
    let expect = ApiKeyExpect {
        form,
        key: None,
        verifier: None,
    };
    ApiKeyVector {
        name,
        meaning,
        text,
        expect,
    }
}

/// A key text with a fitting check character whose key id no ledger gives out.
fn with_key_id(id: &str, secret: &[u8; 32]) -> String {
    with_check(id, &base32(secret))
}

/// The secret's text with the lowest filling bit set.
fn filled(secret: &[u8; 32]) -> String {
    let mut text = base32(secret);
    let last = text.pop().expect("52 characters");
    assert_eq!(last, 'G', "the worked secret ends in a set bit");
    text.push('H');
    text
}

fn base32(secret: &[u8; 32]) -> String {
    let text = trinity_protocol::base32::encode_bytes32(secret);
    String::from_utf8(text.to_vec()).expect("base32 is ASCII")
}

fn with_check(id: &str, secret: &str) -> String {
    let mut product = 36;
    for character in id.chars().chain(secret.chars()) {
        let sum = (product + character.to_digit(36).expect("letters and digits")) % 36;
        product = if sum == 0 { 36 } else { sum } * 2 % 37;
    }
    let check = char::from_digit((37 - product) % 36, 36).expect("below 36");
    format!("tb_live_{id}_{secret}{}", check.to_ascii_uppercase())
}
