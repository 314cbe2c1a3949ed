//! Crockford's base32 (<https://www.crockford.com/base32.html>): no I, L, O or U, so that a
//! key read aloud or typed from paper survives.

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters of a 64-bit number.
pub const U64_LEN: usize = 13;
/// Characters of 32 bytes.
pub const BYTES32_LEN: usize = 52;

/// Writes a number, most significant digit first, padded with zeros to 13 characters.
pub fn encode_u64(number: u64) -> [u8; U64_LEN] {
    let mut text = [b'0'; U64_LEN];
    let mut rest = number;
    for digit in text.iter_mut().rev() {
        *digit = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    text
}

/// Reads a number of 1 to 13 characters; `None` for other characters or more than 64 bits.
pub fn decode_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > U64_LEN {
        return None;
    }
    let mut number: u64 = 0;
    for byte in text {
        if number >> 59 != 0 {
            return None;
        }
        number = number << 5 | u64::from(digit(*byte)?);
    }
    Some(number)
}

/// Writes 32 bytes as 52 characters, first bit first; the last character's low four bits
/// are zero.
pub fn encode_bytes32(bytes: &[u8; 32]) -> [u8; BYTES32_LEN] {
    let mut text = [0; BYTES32_LEN];
    for (i, character) in text.iter_mut().enumerate() {
        let bit = i * 5;
        let high = u16::from(bytes[bit / 8]) << 8;
        let low = bytes.get(bit / 8 + 1).map_or(0, |b| u16::from(*b));
        *character = ALPHABET[((high | low) >> (11 - bit % 8) & 31) as usize];
    }
    text
}

/// Reads 52 characters back; `None` for other characters or set bits after the last byte.
pub fn decode_bytes32(text: &[u8]) -> Option<[u8; 32]> {
    if text.len() != BYTES32_LEN {
        return None;
    }
    let mut bytes = [0u8; 32];
    for (i, character) in text.iter().enumerate() {
        let value = u16::from(digit(*character)?) << (11 - i * 5 % 8);
        let byte = i * 5 / 8;
        bytes[byte] |= (value >> 8) as u8;
        match bytes.get_mut(byte + 1) {
            Some(next) => *next |= value as u8,
            None if value as u8 != 0 => return None,
            None => {}
        }
    }
    Some(bytes)
}

/// The value of one character, in either case; I and L read as 1, O as 0, as Crockford has it.
pub const fn digit(character: u8) -> Option<u8> {
    Some(match character.to_ascii_uppercase() {
        b'O' => 0,
        b'I' | b'L' => 1,
        c @ b'0'..=b'9' => c - b'0',
        c @ b'A'..=b'H' => c - b'A' + 10,
        c @ b'J'..=b'K' => c - b'J' + 18,
        c @ b'M'..=b'N' => c - b'M' + 20,
        c @ b'P'..=b'T' => c - b'P' + 22,
        c @ b'V'..=b'Z' => c - b'V' + 27,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_of_the_alphabet_reads_back_as_its_index() {
        for (i, c) in ALPHABET.iter().enumerate() {
            assert_eq!(digit(*c).map(usize::from), Some(i));
            assert_eq!(digit(c.to_ascii_lowercase()).map(usize::from), Some(i));
        }
        assert_eq!(digit(b'U'), None);
    }

    #[test]
    fn numbers_survive_the_round_trip_and_larger_ones_are_refused() {
        for n in [0, 1, 31, 32, 0xDEAD_BEEF, u64::MAX >> 1, u64::MAX] {
            assert_eq!(decode_u64(&encode_u64(n)), Some(n));
        }
        assert_eq!(decode_u64(b"G000000000000"), None, "2^64");
        assert_eq!(decode_u64(b"00000000000000"), None, "14 characters");
        assert_eq!(decode_u64(b""), None);
    }

    #[test]
    fn bytes_survive_the_round_trip_and_padding_bits_must_be_zero() {
        let bytes: [u8; 32] = core::array::from_fn(|i| (i * 37 + 11) as u8);
        let mut text = encode_bytes32(&bytes);
        assert_eq!(decode_bytes32(&text), Some(bytes));
        text[51] = ALPHABET[usize::from(digit(text[51]).expect("encoded")) | 1];
        assert_eq!(decode_bytes32(&text), None);
    }
}
