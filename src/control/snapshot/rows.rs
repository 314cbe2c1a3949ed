//! The rows of a snapshot as they are written.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trinity_protocol::{KeyId, MacKey, MacKeys, Symbol};

use super::Snapshot;
use crate::store::{SymbolAlias, SymbolDefinition, SymbolMarket, SymbolOrigin, SymbolRecord};
use crate::tables::keys::{Allowed, KeyEntry};
use crate::tables::limiter::{KeyState, Limits};

/// Everything but the keys.
#[derive(Serialize, Deserialize)]
pub(super) struct Settings {
    month: u64,
    parameters: Vec<(String, String)>,
    symbols: Vec<SymbolRow>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeyRow {
    key_id: u64,
    request: [u8; 32],
    reply: [u8; 32],
    mark: u64,
    limits: (u64, u32, u64),
    refused_from_ns: u64,
    udp: bool,
    http: bool,
    networks: Vec<String>,
    month_used: u64,
}

#[derive(Serialize, Deserialize)]
struct SymbolRow {
    id: i64,
    name: String,
    base: String,
    quote: String,
    exponent: i8,
    tick: String,
    min_sources: u8,
    max_age_ms: u32,
    hard_age_ms: u32,
    jump_bps: u32,
    dispute_bps: u32,
    peg_bps: Option<u32>,
    streamed: bool,
    routes: Vec<String>,
    aliases: Vec<(String, Option<u64>)>,
    /// Venue, spellings, unit.
    markets: Vec<(String, Vec<String>, i8)>,
    retired_at_ns: Option<u64>,
    is_builtin: bool,
    updated_at_ns: u64,
}

/// The month, the parameters and the symbols.
type Parts = (u64, Vec<(String, String)>, Vec<SymbolRecord>);

impl Settings {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self {
            month: snapshot.month,
            parameters: snapshot.parameters.clone(),
            symbols: snapshot.symbols.iter().map(SymbolRow::of).collect(),
        }
    }

    pub(super) fn into_parts(self) -> Result<Parts, &'static str> {
        let symbols = self.symbols.into_iter().map(SymbolRecord::try_from);
        Ok((self.month, self.parameters, symbols.collect::<Result<_, _>>()?))
    }
}

impl KeyRow {
    pub(super) fn of(key: &KeyEntry) -> Self {
        let (udp, http, networks) = key.allowed.parts();
        Self {
            key_id: key.key_id.0,
            request: *key.request.as_bytes(),
            reply: *key.reply.as_bytes(),
            mark: key.mark,
            limits: key.limits.to_parts(),
            refused_from_ns: key.refused_from_ns,
            udp,
            http,
            networks: networks.iter().map(ToString::to_string).collect(),
            month_used: key.state.month_used(),
        }
    }
}

impl TryFrom<KeyRow> for KeyEntry {
    type Error = &'static str;

    fn try_from(row: KeyRow) -> Result<Self, &'static str> {
        let mut networks = Vec::with_capacity(row.networks.len());
        for text in &row.networks {
            networks.push(text.parse().map_err(|_| "a key's network is none")?);
        }
        let macs = MacKeys {
            request: MacKey::from_bytes(row.request),
            reply: MacKey::from_bytes(row.reply),
        };
        let state = KeyState::default();
        state.set_month_used(row.month_used);
        let limits = Limits::from_parts(row.limits);
        Ok(Self {
            allowed: Allowed::new(row.udp, row.http, &networks),
            mark: row.mark,
            ..Self::with_macs(
                KeyId(row.key_id),
                macs,
                limits,
                row.refused_from_ns,
                Arc::new(state),
            )
        })
    }
}

impl SymbolRow {
    fn of(record: &SymbolRecord) -> Self {
        let of = &record.definition;
        let text = |symbol: &Symbol| symbol.as_str().to_owned();
        Self {
            id: record.id,
            name: text(&of.name),
            base: text(&of.base),
            quote: text(&of.quote),
            exponent: of.exponent,
            tick: of.tick.clone(),
            min_sources: of.min_sources,
            max_age_ms: of.max_age_ms,
            hard_age_ms: of.hard_age_ms,
            jump_bps: of.jump_bps,
            dispute_bps: of.dispute_bps,
            peg_bps: of.peg_bps,
            streamed: of.streamed,
            routes: of.routes.iter().map(text).collect(),
            aliases: of
                .aliases
                .iter()
                .map(|alias| (text(&alias.name), alias.until_ns))
                .collect(),
            markets: of
                .markets
                .iter()
                .map(|market| {
                    (
                        market.venue.clone(),
                        market.spellings.clone(),
                        market.unit_exponent,
                    )
                })
                .collect(),
            retired_at_ns: record.retired_at_ns,
            is_builtin: record.origin == SymbolOrigin::Builtin,
            updated_at_ns: record.updated_at_ns,
        }
    }
}

impl TryFrom<SymbolRow> for SymbolRecord {
    type Error = &'static str;

    fn try_from(row: SymbolRow) -> Result<Self, &'static str> {
        let symbol = |text: &String| Symbol::new(text).map_err(|_| "a symbol's name is none");
        let mut aliases = Vec::with_capacity(row.aliases.len());
        for (name, until_ns) in &row.aliases {
            aliases.push(SymbolAlias {
                name: symbol(name)?,
                until_ns: *until_ns,
            });
        }
        let market = |(venue, spellings, unit_exponent)| SymbolMarket {
            venue,
            spellings,
            unit_exponent,
        };
        Ok(Self {
            id: row.id,
            definition: SymbolDefinition {
                name: symbol(&row.name)?,
                base: symbol(&row.base)?,
                quote: symbol(&row.quote)?,
                exponent: row.exponent,
                tick: row.tick,
                min_sources: row.min_sources,
                max_age_ms: row.max_age_ms,
                hard_age_ms: row.hard_age_ms,
                jump_bps: row.jump_bps,
                dispute_bps: row.dispute_bps,
                peg_bps: row.peg_bps,
                streamed: row.streamed,
                routes: row.routes.iter().map(symbol).collect::<Result<_, _>>()?,
                aliases,
                markets: row.markets.into_iter().map(market).collect(),
            },
            retired_at_ns: row.retired_at_ns,
            origin: if row.is_builtin {
                SymbolOrigin::Builtin
            } else {
                SymbolOrigin::Operator
            },
            updated_at_ns: row.updated_at_ns,
        })
    }
}
