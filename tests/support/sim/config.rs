//! The file that leads a node to simulators in place of the venues.

use std::fmt::Write as _;
use std::path::Path;

use super::{CertAuthority, VenueSim};

/// Writes the addresses of these simulators to `path`, for `--venues-config`, and beside it
/// `<path>.ca.pem` if any of them speaks TLS under the shared authority. Venues that are not
/// among them are off.
pub(crate) fn write_config(sims: &[&VenueSim], path: &Path) {
    let mut text = String::new();
    if sims.iter().any(|sim| sim.tls()) {
        let mut pem = path.as_os_str().to_owned();
        pem.push(".ca.pem");
        std::fs::write(&pem, CertAuthority::shared().pem()).expect("a place for the certificate");
        let pem = std::path::absolute(&pem).expect("a path");
        writeln!(text, "ca_file = {:?}", pem.display().to_string()).expect("a String takes everything");
    }
    text.push_str("others = \"off\"\n");
    for sim in sims {
        let (venue, stream, rest) = (sim.venue(), sim.stream_url(), sim.rest_url());
        write!(
            text,
            "\n[venues.{venue}]\nstream_url = \"{stream}\"\nrest_url = \"{rest}\"\n"
        )
        .expect("a String takes everything");
    }
    std::fs::write(path, text).expect("a place for the file");
}
