//! What symbols are called: names and aliases, and the index each symbol keeps for good.
//!
//! An index is handed out once. Later lists are longer, never different: a symbol that is no
//! longer listed is retired, which keeps its index and its name (usage that was counted under
//! the index still finds it) but answers to none of its names.

use trinity_protocol::Symbol;

use crate::limits::MAX_SYMBOLS;

/// A symbol's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SymbolIndex(pub u32);

/// Names and aliases of the symbols, built once and only read afterwards.
#[derive(Debug)]
pub struct SymbolNames {
    names: Vec<Symbol>,
    /// By index; shorter than `names` where the rest is listed.
    retired: Vec<bool>,
    /// Open addressing; an empty place is [`EMPTY`].
    places: Vec<([u8; 16], u32)>,
    mask: usize,
}

/// Why names cannot form a table.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SymbolNamesError {
    /// Two symbols claim one name.
    #[error("the name {0} stands for two symbols: {1} and {2}")]
    Ambiguous(Symbol, Symbol, Symbol),
    /// More than [`MAX_SYMBOLS`] names and aliases.
    #[error("more than {MAX_SYMBOLS} symbols and aliases")]
    TooMany,
    /// An alias or a retired symbol without a name.
    #[error("there is no symbol number {0}: names come first")]
    NoSuchSymbol(u32),
    /// A later list that is no continuation of an earlier one.
    #[error("symbol number {index} is {was} and cannot become {wanted}: retire it, and append the other")]
    Moved {
        /// Whose place it is.
        index: u32,
        /// What it stands for.
        was: Symbol,
        /// What the later list says; `?` for nothing.
        wanted: String,
    },
}

const EMPTY: u32 = u32::MAX;

impl SymbolNames {
    /// Builds the lookup; the position of a name in `names` is its index, `aliases` point to
    /// positions.
    pub fn new(names: Vec<Symbol>, aliases: &[(Symbol, SymbolIndex)]) -> Result<Self, SymbolNamesError> {
        Self::with_retired(names, aliases, &[])
    }

    /// Builds the lookup with some symbols retired: they keep their places in `names`, and are
    /// found neither by name nor by alias, so others may bear those.
    pub fn with_retired(
        names: Vec<Symbol>,
        aliases: &[(Symbol, SymbolIndex)],
        retired: &[SymbolIndex],
    ) -> Result<Self, SymbolNamesError> {
        let total = names.len() + aliases.len();
        if total > MAX_SYMBOLS {
            return Err(SymbolNamesError::TooMany);
        }
        let size = (total * 5 / 2).next_power_of_two().max(16);
        let mut table = Self {
            retired: Vec::new(),
            places: vec![([0; 16], EMPTY); size],
            mask: size - 1,
            names,
        };
        let last = retired.iter().map(|index| index.0 as usize + 1).max();
        table.retired.resize(last.unwrap_or(0), false);
        for SymbolIndex(index) in retired {
            table.name_at(*index)?;
            table.retired[*index as usize] = true;
        }
        for index in 0..table.names.len() as u32 {
            let name = table.name_at(index)?;
            table.insert(name, index)?;
        }
        for (alias, SymbolIndex(index)) in aliases {
            table.name_at(*index)?;
            table.insert(*alias, *index)?;
        }
        Ok(table)
    }

    /// Finds a listed symbol by name or alias, as the wire carries it.
    #[inline]
    pub fn find(&self, wire: &[u8; 16]) -> Option<SymbolIndex> {
        let mut place = slot_hash(wire) & self.mask;
        loop {
            let (name, index) = &self.places[place];
            if *index == EMPTY {
                return None;
            }
            if name == wire {
                return Some(SymbolIndex(*index));
            }
            place = (place + 1) & self.mask;
        }
    }

    /// The canonical name of a symbol, listed or retired.
    pub fn name(&self, index: SymbolIndex) -> Option<Symbol> {
        self.names.get(index.0 as usize).copied()
    }

