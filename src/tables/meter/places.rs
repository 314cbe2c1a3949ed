//! Where in a page a row is: an open-addressing index of row numbers.
//!
//! Only as much of it is used as the rows need, so that the index of few rows stays in the
//! nearest cache. It lies beside the page, not in it: a page is read from its beginning.

/// Bits of a place that say which row it stands for, plus one.
const ROW_MASK: u32 = 0xF_FFFF;
/// Places that are in use at least.
const FEWEST: usize = 1 << 10;

/// The index of one kind of rows.
#[derive(Debug)]
pub(super) struct Places {
    places: Box<[u32]>,
    /// One less than the places in use, a power of two; those beyond are all empty.
    mask: usize,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The row.
    Row(u32),
    /// No row; this is where it goes.
    Gap(usize),
}

impl Places {
    /// For at most `rows` rows.
    pub(super) fn new(rows: usize) -> Self {
        assert!(rows < ROW_MASK as usize, "row numbers fit their bits");
        let most = (rows * 2).next_power_of_two().max(FEWEST);
        Self {
            places: vec![0; most].into_boxed_slice(),
            mask: FEWEST - 1,
        }
    }

    /// Looks for a row. At least half of the places in use are empty, so there always is a gap.
    ///
    /// A place bears some bits of its row's hash, so that the rows of others, which are seldom
    /// in the cache, are not touched on the way.
    #[inline]
    pub(super) fn find(&self, hash: u64, same: impl Fn(u32) -> bool) -> Found {
        let tag = tag_of(hash);
        let mut at = hash as usize & self.mask;
        loop {
            let place = self.places[at];
            match row_of(place) {
                None => return Found::Gap(at),
                Some(row) if place & !ROW_MASK == tag && same(row) => return Found::Row(row),
                Some(_) => at = (at + 1) & self.mask,
            }
        }
    }

    /// The row in the first place that a hash leads to, which mostly is the right one.
    #[inline]
    pub(super) fn guess(&self, hash: u64) -> Option<u32> {
        row_of(self.places[hash as usize & self.mask])
    }

    /// Puts a row into the gap that was found for it. `rows` is how many there are then, and
    /// `hash_of` gives the hash of any of them: with half of the places taken more come into use.
    #[inline]
    pub(super) fn put(&mut self, gap: usize, hash: u64, row: u32, hash_of: impl Fn(u32) -> u64) {
        self.places[gap] = tag_of(hash) | (row + 1);
        let rows = row as usize + 1;
        if rows * 2 > self.mask && self.mask + 1 < self.places.len() {
            self.use_more(rows, hash_of);
        }
    }

    /// Forgets all rows; as many places as before stay in use if they were needed.
    pub(super) fn clear(&mut self, rows: usize) {
        if rows > 0 {
            self.places[..=self.mask].fill(0);
        }
        if rows * 8 < self.mask {
            self.mask = FEWEST - 1;
        }
    }

    #[cold]
    fn use_more(&mut self, rows: usize, hash_of: impl Fn(u32) -> u64) {
        self.places[..=self.mask].fill(0);
        self.mask = ((self.mask + 1) * 4).min(self.places.len()) - 1;
        for row in 0..rows as u32 {
            let hash = hash_of(row);
            if let Found::Gap(gap) = self.find(hash, |_| false) {
                self.places[gap] = tag_of(hash) | (row + 1);
            }
        }
    }
}

/// The row that a place stands for; `None` if it is empty.
const fn row_of(place: u32) -> Option<u32> {
    (place & ROW_MASK).checked_sub(1)
}

/// The bits of a hash that a place bears: not those that chose the place.
const fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32 & !ROW_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(row: u32) -> u64 {
        u64::from(row / 3).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    #[test]
    fn every_row_is_found_however_many_there_are_and_none_after_clearing() {
        // Three rows share each hash.
        let mut places = Places::new(10_000);
        for round in 0..3 {
            for row in 0..10_000 {
                let Found::Gap(gap) = places.find(hash(row), |found| found == row) else {
                    panic!("row {row} was there before");
                };
                places.put(gap, hash(row), row, hash);
            }
            for row in 0..10_000 {
                assert_eq!(places.find(hash(row), |found| found == row), Found::Row(row));
            }
            places.clear(10_000);
            assert!(places.places.iter().all(|place| *place == 0), "round {round}");
            assert!(places.mask + 1 >= 10_000, "what was needed will be");
        }
        places.clear(10);
        assert_eq!(places.mask, FEWEST - 1);
    }
}
