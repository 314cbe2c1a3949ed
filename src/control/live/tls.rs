//! Whom the venues' connections trust: Mozilla's list, built in, so that nothing depends on
//! the host's files; and authorities of the operator's, for simulators and inspecting proxies.

use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The settings of every encrypted connection this process opens.
pub(super) fn client(extra_roots: Option<&[u8]>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(pem) = extra_roots {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots
                .add(certificate.context("ca_file is no PEM")?)
                .context("ca_file holds something that is no certificate authority")?;
        }
        ensure!(roots.len() > before, "ca_file holds no certificate");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS cannot be set up")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_authorities_are_added_and_rubbish_is_refused() {
        assert!(client(None).is_ok());
        let made = rcgen::generate_simple_self_signed(["venue.example".to_owned()]).expect("made");
        assert!(client(Some(made.cert.pem().as_bytes())).is_ok());
        for rubbish in [
            "",
            "no PEM at all",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            assert!(client(Some(rubbish.as_bytes())).is_err(), "{rubbish}");
        }
    }
}
