//! Starts the HTTP workers, one per shard, and the operators' own port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use arc_swap::ArcSwap;

use super::explain::ExplainDesk;
use super::ops::Ops;
use crate::config::Config;
use crate::shard::ShardShared;
use crate::shard::web::{self, Explains, OpsPages, WebConfig, WebParts};
use crate::tables::keys::KeyTable;
use crate::tables::meter::Meter;
use crate::tables::prices::PriceCopy;

/// All HTTP workers of this process.
#[derive(Debug)]
pub struct Web {
    /// Where prices are served.
    pub http: SocketAddr,
    /// Where health, readiness and metrics are served as well.
    pub ops: SocketAddr,
    workers: Vec<JoinHandle<Meter>>,
    operators: JoinHandle<()>,
}

impl Web {
    /// Binds both ports, then starts the workers.
    pub fn start(
        config: &Config,
        ops: &Arc<Ops>,
        prices: &[PriceCopy],
        keys: &Arc<ArcSwap<KeyTable>>,
        shared: &Arc<ShardShared>,
        explains: &Arc<ExplainDesk>,
        meters: Vec<Meter>,
    ) -> anyhow::Result<Self> {
        let taken = |address, flag| {
            format!(
                "cannot listen on TCP {address}: is another server there? Stop it, or choose a port with {flag}"
            )
        };
        let (mut own, ops_address) =
            web::bind_group(config.ops, 1).with_context(|| taken(config.ops, "--tcp-port-ops"))?;
        let (listeners, http) = web::bind_group(config.http, prices.len())
            .with_context(|| taken(config.http, "--tcp-port-lpo"))?;
        let pages_of = Arc::clone(ops) as Arc<dyn OpsPages>;
        let mut workers = Vec::new();
        let each = listeners.into_iter().zip(prices).zip(&ops.shards).zip(meters);
        for (index, (((listener, prices), shard), meter)) in each.enumerate() {
            let parts = WebParts {
                index,
                cpu: shard.cpu,
                listener,
                prices: Arc::clone(prices),
                keys: Arc::clone(keys),
                misses: ops.misses.clone(),
                meter,
                source: Arc::clone(&ops.market.source),
                counters: Arc::clone(&ops.web[index]),
                shared: Arc::clone(shared),
                ops: Arc::clone(&pages_of),
                explains: Arc::clone(explains) as Arc<dyn Explains>,
            };
            workers.push(web::spawn(parts, WebConfig::default())?);
        }
        let operators = web::spawn_ops(own.remove(0), pages_of, Arc::clone(shared), WebConfig::default())?;
        Ok(Self {
            http,
            ops: ops_address,
            workers,
            operators,
        })
    }

    /// The first worker that ended although nobody told it to.
    pub fn fallen(&self) -> Option<usize> {
        self.workers.iter().position(JoinHandle::is_finished)
    }

    /// Waits for the workers, which end as the shards do, and gives their meters back.
    pub fn join(self) -> Vec<Meter> {
        let join = |(index, worker): (usize, JoinHandle<Meter>)| {
            let meter = worker.join();
            if meter.is_err() {
                tracing::error!(worker = index, "HTTP worker panicked; please report it");
            }
            meter.ok()
        };
        let meters = self.workers.into_iter().enumerate().filter_map(join).collect();
        if self.operators.join().is_err() {
            tracing::error!("the operators' HTTP worker panicked; please report it");
        }
        meters
    }
}
