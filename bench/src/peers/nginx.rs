//! nginx with a fixed body: one worker, no log, connections that are kept.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::instance::Instance;

/// Starts it; every path is answered with `body`, as JSON.
pub(crate) fn start(program: &Path, body: &str, cpu: usize) -> anyhow::Result<Instance> {
    if body.contains(['\'', '\\', '$', '\n']) {
        anyhow::bail!("nginx's configuration cannot hold such a body");
    }
    Instance::start("nginx", cpu, |port, folder| {
        let path = folder.display();
        let mut text = String::new();
        // One process: no master beside the worker. Temporary files go where all else goes.
        writeln!(
            text,
            "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log;"
        )?;
        writeln!(text, "events {{ worker_connections 4096; multi_accept on; }}")?;
        writeln!(text, "http {{ access_log off; tcp_nodelay on;")?;
        writeln!(text, "keepalive_timeout 1h; keepalive_requests 1000000000;")?;
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            writeln!(text, "{kind}_temp_path {path}/{kind};")?;
        }
        writeln!(text, "server {{ listen 127.0.0.1:{port} backlog=4096;")?;
        writeln!(
            text,
            "location / {{ default_type application/json; return 200 '{body}'; }} }} }}"
        )?;
        let file = folder.join("nginx.conf");
        fs::write(&file, text)?;
        let mut command = Command::new(program);
        command.arg("-p").arg(folder).arg("-c").arg(file);
        command.arg("-e").arg(folder.join("error.log"));
        Ok(command)
    })
}