    /// The canonical names in index order, those of retired symbols included.
    pub fn names(&self) -> &[Symbol] {
        &self.names
    }

    /// Whether a symbol is no longer listed.
    pub fn is_retired(&self, index: SymbolIndex) -> bool {
        self.retired.get(index.0 as usize).copied().unwrap_or(false)
    }

    /// The listed symbols with their names, in index order.
    pub fn listed(&self) -> impl Iterator<Item = (SymbolIndex, Symbol)> {
        (0..)
            .map(SymbolIndex)
            .zip(self.names.iter().copied())
            .filter(|(index, _)| !self.is_retired(*index))
    }

    /// Every alias with the listed symbol it stands for, in no particular order.
    pub fn aliases(&self) -> impl Iterator<Item = (Symbol, SymbolIndex)> {
        self.places.iter().filter_map(|(wire, index)| {
            let alias = Symbol::from_wire(*wire).ok()?;
            let index = SymbolIndex(*index);
            (self.name(index)? != alias).then_some((alias, index))
        })
    }

    /// Whether every symbol of an earlier list is where it was.
    pub(super) fn check_extends(&self, earlier: &Self) -> Result<(), SymbolNamesError> {
        for (index, was) in (0..).zip(&earlier.names) {
            let wanted = self.name(SymbolIndex(index));
            if wanted != Some(*was) {
                return Err(SymbolNamesError::Moved {
                    index,
                    was: *was,
                    wanted: wanted.map_or_else(|| "?".to_owned(), |symbol| symbol.to_string()),
                });
            }
        }
        Ok(())
    }

    fn name_at(&self, index: u32) -> Result<Symbol, SymbolNamesError> {
        self.name(SymbolIndex(index))
            .ok_or(SymbolNamesError::NoSuchSymbol(index))
    }

    fn insert(&mut self, name: Symbol, index: u32) -> Result<(), SymbolNamesError> {
        if self.is_retired(SymbolIndex(index)) {
            return Ok(());
        }
        let wire = name.to_wire();
        let mut place = slot_hash(&wire) & self.mask;
        loop {
            let (taken, other) = self.places[place];
            if other == EMPTY {
                self.places[place] = (wire, index);
                return Ok(());
            }
            if taken == wire {
                let (a, b) = (self.names[other as usize], self.names[index as usize]);
                return if other == index {
                    Ok(())
                } else {
                    Err(SymbolNamesError::Ambiguous(name, a, b))
                };
            }
            place = (place + 1) & self.mask;
        }
    }
}

