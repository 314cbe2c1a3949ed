//! All that was read of a machine, as data. Nothing is assumed: what could not be read says so.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// Something that was read, or why it was not.
///
/// In JSON it is the value, or null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading<T> {
    /// What was found.
    Known(T),
    /// Why nothing was found.
    Unknown(String),
}

/// Readings of one machine.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// The processor and who may use it.
    pub cpu: CpuFacts,
    /// The control group of this process.
    pub cgroup: CgroupFacts,
    /// Resource limits of this process.
    pub limits: LimitFacts,
    /// Memory of the machine.
    pub memory: MemoryFacts,
    /// The network's limits and what sockets were really granted.
    pub net: NetFacts,
    /// What was found out by trying.
    pub trials: Trials,
    /// Where this runs.
    pub place: PlaceFacts,
}

/// The processor and who may use it.
#[derive(Clone, Debug, Serialize)]
pub struct CpuFacts {
    /// The model's name.
    pub model: Reading<String>,
    /// Widest vector instructions: `avx512`, `avx2`, `neon` or `none`.
    pub vectors: Reading<&'static str>,
    /// CPUs of the affinity mask, ascending: the cpuset is in it, the quota is not.
    pub affinity: Reading<Vec<usize>>,
    /// CPUs that the machine has switched on.
    pub online: Reading<usize>,
    /// What the kernel does about each vulnerability that the processor has.
    pub mitigations: Reading<BTreeMap<String, String>>,
    /// `tsc`, `kvm-clock`, `hpet`, ...
    pub clock_source: Reading<String>,
    /// What one read of the clock costs, nanoseconds.
    pub clock_read_ns: u64,
}

/// The control group of this process.
#[derive(Clone, Debug, Serialize)]
pub struct CgroupFacts {
    /// 1 or 2: whose files the CPU controller is told by.
    pub version: Reading<u8>,
    /// The tightest CPU quota from this group up to the one that can be seen; `Known(None)` is no quota.
    pub quota: Reading<Option<Quota>>,
    /// How often and how long the group was throttled.
    pub throttling: Reading<Throttling>,
    /// The tightest memory limit, bytes; `Known(None)` is no limit.
    pub memory_limit_bytes: Reading<Option<u64>>,
}

/// A CFS quota: so much CPU time of all threads together in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quota {
    /// CPU time, microseconds.
    pub quota_us: u64,
    /// Period, microseconds.
    pub period_us: u64,
}

/// What the quota did, since the group was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Throttling {
    /// Periods in which the group ran.
    pub periods: u64,
    /// Periods in which it had to stop before their end.
    pub throttled_periods: u64,
    /// Time that its threads were kept from running, microseconds.
    pub throttled_us: u64,
}

/// A resource limit; `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// What holds.
    pub soft: Option<u64>,
    /// How far the process itself may raise it.
    pub hard: Option<u64>,
}

/// Resource limits of this process.
#[derive(Clone, Debug, Serialize)]
pub struct LimitFacts {
    /// RLIMIT_NOFILE.
    pub open_files: Reading<Limit>,
    /// RLIMIT_MEMLOCK, bytes.
    pub memlock_bytes: Reading<Limit>,
}

/// Memory of the machine.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryFacts {
    /// All of it, bytes.
    pub total_bytes: Reading<u64>,
    /// `always`, `madvise` or `never`.
    pub transparent_huge_pages: Reading<String>,
}

/// The network's limits and what sockets were really granted.
#[derive(Clone, Debug, Serialize)]
pub struct NetFacts {
    /// net.core.rmem_max, bytes. Not to be seen in most containers.
    pub rmem_max: Reading<u64>,
    /// net.core.wmem_max, bytes.
    pub wmem_max: Reading<u64>,
    /// net.core.rmem_default, bytes.
    pub rmem_default: Reading<u64>,
    /// net.core.somaxconn.
    pub somaxconn: Reading<u64>,
    /// net.core.netdev_max_backlog, packets.
    pub netdev_max_backlog: Reading<u64>,
    /// Receive buffer of a socket that asked for what a shard asks for, bytes as the kernel counts
    /// them: twice the bytes that it took of the request.
    pub granted_receive_bytes: Reading<u64>,
    /// The same for sending.
    pub granted_send_bytes: Reading<u64>,
    /// Datagrams of a price request's size that such a socket held before it dropped one; `None` if
    /// it was not tried.
    pub datagrams_held: Option<Reading<u64>>,
    /// Ports that a node wants, and whether they are free.
    pub ports: Vec<Port>,
}

