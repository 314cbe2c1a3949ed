//! `trinity-bench grow`: what a request costs as everything around it grows.

mod hold;
mod memory;
mod report;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use trinity_beast::shard::driver::DriverKind;

pub(crate) use self::hold::Args as HoldArgs;
use self::report::{Point, Report};
use crate::load::{Form, Pace, Plan};
use crate::machine::Machine;
use crate::measure::{self, Cores};
use crate::options::{CoreArgs, DriverArg, seconds};
use crate::popularity::Popularity;
use crate::population::Population;
use crate::progress::Steps;
use crate::target::{Setting, Side, Tables};
use crate::udp::ACTIVE_KEYS;

/// Options of `grow`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One JSON object on standard output, nothing else there.
    #[arg(long)]
    json: bool,
    /// What to let grow [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Axis>,
    /// Rounds; in each every size is measured once.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Measured seconds of each size and round.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
    /// Seconds before each measurement that do not count.
    #[arg(long, default_value_t = 0.5, value_parser = seconds)]
    warm_up: f64,
    /// The server's driver [default: the one that `serve` would choose here].
    #[arg(long, value_enum)]
    driver: Option<DriverKind>,
    #[command(flatten)]
    cores: CoreArgs,
}

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Axis {
    /// Keys that the server knows.
    Keys,
    /// Symbols that it serves.
    Symbols,
    /// Addresses that ask.
    Flows,
    /// Shards.
    Shards,
    /// Memory with 20,000 symbols, 100,000 keys and two shards.
    Memory,
}

/// Most that a request may cost at the largest size, in costs at the smallest.
const MOST_GROWTH: f64 = 2.0;
/// Requests outstanding, whatever else grows.
const OUTSTANDING: usize = 1_024;

/// One size on one axis.
struct Size {
    axis: Axis,
    value: usize,
    setting: Setting,
    plan: Plan,
    population: Rc<Population>,
    tables: Tables,
}

impl Axis {
    const ALL: [Self; 5] = [Self::Keys, Self::Symbols, Self::Flows, Self::Shards, Self::Memory];

    /// Smallest first.
    const fn values(self) -> &'static [usize] {
        match self {
            Self::Keys => &[10, 1_000, 30_000, 1_000_000],
            Self::Symbols => &[10, 200, 2_000, 20_000],
            Self::Flows => &[1, 30, 1_000, 20_000],
            Self::Shards => &[1, 2],
            Self::Memory => &[],
        }
    }
}

impl Size {
    fn new(axis: Axis, value: usize, driver: DriverKind, args: &Args) -> anyhow::Result<Self> {
        let of = |which: Axis, usual: usize| if axis == which { value } else { usual };
        let (keys, symbols) = (of(Axis::Keys, 100), of(Axis::Symbols, 1_000));
        // The addresses of the flows share a socket, so that the load generator's own cost, and
        // with it the server's batches, do not depend on how many there are.
        let (flows, sources) = if axis == Axis::Flows { (1, value) } else { (8, 1) };
        let plan = Plan {
            form: Form::Plain,
            entries: 1,
            pace: Pace::Closed {
                window: OUTSTANDING / flows,
                eager: false,
            },
            flows,
            sources,
            keys: keys.min(ACTIVE_KEYS),
            popularity: Popularity::Uniform,
            warm_up: Duration::from_secs_f64(args.warm_up),
            time: Duration::from_secs_f64(args.seconds),
        };
        let population = Rc::new(Population::new(keys, symbols)?);
        Ok(Self {
            axis,
            value,
            setting: Setting {
                shards: of(Axis::Shards, 1),
                ..Setting::of(driver)
            },
            plan,
            tables: Tables::new(&population)?,
            population,
        })
    }

    fn measure(&self, cores: &Cores) -> anyhow::Result<Point> {
        let side = Side::Server(self.setting);
        let measured = measure::side(side, &self.plan, &self.population, &self.tables, cores)?;
        Ok(Point {
            axis: self.axis,
            value: self.value,
            measured,
        })
    }
}

/// Measures and reports; tells whether every reply was right and nothing grew too much.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    let cores = args.cores.pick()?;
    let (driver, _) = DriverArg::one(args.driver).pick()?;
    let mut machine = Machine::look(cores.serving[0], cores.loading)?;
    machine.drivers = vec![driver.to_string()];
    let axes = if args.only.is_empty() {
        &Axis::ALL[..]
    } else {
        &args.only
    };
    let mut sizes = Vec::new();
    for axis in axes {
        for value in axis.values() {
            sizes.push(Size::new(*axis, *value, driver, args)?);
        }
    }
    let has_memory = axes.contains(&Axis::Memory);
    let progress = Steps::new(args.rounds as usize * sizes.len() + usize::from(has_memory));
    let mut points = Vec::new();
    for _ in 0..args.rounds {
        for size in &sizes {
            let point = size.measure(&cores)?;
            let line = point.measured.line();
            progress.step(&format!("{:?} {}: {line}", point.axis, point.value));
            points.push(point);
        }
        // As in `compare`: a machine that slows down favours nobody.
        sizes.reverse();
    }
    let memory = if has_memory {
        let memory = memory::measure(driver, &cores, Duration::from_secs_f64(args.seconds))?;
        progress.step(&memory.line());
        Some(memory)
    } else {
        None
    };
    progress.finish();
    let report = Report::new(&points, memory, machine);
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(report.is_clean())
}

/// The child process of `memory`: serves what it is told to until its standard input ends.
pub(crate) fn hold(_: &HoldArgs) -> anyhow::Result<bool> {
    hold::run(io::stdin().lock(), io::stdout().lock())?;
    Ok(true)
}
