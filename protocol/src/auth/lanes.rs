//! Tags of many messages under one key, side by side in SIMD lanes.
//!
//! What a tag covers is a whole number of half blocks within one BLAKE3 chunk, so the messages
//! of a train can be hashed like the chunks of one long input: the same steps at the same time,
//! one message a lane. [`blake3::platform`] has that path, and for a message alone one without the
//! steps that only longer inputs need. It is not a stable interface, so the
//! workspace pins the crate's exact version, and tests hold this file against
//! [`blake3::keyed_hash`].

use blake3::IncrementCounter;
use blake3::platform::Platform;

use super::Tag;
use crate::{ENTRY_LEN, HEADER_LEN, MAX_ENTRIES, TAG_LEN};

/// Messages hashed by one call: the lanes of the widest instructions there are.
const LANES: usize = 16;
const BLOCK: usize = 64;
const CV: usize = 32;

// Flags of the BLAKE3 specification, section 2.2.
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 1 << 1;
const ROOT: u8 = 1 << 3;
const KEYED_HASH: u8 = 1 << 4;
const END: u8 = CHUNK_END | ROOT;

const _: () = assert!(HEADER_LEN == BLOCK / 2 && ENTRY_LEN == BLOCK / 2 && MAX_ENTRIES == 31);

/// Whether messages of this length can be hashed side by side: a header and 0 to 31 entries.
pub(super) const fn fits(len: usize) -> bool {
    len >= HEADER_LEN && len <= HEADER_LEN + MAX_ENTRIES * ENTRY_LEN && len.is_multiple_of(ENTRY_LEN)
}

/// Tags of messages that are all of the first one's length, which must [`fits`]; each goes to
/// `tag` with its position.
pub(super) fn tags(key: &[u8; 32], messages: &[&[u8]], mut tag: impl FnMut(usize, Tag)) {
    let key = words(key);
    let platform = Platform::detect();
    let len = messages.first().map_or(0, |message| message.len());
    for (part, messages) in messages.chunks(LANES).enumerate() {
        let mut hashes = [0; LANES * CV];
        let hashes = &mut hashes[..messages.len() * CV];
        let end = if len.is_multiple_of(BLOCK) { END } else { 0 };
        match len / BLOCK {
            0 => {}
            1 => blocks::<{ BLOCK }>(platform, &key, end, messages, hashes),
            2 => blocks::<{ 2 * BLOCK }>(platform, &key, end, messages, hashes),
            3 => blocks::<{ 3 * BLOCK }>(platform, &key, end, messages, hashes),
            4 => blocks::<{ 4 * BLOCK }>(platform, &key, end, messages, hashes),
            5 => blocks::<{ 5 * BLOCK }>(platform, &key, end, messages, hashes),
            6 => blocks::<{ 6 * BLOCK }>(platform, &key, end, messages, hashes),
            7 => blocks::<{ 7 * BLOCK }>(platform, &key, end, messages, hashes),
            8 => blocks::<{ 8 * BLOCK }>(platform, &key, end, messages, hashes),
            9 => blocks::<{ 9 * BLOCK }>(platform, &key, end, messages, hashes),
            10 => blocks::<{ 10 * BLOCK }>(platform, &key, end, messages, hashes),
            11 => blocks::<{ 11 * BLOCK }>(platform, &key, end, messages, hashes),
            12 => blocks::<{ 12 * BLOCK }>(platform, &key, end, messages, hashes),
            13 => blocks::<{ 13 * BLOCK }>(platform, &key, end, messages, hashes),
            14 => blocks::<{ 14 * BLOCK }>(platform, &key, end, messages, hashes),
            15 => blocks::<{ 15 * BLOCK }>(platform, &key, end, messages, hashes),
            16 => blocks::<{ 16 * BLOCK }>(platform, &key, end, messages, hashes),
            _ => unreachable!("the length was found to fit"),
        }
        let whole = len / BLOCK * BLOCK;
        for (lane, (hash, message)) in hashes.chunks_exact_mut(CV).zip(messages).enumerate() {
            if whole < len {
                finish(platform, &key, &message[whole..], whole == 0, hash);
            }
            let mut tag_bytes = [0; TAG_LEN];
            tag_bytes.copy_from_slice(&hash[..TAG_LEN]);
            tag(part * LANES + lane, tag_bytes);
        }
    }
}

/// The tag of one message, whose length [`fits`].
#[inline]
pub(super) fn tag(key: &[u8; 32], message: &[u8]) -> Tag {
    let platform = Platform::detect();
    let mut cv = words(key);
    let (blocks, rest) = message.as_chunks::<BLOCK>();
    let last = if rest.is_empty() {
        blocks.len() - 1
    } else {
        blocks.len()
    };
    let mut flags = KEYED_HASH | CHUNK_START;
    for block in &blocks[..last] {
        platform.compress_in_place(&mut cv, block, BLOCK as u8, 0, flags);
        flags = KEYED_HASH;
    }
    let (mut block, mut len) = ([0; BLOCK], BLOCK);
    if let Some(whole) = blocks.get(last) {
        block = *whole;
    } else {
        block[..rest.len()].copy_from_slice(rest);
        len = rest.len();
    }
    platform.compress_in_place(&mut cv, &block, len as u8, 0, flags | END);
    let mut tag = [0; TAG_LEN];
    for (bytes, word) in tag.as_chunks_mut::<4>().0.iter_mut().zip(cv) {
        *bytes = word.to_le_bytes();
    }
    tag
}

/// Hashes the first `N` bytes of each message, a whole number of blocks.
fn blocks<const N: usize>(
    platform: Platform,
    key: &[u32; 8],
    end: u8,
    messages: &[&[u8]],
    hashes: &mut [u8],
) {
    let mut inputs = [&[0; N]; LANES];
    for (input, message) in inputs.iter_mut().zip(messages) {
        *input = message.first_chunk().expect("as long as the first");
    }
    platform.hash_many(
        &inputs[..messages.len()],
        key,
        0,
        IncrementCounter::No,
        KEYED_HASH,
        CHUNK_START,
        end,
        hashes,
    );
}

/// Hashes the half block that is left of a message.
fn finish(platform: Platform, key: &[u32; 8], rest: &[u8], is_first: bool, hash: &mut [u8]) {
    let mut block = [0; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    let (mut cv, start) = if is_first {
        (*key, CHUNK_START)
    } else {
        let mut bytes = [0; CV];
        bytes.copy_from_slice(hash);
        (words(&bytes), 0)
    };
    platform.compress_in_place(&mut cv, &block, rest.len() as u8, 0, KEYED_HASH | start | END);
    for (bytes, word) in hash.chunks_exact_mut(4).zip(cv) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
}

fn words(bytes: &[u8; 32]) -> [u32; 8] {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}
