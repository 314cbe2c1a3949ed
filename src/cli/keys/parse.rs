//! What is typed of a key.

use std::net::IpAddr;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use ipnet::IpNet;
use trinity_protocol::{ApiKey, KeyId, api_key};

use crate::cli::limits::{Limit, OwnLimit, own_limit};
use crate::store::{KeyPatch, KeySettings, Overrides, Protocols, Rate, Scope};

/// What may be set of a key, when it is made and afterwards.
#[derive(Clone, Debug, Args)]
pub(super) struct SettingsArgs {
    /// Over which protocols it may be used: udp, http or udp,http
    #[arg(long, value_name = "LIST", value_parser = protocols)]
    protocols: Option<Protocols>,
    /// From which networks it may be used, for example 10.0.0.0/8,2001:db8::/32; any for everywhere
    #[arg(long, value_name = "LIST", value_parser = networks)]
    networks: Option<Networks>,
    /// Charged requests in a UTC calendar month: a number, none (no limit) or tier (as the tier has it)
    #[arg(long, value_name = "N|none|tier", value_parser = own_limit::<u64>)]
    requests_per_month: Option<OwnLimit<u64>>,
    /// Sustained requests per second and how many may come at once, for example 10:20
    #[arg(long, value_name = "PER_SECOND:BURST|none|tier", value_parser = own_limit::<Rate>)]
    rate: Option<OwnLimit<Rate>>,
    /// Usage reports in a UTC calendar month
    #[arg(long, value_name = "N|none|tier", value_parser = own_limit::<u32>)]
    reports_per_month: Option<OwnLimit<u32>>,
    /// What it may see of usage: its own account's, or as an operator everybody's
    #[arg(long, value_parser = scope_parser())]
    scope: Option<Scope>,
}

/// Networks as they are typed.
#[derive(Clone, Debug)]
struct Networks(Vec<IpNet>);

/// Reads a key id, or takes it from a whole key. clap's own message would repeat the text,
/// and the text may be a whole key with its secret.
#[derive(Clone, Copy)]
pub(super) struct KeyIdParser;

impl SettingsArgs {
    /// The settings of a new key.
    pub(super) fn settings(&self) -> KeySettings {
        KeySettings {
            protocols: self.protocols.unwrap_or_default(),
            networks: self.networks.clone().map(|typed| typed.0).unwrap_or_default(),
            overrides: Overrides {
                requests_per_month: self.requests_per_month.and_then(OwnLimit::stored),
                rate: self.rate.and_then(OwnLimit::stored),
                reports_per_month: self.reports_per_month.and_then(OwnLimit::stored),
            },
            scope: self.scope.unwrap_or_default(),
        }
    }

    /// What changes of a key.
    pub(super) fn patch(&self) -> KeyPatch {
        KeyPatch {
            protocols: self.protocols,
            networks: self.networks.clone().map(|typed| typed.0),
            requests_per_month: self.requests_per_month.map(OwnLimit::stored),
            rate: self.rate.map(OwnLimit::stored),
            reports_per_month: self.reports_per_month.map(OwnLimit::stored),
            scope: self.scope,
            ..KeyPatch::default()
        }
    }
}

impl<T> OwnLimit<T> {
    /// As [`Overrides`] has it.
    #[expect(clippy::option_option, reason = "`Overrides` tells an unset limit from none")]
    fn stored(self) -> Option<Option<T>> {
        self.0.map(|Limit(limit)| limit)
    }
}

fn protocols(text: &str) -> Result<Protocols, String> {
    let mut protocols = Protocols {
        udp: false,
        http: false,
    };
    for word in text.split(',') {
        match word {
            "udp" => protocols.udp = true,
            "http" => protocols.http = true,
            _ => return Err("give udp, http or udp,http".to_owned()),
        }
    }
    Ok(protocols)
}

fn networks(text: &str) -> Result<Networks, String> {
    if text == "any" {
        return Ok(Networks(Vec::new()));
    }
    text.split(',')
        .map(|part| {
            let address = || part.parse::<IpAddr>().map(IpNet::from);
            part.parse::<IpNet>().or_else(|_| address()).map_err(|_| {
                format!("`{part}` is no network: give some such as 10.0.0.0/8,2001:db8::/32, or `any`")
            })
        })
        .collect::<Result<_, _>>()
        .map(Networks)
}

fn scope_parser() -> impl TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(["customer", "operator"]).map(|word| {
        if word == "operator" {
            Scope::Operator
        } else {
            Scope::Customer
        }
    })
}

impl TypedValueParser for KeyIdParser {
    type Value = KeyId;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<KeyId, clap::Error> {
        let text = value.to_str().unwrap_or_default();
        let parsed = if text.starts_with(api_key::PREFIX) {
            text.parse::<ApiKey>().map(|key| key.key_id())
        } else {
            text.parse::<KeyId>()
        };
        parsed.map_err(|error| {
            let message = format!("{error}\nA key id is 13 letters and digits, as `keys list` shows it.\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}
