//! Where the venues are: their own addresses, or those of a settings file.
//!
//! ```toml
//! ca_file = "ca.pem"       # certificate authorities to trust besides the well-known ones
//! others = "off"           # venues not named below: "on" (the default) or "off"
//!
//! [venues.kraken]
//! stream_url = "wss://127.0.0.1:4001/v2"
//! rest_url = "https://127.0.0.1:4001"
//!
//! [venues.gemini]
//! enabled = false
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use http::Uri;
use serde::Deserialize;

use crate::market::venue::VenueId;

/// A venue to be fed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VenueAddress {
    /// Which.
    pub venue: VenueId,
    /// Where its WebSocket is.
    pub stream_url: String,
    /// What its REST addresses begin with, without a slash at the end.
    pub rest_url: String,
}

/// All venues to be fed from, and whom to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveSettings {
    /// The venues, by id.
    pub venues: Vec<VenueAddress>,
    /// Certificate authorities besides the well-known ones, PEM.
    pub extra_roots: Option<Vec<u8>>,
}

/// Venues that are fed from unless a settings file says otherwise. Binance.US is left out:
/// it quotes the same pairs as Binance with a fraction of the volume.
const DEFAULT_OFF: [&str; 1] = ["binance-us"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "what the file calls it")]
struct File {
    ca_file: Option<PathBuf>,
    #[serde(default)]
    others: Others,
    #[serde(default)]
    venues: BTreeMap<String, Entry>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Others {
    #[default]
    On,
    Off,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    enabled: Option<bool>,
    stream_url: Option<String>,
    rest_url: Option<String>,
}

impl LiveSettings {
    /// The venues at their own addresses.
    pub fn builtin() -> Self {
        Self::from_file(
            File {
                ca_file: None,
                others: Others::On,
                venues: BTreeMap::new(),
            },
            Path::new("."),
            true,
        )
        .expect("the built-in addresses are addresses")
    }

    /// Reads a settings file. `encrypted_only` refuses plain addresses other than loopback's.
    pub fn read(path: &Path, encrypted_only: bool) -> anyhow::Result<Self> {
        let named = || format!("venues file {}", path.display());
        let text = std::fs::read_to_string(path).with_context(named)?;
        let file: File = toml::from_str(&text).with_context(named)?;
        let beside = path.parent().unwrap_or(Path::new("."));
        Self::from_file(file, beside, encrypted_only).with_context(named)
    }

    fn from_file(file: File, beside: &Path, encrypted_only: bool) -> anyhow::Result<Self> {
        for name in file.venues.keys() {
            let known = VenueId::from_name(name).filter(|venue| venue.spec().dialect.is_some());
            if known.is_none() {
                let names: Vec<_> = VenueId::all()
                    .filter(|venue| venue.spec().dialect.is_some())
                    .map(VenueId::name)
                    .collect();
                bail!(
                    "`{name}` is no venue that can be fed from; those are {}",
                    names.join(", ")
                );
            }
        }
        let mut venues = Vec::new();
        for venue in VenueId::all() {
            let Some(dialect) = venue.spec().dialect else {
                continue;
            };
            let entry = file.venues.get(venue.name());
            let unless_said = match entry {
                Some(_) => true,
                None => file.others == Others::On && !DEFAULT_OFF.contains(&venue.name()),
            };
            if !entry.and_then(|entry| entry.enabled).unwrap_or(unless_said) {
                continue;
            }
            let told = |pick: fn(&Entry) -> &Option<String>| entry.and_then(|entry| pick(entry).as_deref());
            let stream_url = told(|entry| &entry.stream_url).unwrap_or(dialect.stream_url);
            let rest_url = told(|entry| &entry.rest_url).unwrap_or(dialect.rest_url);
            let rest_url = rest_url.trim_end_matches('/');
            check(venue, stream_url, ["wss", "ws"], encrypted_only)?;
            check(venue, rest_url, ["https", "http"], encrypted_only)?;
            venues.push(VenueAddress {
                venue,
                stream_url: stream_url.to_owned(),
                rest_url: rest_url.to_owned(),
            });
        }
        if venues.is_empty() {
            bail!("no venue is left to be fed from: enable one");
        }
        let extra_roots = file
            .ca_file
            .map(|ca| {
                let path = beside.join(ca);
                std::fs::read(&path).with_context(|| format!("ca_file {}", path.display()))
            })
            .transpose()?;
        Ok(Self { venues, extra_roots })
    }
}

/// The first scheme is the encrypted one.
fn check(venue: VenueId, url: &str, schemes: [&str; 2], encrypted_only: bool) -> anyhow::Result<()> {
    let uri: Uri = url
        .parse()
        .with_context(|| format!("{venue}: `{url}` is no address"))?;
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
        bail!("{venue}: `{url}` is no address: begin it with {}://", schemes[0]);
    };
    if !schemes.contains(&scheme) {
        bail!(
            "{venue}: `{url}` begins with neither {}:// nor {}://",
            schemes[0],
            schemes[1]
        );
    }
    let loopback = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    if encrypted_only && scheme == schemes[1] && !loopback {
        bail!(
            "{venue}: `{url}` is not encrypted, so anybody on the way could set prices: use {}://",
            schemes[0]
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, encrypted_only: bool) -> anyhow::Result<LiveSettings> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("venues.toml");
        std::fs::write(&path, text)?;
        LiveSettings::read(&path, encrypted_only)
    }

