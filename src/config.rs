//! Environment and flags become one validated [`Config`].
//!
//! Every setting is a flag; its default is the environment variable named beside it. What
//! this version cannot honour is refused by name, never ignored.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::limits::MAX_SHARDS;
use crate::limits::SPIN_MAX_US;
use crate::market::replay::Speed;
use crate::shard::driver::DriverChoice;
use crate::store::{LedgerHome, PostgresArgs};

/// The flags of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Where prices come from: `replay` (the shipped recording), `replay:FILE`, or `live`
    #[arg(long, env = "MARKET", value_name = "MARKET")]
    pub market: Option<MarketChoice>,
    /// How fast a recording plays: 1, 60, ... recorded seconds a second, or `max` [default: 60 for the shipped
    /// recording, 1 for a file]
    #[arg(long, env = "REPLAY_SPEED", value_name = "N|max")]
    pub speed: Option<Speed>,
    /// Play the recording once instead of looping
    #[arg(long, env = "REPLAY_ONCE")]
    pub once: bool,
    /// File that says which venues a live market is fed from, and where [default: ten venues at
    /// their own addresses]
    #[arg(long, env = "VENUES_CONFIG", value_name = "FILE")]
    pub venues_config: Option<PathBuf>,
    /// Directory for the ledger, the demo key and the lock
    #[arg(long, env = "DATA_DIR", default_value = "./data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Directory for the usage journals, which answered requests are counted in until they are in the
    /// ledger; on a local disk [default: journal in the data directory]
    #[arg(long, env = "JOURNAL_DIR", value_name = "DIR")]
    pub journal_dir: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1, or 0.0.0.0 in production]
    #[arg(long, env = "BIND", value_name = "ADDRESS")]
    pub bind: Option<IpAddr>,
    /// UDP port of the price oracle
    #[arg(long, env = "UDP_PORT_LPO", default_value_t = 2679, value_name = "PORT")]
    pub udp_port_lpo: u16,
    /// HTTP port of the price oracle
    #[arg(long, env = "TCP_PORT_LPO", default_value_t = 8080, value_name = "PORT")]
    pub tcp_port_lpo: u16,
    /// HTTP port of health, readiness and metrics
    #[arg(long, env = "TCP_PORT_OPS", default_value_t = 9100, value_name = "PORT")]
    pub tcp_port_ops: u16,
    /// HTTP port of the report service (reserved: it comes with a later version)
    #[arg(long, env = "TCP_PORT_LRS", default_value_t = 9090, value_name = "PORT")]
    pub tcp_port_lrs: u16,
    /// UDP port of the report service (reserved: it comes with a later version)
    #[arg(long, env = "UDP_PORT_LRS", default_value_t = 2680, value_name = "PORT")]
    pub udp_port_lrs: u16,
    /// Shards, one per vCPU [default: what the CPU affinity and quota allow]
    #[arg(long, env = "SHARDS", value_name = "N")]
    pub shards: Option<usize>,
    /// How shards wait for datagrams
    #[arg(long, env = "DRIVER", value_enum, default_value_t = DriverChoice::Auto)]
    pub driver: DriverChoice,
    /// Microseconds that a shard goes on looking for more after its last datagram before it waits:
    /// a shorter round trip for a CPU that is never idle meanwhile. Leave it 0 where CPU time is a quota
    #[arg(long, env = "SPIN_US", default_value_t = 0, value_name = "US", value_parser = clap::value_parser!(u64).range(..=SPIN_MAX_US))]
    pub spin_us: u64,
    /// Role of this node: `APP_SERVER` (prices); unset means both services
    #[arg(long, env = "SERVER_TYPE", value_name = "ROLE")]
    pub server_type: Option<String>,
    /// Name of this node in usage records and metrics
    #[arg(long, env = "CLUSTER_NODE", default_value = "main", value_name = "NAME")]
    pub cluster_node: String,
    /// `production` means JSON logs, no demo account, and no start on doubtful settings
    #[arg(long, env = "NODE_ENV", default_value = "development", value_name = "ENV")]
    pub node_env: String,
    /// Valkey (reserved: a shared cache comes with a later version)
    #[arg(long, env = "MEMORYDB_URL", value_name = "URL", hide_env_values = true)]
    pub memorydb_url: Option<String>,
    /// Where the ledger is if it is in Postgres
    #[command(flatten)]
    pub postgres: PostgresArgs,
}

/// Where prices come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarketChoice {
    /// The shipped recording.
    Shipped,
    /// A recording on disk.
    File(PathBuf),
    /// The venues themselves.
    Live,
}

