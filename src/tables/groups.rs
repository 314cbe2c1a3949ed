//! Which items of a batch belong together: requests under one key, replies to one peer.

use crate::limits::BATCH_MESSAGES;

/// The positions of a batch's items, group after group.
#[derive(Debug)]
pub struct Groups {
    /// Positions; within a group in the order in which the items were given.
    order: [u8; BATCH_MESSAGES],
    /// Where each group ends in `order`.
    ends: [u8; BATCH_MESSAGES],
    len: usize,
}

#[derive(Clone, Copy, Default)]
struct Group {
    first: u8,
    last: u8,
    count: u8,
}

/// Twice the groups there can be, so that a free place is always near.
const PLACES: usize = 2 * BATCH_MESSAGES;

const _: () = assert!(BATCH_MESSAGES < 255 && PLACES.is_power_of_two());

impl Default for Groups {
    fn default() -> Self {
        Self {
            order: [0; BATCH_MESSAGES],
            ends: [0; BATCH_MESSAGES],
            len: 0,
        }
    }
}

impl Groups {
    /// Groups items that are equal, at most `capacity` (which must not be 0) of each to a group.
    /// `hash` spreads them; its low bits count.
    ///
    /// # Panics
    ///
    /// If there are more than [`BATCH_MESSAGES`] items.
    pub fn arrange<K: PartialEq>(
        &mut self,
        items: &[K],
        hash: impl Fn(&K) -> usize,
        capacity: impl Fn(&K) -> usize,
    ) {
        let Some((first, rest)) = items.split_first() else {
            self.len = 0;
            return;
        };
        if items.len() <= capacity(first) && rest.iter().all(|item| item == first) {
            self.together(items.len());
            return;
        }
        let mut places = [0_u8; PLACES];
        let mut groups = [Group::default(); BATCH_MESSAGES];
        let mut next = [0_u8; BATCH_MESSAGES];
        self.len = 0;
        for (i, item) in items.iter().enumerate() {
            let mut place = hash(item) % PLACES;
            while let Some(group) = places[place].checked_sub(1) {
                let group = &mut groups[usize::from(group)];
                if items[usize::from(group.first)] == *item {
                    if usize::from(group.count) < capacity(item) {
                        next[usize::from(group.last)] = i as u8;
                        group.last = i as u8;
                        group.count += 1;
                    } else {
                        // It is full: the next group of such items takes its place.
                        places[place] = 0;
                    }
                    break;
                }
                place = (place + 1) % PLACES;
            }
            if places[place] == 0 {
                groups[self.len] = Group {
                    first: i as u8,
                    last: i as u8,
                    count: 1,
                };
                self.len += 1;
                places[place] = self.len as u8;
            }
        }
        let mut end = 0;
        for (group, stop) in groups[..self.len].iter().zip(&mut self.ends) {
            let mut at = group.first;
            for place in &mut self.order[end..end + usize::from(group.count)] {
                *place = at;
                at = next[usize::from(at)];
            }
            end += usize::from(group.count);
            *stop = end as u8;
        }
    }

    /// Leaves every item alone.
    pub fn single(&mut self, count: usize) {
        self.len = count;
        for i in 0..count {
            self.order[i] = i as u8;
            self.ends[i] = i as u8 + 1;
        }
    }

    /// Puts items into one group, which must not be none.
    pub fn together(&mut self, count: usize) {
        self.len = 1;
        self.ends[0] = count as u8;
        for (i, place) in self.order[..count].iter_mut().enumerate() {
            *place = i as u8;
        }
    }

    /// How many groups there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The positions of a group's items, in the order in which they were given.
    pub fn get(&self, group: usize) -> &[u8] {
        let start = if group == 0 {
            0
        } else {
            usize::from(self.ends[group - 1])
        };
        &self.order[start..usize::from(self.ends[group])]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arranged(items: &[u8], capacity: usize) -> Vec<Vec<usize>> {
        let mut groups = Groups::default();
        // A bad hash: everything collides with half of the others.
        groups.arrange(items, |item| usize::from(*item % 2), |_| capacity);
        let group = |i| groups.get(i).iter().map(|at| usize::from(*at)).collect();
        (0..groups.len()).map(group).collect()
    }

    #[test]
    fn a_full_group_is_followed_by_another() {
        let lengths: Vec<_> = arranged(&[7; BATCH_MESSAGES], 62).iter().map(Vec::len).collect();
        assert_eq!(lengths, [62, 2]);
        assert_eq!(arranged(&[7; BATCH_MESSAGES], 64).len(), 1);
        assert!(arranged(&[], 1).is_empty());
    }

    proptest! {
        #[test]
        fn every_item_is_in_one_group_with_its_like_and_in_order(
            items in proptest::collection::vec(0_u8..6, 0..=BATCH_MESSAGES),
            capacity in 1_usize..70,
        ) {
            let groups = arranged(&items, capacity);
            let mut seen: Vec<_> = groups.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..items.len()).collect::<Vec<_>>());
            for group in &groups {
                prop_assert!(group.is_sorted() && group.len() <= capacity);
                prop_assert!(group.iter().all(|i| items[*i] == items[group[0]]));
            }
            for kind in 0..6 {
                let is_of = |item: &&u8| **item == kind;
                let count = items.iter().filter(is_of).count();
                let groups = groups.iter().filter(|group| items[group[0]] == kind).count();
                prop_assert_eq!(groups, count.div_ceil(capacity), "nothing that fits one group is in two");
            }
        }
    }
}