    fn refusal(text: &str) -> String {
        format!("{:#}", read(text, true).expect_err("refused"))
    }

    #[test]
    fn ten_venues_are_fed_from_at_their_own_addresses_unless_told_otherwise() {
        let settings = LiveSettings::builtin();
        assert_eq!(settings.venues.len(), 10);
        assert!(settings.venues.iter().all(|v| v.stream_url.starts_with("wss://")));
        assert_eq!(read("", true).expect("an empty file changes nothing"), settings);
    }

    #[test]
    fn a_venue_can_be_pointed_elsewhere_and_others_left_out() {
        let settings = read(
            "others = \"off\"\n[venues.kraken]\nstream_url = \"ws://127.0.0.1:9/v2\"\nrest_url = \"http://[::1]:9/\"\n\
             [venues.binance-us]\n[venues.okx]\nenabled = false\n",
            true,
        )
        .expect("good settings");
        let names: Vec<_> = settings.venues.iter().map(|v| v.venue.name()).collect();
        assert_eq!(names, ["kraken", "binance-us"]);
        assert_eq!(settings.venues[0].rest_url, "http://[::1]:9");
        assert!(settings.venues[1].stream_url.contains("binance.us"));
    }

    #[test]
    fn settings_that_cannot_be_meant_are_refused_with_what_would_be_right() {
        for (text, expected) in [
            (
                "[venues.mtgox]\n",
                "`mtgox` is no venue that can be fed from; those are coinbase, kraken,",
            ),
            ("other = \"off\"\n", "unknown field `other`"),
            ("others = \"maybe\"\n", "expected `on` or `off`"),
            ("others = \"off\"\n", "no venue is left"),
            ("[venues.okx]\nurl = \"wss://x\"\n", "unknown field `url`"),
            ("[venues.okx]\nstream_url = \"okx.com\"\n", "begin it with wss://"),
            (
                "[venues.okx]\nstream_url = \"https://okx.com\"\n",
                "neither wss:// nor ws://",
            ),
            ("[venues.okx]\nrest_url = \"http://okx.com\"\n", "not encrypted"),
            ("ca_file = \"nowhere.pem\"\n", "nowhere.pem"),
            ("venues = 1\n", "venues.toml"),
        ] {
            let refusal = refusal(text);
            assert!(refusal.contains(expected), "{text}: {refusal}");
        }
        let plain = "[venues.okx]\nrest_url = \"http://okx.example\"\n";
        assert!(
            read(plain, false).is_ok(),
            "outside production that is the operator's choice"
        );
    }
}
