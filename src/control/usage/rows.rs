//! A journal's rows as the ledger takes them.

use trinity_protocol::{KeyId, PriceStatus, Symbol};

use crate::store::{self, SymbolUsageRow, UsageRow};
use crate::tables::meter::{PageRows, Protocol, RequestRow, SymbolRow};

/// What stands for unknown symbols, and for those that no row was left for.
const OTHER: &str = "*";

/// The rows of one flush.
#[derive(Debug)]
pub(super) struct FlushRows {
    pub(super) usage: Vec<UsageRow>,
    pub(super) symbols: Vec<SymbolUsageRow>,
}

impl FlushRows {
    pub(super) fn of(rows: &PageRows) -> Self {
        let usage: Vec<_> = rows.requests.iter().map(usage_row).collect();
        let Ok(other) = Symbol::new(OTHER) else {
            return Self {
                usage,
                symbols: Vec::new(),
            };
        };
        let mut symbols: Vec<_> = rows.symbols.iter().map(|row| symbol_row(row, other)).collect();
        if rows.lost_detail > 0 {
            // Entries that found no row are nobody's in detail; their number is kept.
            let second = usage.first().map_or(0, |row| row.second);
            symbols.push(SymbolUsageRow {
                key_id: KeyId(0),
                symbol: other,
                second,
                status: PriceStatus::NoPrice as u8,
                entries: rows.lost_detail,
            });
        }
        Self { usage, symbols }
    }

    pub(super) fn requests(&self) -> u64 {
        self.usage.iter().map(|row| row.count).sum()
    }

    /// Takes a row out by the ledger's count: request rows first, then symbol rows.
    pub(super) fn set_aside(&mut self, index: usize, why: &'static str) {
        if index < self.usage.len() {
            let row = self.usage.remove(index);
            tracing::error!(
                ?row,
                why,
                "the ledger cannot hold this usage row; it is not billed"
            );
        } else if index - self.usage.len() < self.symbols.len() {
            let row = self.symbols.remove(index - self.usage.len());
            tracing::error!(
                ?row,
                why,
                "the ledger cannot hold this symbol row; its detail is lost"
            );
        }
    }
}

fn usage_row(row: &RequestRow) -> UsageRow {
    UsageRow {
        key_id: row.key_id,
        second: u64::from(row.second),
        protocol: match row.protocol {
            Protocol::Udp => store::Protocol::Udp,
            Protocol::Http => store::Protocol::Http,
        },
        outcome: row.outcome as u16,
        count: row.count,
        latency_sum_ns: row.latency_sum_ns,
        latency_max_ns: row.latency_max_ns,
    }
}

fn symbol_row(row: &SymbolRow, other: Symbol) -> SymbolUsageRow {
    SymbolUsageRow {
        key_id: row.key_id,
        symbol: row.name.unwrap_or(other),
        second: u64::from(row.second),
        status: row.status as u8,
        entries: row.entries,
    }
}