/// Settings that fit together.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where prices come from.
    pub market: MarketChoice,
    /// Which venues a live market is fed from, if the operator said.
    pub venues_config: Option<PathBuf>,
    /// How fast a recording plays.
    pub speed: Speed,
    /// Whether it starts over at its end.
    pub looping: bool,
    /// Directory for the ledger, the demo key and the lock.
    pub data_dir: PathBuf,
    /// Where the ledger is kept.
    pub ledger: LedgerHome,
    /// Directory for the usage journals.
    pub journal_dir: PathBuf,
    /// Where UDP is served.
    pub udp: SocketAddr,
    /// Where HTTP is served.
    pub http: SocketAddr,
    /// Where health, readiness and metrics are served.
    pub ops: SocketAddr,
    /// How many shards, if the operator said.
    pub shards: Option<usize>,
    /// How shards wait.
    pub driver: DriverChoice,
    /// For how long shards look for more before they wait.
    pub spin: Duration,
    /// This node's name.
    pub node: String,
    /// Whether this is production.
    pub production: bool,
}

/// Why settings are refused. Every text says what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Venues for a market that is not live.
    #[error("--venues-config says where a live market is fed from: add --market live, or leave it out")]
    VenuesOfARecording,
    /// A speed for a market that is live.
    #[error("--speed and --once are for recordings: a live market goes as it goes")]
    SpeedOfALiveMarket,
    /// A setting of a later version.
    #[error("{0} is set, but this version does not use it: prices come from memory. Unset it")]
    Reserved(&'static str),
    /// What says where Postgres is cannot be used.
    #[error("{0}")]
    Postgres(String),
    /// A role that is not there yet.
    #[error("SERVER_TYPE={0} is not served by this version: use APP_SERVER, or unset it")]
    Role(String),
    /// Neither development nor production.
    #[error("NODE_ENV={0:?} is not known: use production or development")]
    Environment(String),
    /// Production without an explicit market.
    #[error(
        "in production the market must be named: a recording is not today's market. Say --market replay if you mean it"
    )]
    ImplicitMarket,
    /// Two services on one port.
    #[error("port {0} is given to two services: choose another for one of them")]
    SharedPort(u16),
    /// No shard, or too many.
    #[error("--shards must be between 1 and {MAX_SHARDS}")]
    Shards,
    /// A node's name is written to the ledger.
    #[error("CLUSTER_NODE must be 1 to 64 letters, digits, '-', '_' or '.'")]
    Node,
}

/// Where the journals are in the data directory.
pub const JOURNAL_DIR: &str = "journal";

/// The shipped recording holds minutes, so it plays a minute a second.
const SHIPPED_SPEED: Speed = match NonZeroU32::new(60) {
    Some(times) => Speed::Times(times),
    None => unreachable!(),
};

impl Config {
    /// Checks the settings against each other.
    pub fn new(args: ServeArgs) -> Result<Self, ConfigError> {
        let production = match args.node_env.as_str() {
            "production" => true,
            "development" | "test" | "" => false,
            other => return Err(ConfigError::Environment(other.to_owned())),
        };
        if args.memorydb_url.as_ref().is_some_and(|url| !url.is_empty()) {
            return Err(ConfigError::Reserved("MEMORYDB_URL"));
        }
        let postgres = args.postgres.settings();
        let postgres = postgres.map_err(|error| ConfigError::Postgres(error.to_string()))?;
        match args.server_type.as_deref() {
            None | Some("" | "APP_SERVER") => {}
            Some(other) => return Err(ConfigError::Role(other.to_owned())),
        }
        if args
            .shards
            .is_some_and(|shards| shards == 0 || shards > MAX_SHARDS)
        {
            return Err(ConfigError::Shards);
        }
        let name = &args.cluster_node;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(ConfigError::Node);
        }
        if args.tcp_port_lpo == args.tcp_port_ops && args.tcp_port_lpo != 0 {
            return Err(ConfigError::SharedPort(args.tcp_port_lpo));
        }
        let market = match args.market {
            Some(MarketChoice::Live) if args.speed.is_some() || args.once => {
                return Err(ConfigError::SpeedOfALiveMarket);
            }
            Some(market) => market,
            None if production => return Err(ConfigError::ImplicitMarket),
            None => MarketChoice::Shipped,
        };
        let venues_config = args.venues_config.filter(|path| !path.as_os_str().is_empty());
        if venues_config.is_some() && market != MarketChoice::Live {
            return Err(ConfigError::VenuesOfARecording);
        }
        let bind = args.bind.unwrap_or(IpAddr::V4(if production {
            Ipv4Addr::UNSPECIFIED
        } else {
            Ipv4Addr::LOCALHOST
        }));
        Ok(Self {
            speed: args.speed.unwrap_or_else(|| market.speed()),
            market,
            venues_config,
            looping: !args.once,
            journal_dir: args
                .journal_dir
                .unwrap_or_else(|| args.data_dir.join(JOURNAL_DIR)),
            ledger: LedgerHome::new(postgres, args.data_dir.clone()),
            data_dir: args.data_dir,
            udp: SocketAddr::new(bind, args.udp_port_lpo),
            http: SocketAddr::new(bind, args.tcp_port_lpo),
            ops: SocketAddr::new(bind, args.tcp_port_ops),
            shards: args.shards,
            driver: args.driver,
            spin: Duration::from_micros(args.spin_us),
            node: args.cluster_node,
            production,
        })
    }
}

