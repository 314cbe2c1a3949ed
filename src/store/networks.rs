//! How a key's networks are written in a ledger: canonical, comma separated, nothing for any.

use ipnet::IpNet;

use super::rows::MAX_KEY_NETWORKS;

/// The text that [`parse`] reads back.
pub(super) fn text(networks: &[IpNet]) -> String {
    let networks: Vec<_> = networks.iter().map(IpNet::to_string).collect();
    networks.join(",")
}

/// Reads what a row says, or says why it means nothing. Nothing doubtful is guessed at: a network
/// that was meant to be narrow must not come out wide.
pub(super) fn parse(text: &str) -> Result<Vec<IpNet>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let networks: Vec<IpNet> = text
        .split(',')
        .map(|part| {
            let network: IpNet = part
                .parse()
                .map_err(|_| format!("`{part}` is no network such as 10.0.0.0/8 or 2001:db8::/32"))?;
            if is_canonical(&network) {
                Ok(network)
            } else {
                Err(format!(
                    "`{part}` has host bits set: {} has none",
                    network.trunc()
                ))
            }
        })
        .collect::<Result<_, _>>()?;
    if networks.len() > MAX_KEY_NETWORKS {
        return Err(format!("there are more than {MAX_KEY_NETWORKS} networks"));
    }
    Ok(networks)
}

/// Whether the host bits are zero.
pub(super) fn is_canonical(network: &IpNet) -> bool {
    network.trunc() == *network
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_nothing_else_is_taken() {
        for good in ["", "10.0.0.0/8", "0.0.0.0/0,::/0", "192.0.2.7/32,2001:db8::/32"] {
            assert_eq!(text(&parse(good).expect(good)), good);
        }
        let many = vec!["10.0.0.0/8"; MAX_KEY_NETWORKS + 1].join(",");
        for bad in [
            ",",
            "10.0.0.0/8,",
            "10.0.0.1/8",
            "10.0.0.1",
            "10.0.0.0/33",
            "::1/64",
            "any",
            " 10.0.0.0/8",
            &many,
        ] {
            parse(bad).expect_err(bad);
        }
    }
}
