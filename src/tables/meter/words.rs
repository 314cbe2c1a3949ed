//! The memory that usage is counted in: 64-bit words, mapped from a file or of this process alone.
//!
//! Every access is atomic, so that a mapped file is sound to read whoever writes it, and a word
//! is written whole or not at all. On the machines we serve a relaxed access is a plain one.
#![expect(
    unsafe_code,
    reason = "a mapping is a raw pointer until somebody vouches for it"
)]

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::sync::atomic::AtomicU64;

use memmap2::{MmapMut, MmapRaw, UncheckedAdvice};

/// Bytes of a word.
pub(crate) const WORD_BYTES: usize = size_of::<u64>();

/// Words that several threads may use; they live as long as this value.
pub(crate) struct Words {
    start: *const AtomicU64,
    len: usize,
    /// What `start` points into; moving it does not move the words.
    map: MmapRaw,
}

// SAFETY: the words are atomics, which any thread may use through a shared reference; the pointer
// refers to memory that `map` owns, and munmap(2) may be called by any thread.
unsafe impl Send for Words {}
// SAFETY: as above; nothing but shared references to atomics is given out.
unsafe impl Sync for Words {}

impl Words {
    /// Zeros that end with the process; what is not touched takes no memory.
    pub(crate) fn zeroed(len: usize) -> Self {
        let words = MmapMut::map_anon(len * WORD_BYTES).and_then(|map| Self::mapped(map.into()));
        // As `Box` itself does when there is no memory.
        words.unwrap_or_else(|_| handle_alloc_error(Layout::new::<u64>()))
    }

    /// A mapped file, which must be shared and writable.
    pub(crate) fn mapped(map: MmapRaw) -> io::Result<Self> {
        #[expect(clippy::cast_ptr_alignment, reason = "looked at in the next line")]
        let start = map.as_mut_ptr().cast::<AtomicU64>().cast_const();
        if map.len() == 0 || !map.len().is_multiple_of(WORD_BYTES) || !start.is_aligned() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the mapping is no row of whole words",
            ));
        }
        Ok(Self {
            start,
            len: map.len() / WORD_BYTES,
            map,
        })
    }

    /// Lets go of memory that holds nothing any more: what is read there next is what a file has, or
    /// zeros. A courtesy to the machine; the bytes of a file stay.
    pub(crate) fn let_go(&self, words: Range<usize>) {
        let (offset, len) = (words.start * WORD_BYTES, words.len() * WORD_BYTES);
        // SAFETY: madvise(2), MADV_DONTNEED: "subsequent accesses of pages in the range will
        // succeed, but will result in either repopulating the memory contents from the up-to-date
        // contents of the underlying mapped file, or zero-fill-on-demand pages for anonymous private
        // mappings". Words are atomics of which any bit pattern is one, and nobody relies on these.
        let advised = unsafe {
            self.map
                .unchecked_advise_range(UncheckedAdvice::DontNeed, offset, len)
        };
        debug_assert!(advised.is_ok(), "the range is within the mapping");
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    #[inline]
    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `start` is aligned and points to `len` initialised words: mmap(2) fills a mapping
        // with the file's bytes and zeros to the end of its last page, or with zeros alone; any bit
        // pattern is a u64. They live as long as `self.map`. Others
        // may write them meanwhile, the kernel and other processes included: that is why they are
        // atomics. Where another process cuts the file short, an access raises SIGBUS, which ends
        // this process and reads nothing.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn amapped_word_is_in_the_file() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(8_192).expect("grows");
        let map = MmapRaw::map_raw(&file).expect("maps");
        let words = Words::mapped(map).expect("whole words");
        assert_eq!(words.len(), 1_024);
        words[1_023].store(0x0807_0605_0403_0201, Ordering::Relaxed);
        let mut bytes = [0; 8];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 8_184).expect("reads");
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn what_is_let_go_of_in_a_file_is_still_there() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(1 << 16).expect("grows");
        let words = Words::mapped(MmapRaw::map_raw(&file).expect("maps")).expect("whole words");
        for (i, word) in words.iter().enumerate() {
            word.store(i as u64, Ordering::Relaxed);
        }
        words.let_go(1_024..8_192);
        assert!(
            words
                .iter()
                .enumerate()
                .all(|(i, word)| word.load(Ordering::Relaxed) == i as u64)
        );
    }

    #[test]
    fn words_begin_as_zeros_and_are_shared() {
        let words = Words::zeroed(1_000);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for word in &*words {
                        word.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 2));
    }
}
