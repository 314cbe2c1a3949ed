//! Carries parameters from the ledger to those who follow them.

use std::sync::Arc;

use super::ops::Ops;
use crate::log_filter;
use crate::parameters::{Parameters, Problem};
use crate::shard::ShardShared;
use crate::store::{ChangeStamp, Ledger, StoreError};
use crate::tables::misses::MissBoard;

/// Follows the ledger's parameters.
#[derive(Default)]
pub struct ParameterSync {
    stamp: Option<ChangeStamp>,
    /// What is set, names with their values.
    set: Vec<(String, String)>,
}

/// Those who follow parameters.
#[derive(Clone)]
pub struct Followers {
    /// The cores.
    pub shared: Arc<ShardShared>,
    /// What is remembered of symbols that could not be fetched.
    pub misses: Option<Arc<MissBoard>>,
    /// Where problems are told.
    pub ops: Arc<Ops>,
}

impl ParameterSync {
    /// Takes parameters from elsewhere until the ledger can be read.
    pub fn adopt(&mut self, set: Vec<(String, String)>) {
        self.set = set;
    }

    /// What is set, names with their values.
    pub fn set(&self) -> &[(String, String)] {
        &self.set
    }

    /// Reads the parameters if they were not read at this stamp; tells whether it did.
    pub async fn poll(
        &mut self,
        ledger: &dyn Ledger,
        stamp: Option<ChangeStamp>,
    ) -> Result<bool, StoreError> {
        if stamp.is_some() && self.stamp == stamp {
            return Ok(false);
        }
        let rows = ledger.list_parameters().await?;
        self.set = rows.into_iter().map(|row| (row.name, row.value)).collect();
        self.stamp = stamp;
        Ok(true)
    }

    /// Makes what is set hold, and tells of what cannot.
    pub fn apply(&self, followers: &Followers) {
        let parameters: &Parameters = &followers.shared.parameters;
        let before = parameters.log_filter();
        let set = self.set.iter();
        let mut problems = parameters.apply(set.map(|(name, value)| (name.as_str(), value.as_str())));
        let after = parameters.log_filter();
        if before != after
            && let Err(error) = log_filter::set(after.as_deref())
        {
            problems.push(Problem {
                name: "log.filter".to_owned(),
                why: format!("it cannot be followed: {error}"),
            });
        }
        if let Some(misses) = &followers.misses {
            misses.set_nothing_ms(parameters.miss_nothing_ms());
        }
        let mut told = followers.ops.parameters.problems.write();
        if *told == problems {
            return;
        }
        for problem in problems.iter().filter(|problem| !told.contains(problem)) {
            tracing::error!(
                name = problem.name,
                why = problem.why,
                "a parameter is not followed"
            );
        }
        if problems.is_empty() {
            tracing::info!("all parameters are followed again");
        }
        *told = problems;
    }
}

impl std::fmt::Debug for ParameterSync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParameterSync")
            .field("stamp", &self.stamp)
            .field("set", &self.set.len())
            .finish()
    }
}