impl MarketChoice {
    /// A recording of one's own plays as it happened.
    const fn speed(&self) -> Speed {
        match self {
            Self::Shipped => SHIPPED_SPEED,
            Self::File(_) | Self::Live => Speed::Times(NonZeroU32::MIN),
        }
    }
}

impl std::str::FromStr for MarketChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "replay" => Ok(Self::Shipped),
            None if text == "live" => Ok(Self::Live),
            Some(("replay", file)) if !file.is_empty() => Ok(Self::File(PathBuf::from(file))),
            _ => Err("it is `replay`, `replay:FILE` or `live`".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn config(flags: &[&str]) -> Result<Config, ConfigError> {
        let line = ["serve"].iter().chain(flags);
        Config::new(Line::try_parse_from(line).expect("flags parse").serve)
    }

    #[test]
    fn nothing_configured_serves_the_shipped_recording_on_loopback() {
        let config = config(&[]).expect("defaults fit");
        assert_eq!(config.market, MarketChoice::Shipped);
        assert_eq!(config.speed.to_string(), "60x");
        assert!(config.looping && config.udp.ip().is_loopback() && !config.production);
        assert_eq!((config.udp.port(), config.http.port()), (2679, 8080));
    }

    #[test]
    fn production_does_not_start_on_doubtful_settings() {
        assert_eq!(
            config(&["--node-env", "production"]).expect_err("no market"),
            ConfigError::ImplicitMarket
        );
        let named = config(&["--node-env", "production", "--market", "replay"]).expect("named");
        assert!(named.production && named.udp.ip().is_unspecified());
    }

    #[test]
    fn what_this_version_cannot_honour_is_refused_by_name() {
        assert_eq!(
            config(&["--memorydb-url", "cache.example"]).expect_err("later"),
            ConfigError::Reserved("MEMORYDB_URL")
        );
        assert!(matches!(
            config(&["--server-type", "APP_REPORT_SERVER"]),
            Err(ConfigError::Role(_))
        ));
        assert!(config(&["--server-type", "APP_SERVER"]).is_ok());
    }

    #[test]
    fn a_live_market_takes_venues_and_no_speed() {
        let live = config(&["--market", "live", "--venues-config", "v.toml"]).expect("fits");
        assert_eq!(
            (live.market, live.venues_config),
            (MarketChoice::Live, Some("v.toml".into()))
        );
        assert_eq!(
            config(&["--venues-config", "v.toml"]).expect_err("a recording"),
            ConfigError::VenuesOfARecording
        );
        for flags in [
            &["--market", "live", "--speed", "2"][..],
            &["--market", "live", "--once"],
        ] {
            assert_eq!(config(flags).expect_err("live"), ConfigError::SpeedOfALiveMarket);
        }
    }

    #[test]
    fn the_ledger_is_in_the_data_directory_unless_a_url_says_otherwise() {
        let ledger = |flags: &[&str]| config(flags).expect("fits").ledger;
        assert_eq!(ledger(&["--data-dir", "/d"]).describe(), "/d/ledger.db");
        assert_eq!(
            ledger(&["--aurora-url", "db.example"]).describe(),
            "Postgres at db.example:5432"
        );
        let error = config(&["--aurora-url", "postgres://u:hunter2@db.example/d?sslmode=prefer"]);
        let error = error.expect_err("sends passwords in the clear").to_string();
        assert!(
            error.contains("verify-full") && !error.contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn impossible_settings_are_refused() {
        assert_eq!(config(&["--shards", "0"]).expect_err("none"), ConfigError::Shards);
        assert_eq!(
            config(&["--tcp-port-ops", "8080"]).expect_err("twice"),
            ConfigError::SharedPort(8080)
        );
        assert_eq!(
            config(&["--cluster-node", "a b"]).expect_err("space"),
            ConfigError::Node
        );
        assert!(matches!(
            config(&["--node-env", "prod"]),
            Err(ConfigError::Environment(_))
        ));
        assert!(Line::try_parse_from(["serve", "--market", "replay:"]).is_err());
        assert!(Line::try_parse_from(["serve", "--market", "nonsense"]).is_err());
        assert!(Line::try_parse_from(["serve", "--speed", "0"]).is_err());
    }
}