/// A port that a node wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// `udp` or `tcp`.
    pub protocol: &'static str,
    /// Its number.
    pub number: u16,
    /// Why it could not be bound just now; `None` if it is free.
    pub taken: Option<String>,
}

/// What only trying tells. `Unknown` holds the kernel's refusal.
#[derive(Clone, Debug, Serialize)]
pub struct Trials {
    /// io_uring as the glommio driver needs it.
    #[serde(serialize_with = "verdict")]
    pub io_uring: Reading<()>,
    /// UDP_SEGMENT: one message leaves as several datagrams.
    #[serde(serialize_with = "verdict")]
    pub segmentation: Reading<()>,
    /// UDP_GRO: several datagrams arrive as one message.
    #[serde(serialize_with = "verdict")]
    pub coalescing: Reading<()>,
    /// SO_ATTACH_REUSEPORT_CBPF: requests find their shard by their lane.
    #[serde(serialize_with = "verdict")]
    pub steering: Reading<()>,
}

/// Where this runs.
#[derive(Clone, Debug, Serialize)]
pub struct PlaceFacts {
    /// The kernel's release, for example `5.10.236-228.935.amzn2.x86_64`.
    pub kernel: Reading<String>,
    /// What ran this process, as far as it shows.
    pub kind: Place,
    /// What showed it.
    pub signs: Vec<String>,
}

/// Kinds of places. They differ in what can be changed and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// An ECS task on Fargate.
    Fargate,
    /// An ECS task on EC2 or ECS Managed Instances.
    EcsOnEc2,
    /// An EC2 instance itself.
    Ec2,
    /// A container elsewhere.
    Container,
    /// None of these.
    Host,
}

impl<T> Reading<T> {
    /// What was found, if anything.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// What was found, else why nothing was.
    pub fn as_ref(&self) -> Result<&T, &str> {
        match self {
            Self::Known(value) => Ok(value),
            Self::Unknown(why) => Err(why),
        }
    }
}

impl<T, E: std::fmt::Display> From<Result<T, E>> for Reading<T> {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::Known(value),
            Err(error) => Self::Unknown(error.to_string()),
        }
    }
}

impl<T: Serialize> Serialize for Reading<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.known().serialize(serializer)
    }
}

/// `"works"`, or the refusal.
fn verdict<S: Serializer>(trial: &Reading<()>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(trial.as_ref().map_or_else(|why| why, |()| "works"))
}

impl Quota {
    /// CPUs' worth.
    pub fn cpus(&self) -> f64 {
        self.quota_us as f64 / self.period_us.max(1) as f64
    }
}

impl Limit {
    /// Whether the soft limit is at least this.
    pub fn reaches(&self, wanted: u64) -> bool {
        self.soft.is_none_or(|soft| soft >= wanted)
    }
}

impl Throttling {
    /// What came since an earlier reading.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            periods: self.periods.saturating_sub(earlier.periods),
            throttled_periods: self.throttled_periods.saturating_sub(earlier.throttled_periods),
            throttled_us: self.throttled_us.saturating_sub(earlier.throttled_us),
        }
    }
}

impl Facts {
    /// Shards that have a CPU each: the smaller of the affinity mask and the whole CPUs of the
    /// quota, at least 1; an error says what could not be read.
    pub fn shards_with_a_cpu(&self) -> Result<usize, &str> {
        let affinity = self.cpu.affinity.as_ref()?.len().max(1);
        // A group that tells no quota is most often in none; what it does is seen in throttling.
        let quota = self.cgroup.quota.known().copied().flatten();
        Ok(quota.map_or(affinity, |quota| affinity.min((quota.cpus() as usize).max(1))))
    }
}
