//! What the measurement ran on.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;
use trinity_beast::shard::driver::cpus;

/// Facts that a figure means nothing without. Those of the run itself are filled in after it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    kernel: String,
    architecture: &'static str,
    /// CPUs that this process may use.
    cores: usize,
    /// `None` where the server is another process's.
    serving_cpu: Option<usize>,
    /// `None` where nothing is loaded.
    loading_cpu: Option<usize>,
    /// What the kernel does about each processor vulnerability that it knows.
    mitigations: BTreeMap<String, String>,
    clock_source: String,
    /// Largest receive buffer that a program may ask for, bytes.
    rmem_max: Option<u64>,
    /// Processes and threads that wanted to run in the minute before: a quiet machine says
    /// nearly 0.
    load_average: String,
    /// The server's drivers that were measured.
    pub(crate) drivers: Vec<String>,
    /// Smallest buffers granted to a serving socket, bytes as the kernel counts them.
    pub(crate) receive_buffer_bytes: usize,
    pub(crate) send_buffer_bytes: usize,
    /// Datagrams that the kernel dropped at the server's sockets in all rounds.
    pub(crate) receive_drops: u64,
}

impl Machine {
    /// Reads them. What a system does not tell is left empty.
    pub(crate) fn look(
        serving_cpu: impl Into<Option<usize>>,
        loading_cpu: impl Into<Option<usize>>,
    ) -> anyhow::Result<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let info = read("/proc/cpuinfo");
        let cpu = info
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or_else(String::new, |(_, name)| name.trim().to_owned());
        let mitigations = fs::read_dir("/sys/devices/system/cpu/vulnerabilities")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let says = fs::read_to_string(entry.path()).ok()?;
                Some((entry.file_name().into_string().ok()?, says.trim().to_owned()))
            })
            .filter(|(_, says)| says != "Not affected")
            .collect();
        Ok(Self {
            cpu,
            kernel: read("/proc/sys/kernel/osrelease"),
            architecture: std::env::consts::ARCH,
            cores: cpus::allowed()?.len(),
            serving_cpu: serving_cpu.into(),
            loading_cpu: loading_cpu.into(),
            mitigations,
            clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            rmem_max: read("/proc/sys/net/core/rmem_max").parse().ok(),
            load_average: read("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
            drivers: Vec::new(),
            receive_buffer_bytes: 0,
            send_buffer_bytes: 0,
            receive_drops: 0,
        })
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let role = |what: &str, cpu: Option<usize>| cpu.map(|cpu| format!("{what} on CPU {cpu}"));
        let roles = [
            role("serving", self.serving_cpu),
            role("loading", self.loading_cpu),
        ];
        let roles: Vec<_> = roles.into_iter().flatten().collect();
        format!(
            "{}, {} cores, Linux {}, load average {}{}{}",
            if self.cpu.is_empty() {
                self.architecture
            } else {
                &self.cpu
            },
            self.cores,
            self.kernel,
            self.load_average,
            if roles.is_empty() { "" } else { "; " },
            roles.join(", ")
        )
    }
}