/// Spreads a symbol's bytes; the multiplier is that of splitmix64.
fn slot_hash(wire: &[u8; 16]) -> usize {
    let bits = u128::from_le_bytes(*wire);
    let folded = (bits as u64) ^ ((bits >> 64) as u64).rotate_left(29);
    (folded.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 24) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(name: &str) -> Symbol {
        Symbol::new(name).expect("test names are symbols")
    }

    fn names(list: &[&str], aliases: &[(&str, u32)]) -> Result<SymbolNames, SymbolNamesError> {
        listed(list, aliases, &[])
    }

    fn listed(
        list: &[&str],
        aliases: &[(&str, u32)],
        retired: &[u32],
    ) -> Result<SymbolNames, SymbolNamesError> {
        let aliases: Vec<_> = aliases
            .iter()
            .map(|(a, i)| (symbol(a), SymbolIndex(*i)))
            .collect();
        let retired: Vec<_> = retired.iter().map(|index| SymbolIndex(*index)).collect();
        SymbolNames::with_retired(list.iter().map(|n| symbol(n)).collect(), &aliases, &retired)
    }

    #[test]
    fn a_symbol_is_found_by_its_name_and_its_aliases_only() {
        let names = names(&["BTC-USD", "ETH-USD"], &[("BTC", 0), ("XBT/USD", 0)]).expect("no clash");
        let find = |name: &str| names.find(&Symbol::new(name).expect("symbol").to_wire());
        assert_eq!(find("BTC-USD"), Some(SymbolIndex(0)));
        assert_eq!(find("XBT/USD"), Some(SymbolIndex(0)));
        assert_eq!(find("ETH-USD"), Some(SymbolIndex(1)));
        assert_eq!(find("ETH"), None);
        let mut aliases: Vec<_> = names
            .aliases()
            .map(|(alias, index)| (alias.to_string(), index.0))
            .collect();
        aliases.sort();
        assert_eq!(aliases, [("BTC".to_owned(), 0), ("XBT/USD".to_owned(), 0)]);
        assert_eq!(names.find(&[0; 16]), None);
        assert_eq!(names.find(&[0xFF; 16]), None);
    }

    #[test]
    fn one_name_for_two_symbols_is_refused() {
        assert!(matches!(
            names(&["A", "B"], &[("B", 0)]),
            Err(SymbolNamesError::Ambiguous(..))
        ));
    }

    #[test]
    fn a_full_table_of_names_is_searched_in_full() {
        let list: Vec<_> = (0..20_000)
            .map(|i| Symbol::new(&format!("S{i}-USD")).expect("symbol"))
            .collect();
        let names = SymbolNames::new(list.clone(), &[]).expect("distinct");
        for (i, name) in list.iter().enumerate() {
            assert_eq!(names.find(&name.to_wire()), Some(SymbolIndex(i as u32)));
        }
    }

    #[test]
    fn a_retired_symbol_keeps_its_index_and_answers_to_none_of_its_names() {
        let names = listed(&["A-USD", "B-USD", "C-USD"], &[("A", 0), ("B", 1)], &[1]).expect("no clash");
        let find = |name: &str| names.find(&symbol(name).to_wire()).map(|index| index.0);
        assert_eq!(
            (find("A-USD"), find("C-USD"), find("A")),
            (Some(0), Some(2), Some(0))
        );
        assert_eq!((find("B-USD"), find("B")), (None, None));
        assert_eq!(names.name(SymbolIndex(1)), Some(symbol("B-USD")), "for usage");
        assert!(names.is_retired(SymbolIndex(1)) && !names.is_retired(SymbolIndex(2)));
        let left: Vec<_> = names.listed().map(|(index, _)| index.0).collect();
        assert_eq!(left, [0, 2]);
        assert_eq!(
            names.aliases().collect::<Vec<_>>(),
            [(symbol("A"), SymbolIndex(0))]
        );
    }

    #[test]
    fn the_names_of_a_retired_symbol_are_free_for_another() {
        let names = listed(&["A-USD", "B-USD"], &[("A-USD", 1), ("A", 1)], &[0]).expect("no clash");
        assert_eq!(names.find(&symbol("A-USD").to_wire()), Some(SymbolIndex(1)));
        assert_eq!(names.name(SymbolIndex(0)), Some(symbol("A-USD")));
    }

    #[test]
    fn an_alias_or_a_retired_index_without_a_symbol_is_refused() {
        assert_eq!(
            names(&["A"], &[("B", 1)]).err(),
            Some(SymbolNamesError::NoSuchSymbol(1))
        );
        assert_eq!(
            listed(&["A"], &[], &[7]).err(),
            Some(SymbolNamesError::NoSuchSymbol(7))
        );
    }

    #[test]
    fn a_later_list_must_keep_every_symbol_where_it_was() {
        let first = names(&["A", "B"], &[]).expect("distinct");
        let check = |list: &[&str]| names(list, &[]).expect("distinct").check_extends(&first);
        assert_eq!(check(&["A", "B"]), Ok(()));
        assert_eq!(check(&["A", "B", "C"]), Ok(()));
        for wrong in [&["A"][..], &["B", "A"], &["A", "C", "B"]] {
            let error = check(wrong).expect_err("a symbol moved or went").to_string();
            assert!(error.contains("retire"), "{error}");
        }
    }
}
