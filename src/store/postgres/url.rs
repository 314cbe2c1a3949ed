//! What `AURORA_URL` may be: a host, a host with its port, a directory of a socket, or a whole URL.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::secret::{SecretText, settings};
use crate::store::error::Result;

/// Where Postgres listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// A name or an address.
    Tcp(String),
    /// The directory of a socket.
    Socket(PathBuf),
}

/// How the connection is encrypted, and what is asked of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SslMode {
    /// Not at all.
    Disable,
    /// Encrypted; nothing is asked, unless a CA is given.
    Require,
    /// A CA that is trusted signed it.
    VerifyCa,
    /// The same, and it bears the host's name.
    VerifyFull,
}

/// The parts of `AURORA_URL` that were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Url {
    pub host: Option<Host>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub password: Option<SecretText>,
    pub database: Option<String>,
    pub ssl_mode: Option<SslMode>,
    pub ca: Option<PathBuf>,
    pub application_name: Option<String>,
}

const WHAT: &str = "AURORA_URL";

impl Url {
    /// Reads it. An error never repeats the text: there may be a password anywhere in it.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.bytes().any(|b| b.is_ascii_control() || b == b' ') {
            return Err(bad(
                "has a space or a control character in it: write them as %20 and so on",
            ));
        }
        if let Some(rest) = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|s| text.strip_prefix(s))
        {
            return Self::whole(rest);
        }
        if text.contains("://") {
            return Err(bad(
                "does not begin with postgres://, and is neither a host nor a host with its port",
            ));
        }
        if text.starts_with('/') {
            return Ok(Self {
                host: Some(Host::Socket(text.into())),
                ..Self::default()
            });
        }
        if text.contains(['@', '/', '?']) {
            return Err(bad("is more than a host: begin it with postgres://"));
        }
        let (host, port) = host_and_port(text)?;
        Ok(Self {
            host: Some(Host::Tcp(host.ok_or_else(|| bad("has no host"))?)),
            port,
            ..Self::default()
        })
    }

    fn whole(rest: &str) -> Result<Self> {
        let (rest, query) = rest
            .split_once('?')
            .map_or((rest, None), |(rest, query)| (rest, Some(query)));
        if rest.contains('#') || query.is_some_and(|query| query.contains('#')) {
            return Err(bad("has a # in it: write it as %23"));
        }
        let (authority, database) = rest.split_once('/').map_or((rest, ""), |parts| parts);
        let (login, place) = authority.rsplit_once('@').map_or(("", authority), |parts| parts);
        let (user, password) = login
            .split_once(':')
            .map_or((login, None), |(user, password)| (user, Some(password)));
        let place = decode(place)?;
        let mut url = Self {
            user: some(decode(user)?),
            password: match password {
                Some(text) => some(decode(text)?).map(SecretText::from),
                None => None,
            },
            database: some(decode(database)?),
            ..Self::default()
        };
        if place.starts_with('/') {
            url.host = Some(Host::Socket(place.into()));
        } else {
            let (host, port) = host_and_port(&place)?;
            url.host = host.map(Host::Tcp);
            url.port = port;
        }
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value)?;
            match name {
                "sslmode" => url.ssl_mode = Some(value.parse()?),
                "sslrootcert" => url.ca = some(value).map(PathBuf::from),
                "application_name" => url.application_name = some(value),
                "host" if value.starts_with('/') => url.host = Some(Host::Socket(value.into())),
                "host" if !value.is_empty() => url.host = Some(Host::Tcp(value)),
                "port" => url.port = Some(port(&value)?),
                "user" => url.user = some(value),
                "dbname" => url.database = some(value),
                "password" => url.password = some(value).map(SecretText::from),
                _ => {
                    return Err(bad(
                        "has an option that is not known here: use sslmode, sslrootcert, application_name, host, port, user and dbname",
                    ));
                }
            }
        }
        Ok(url)
    }
}

impl Host {
    /// Whether what is said to it stays on this machine.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Tcp(host) => {
                host.eq_ignore_ascii_case("localhost")
                    || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }
}

impl FromStr for SslMode {
    type Err = crate::store::error::StoreError;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "disable" => Ok(Self::Disable),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            "prefer" | "allow" => Err(settings(
                "sslmode",
                format!(
                    "{text} would send the password in the clear whenever somebody in between says so: use verify-full, or disable"
                ),
            )),
            _ => Err(settings(
                "sslmode",
                "is none of disable, require, verify-ca and verify-full".to_owned(),
            )),
        }
    }
}

fn host_and_port(text: &str) -> Result<(Option<String>, Option<u16>)> {
    if text.contains(',') {
        return Err(bad("names several hosts: give the one that takes writes"));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(|| bad("has a [ without its ]"))?;
        let host: IpAddr = host
            .parse()
            .map_err(|_| bad("has no IP address in its brackets"))?;
        return match rest.strip_prefix(':') {
            Some(digits) => Ok((Some(host.to_string()), Some(port(digits)?))),
            None if rest.is_empty() => Ok((Some(host.to_string()), None)),
            None => Err(bad("has something between its host and its port")),
        };
    }
    // A bare IPv6 address has no port.
    if text.parse::<IpAddr>().is_ok() {
        return Ok((Some(text.to_owned()), None));
    }
    let (host, digits) = text
        .split_once(':')
        .map_or((text, None), |(host, digits)| (host, Some(digits)));
    let named = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if !host.bytes().all(named) || host.len() > 253 {
        return Err(bad("has a host that is no name and no address"));
    }
    Ok((some(host.to_owned()), digits.map(port).transpose()?))
}

fn port(text: &str) -> Result<u16> {
    match text.parse() {
        Ok(0) | Err(_) => Err(bad("has a port that is not between 1 and 65535")),
        Ok(port) => Ok(port),
    }
}

fn decode(text: &str) -> Result<String> {
    let text = percent_decode_str(text).decode_utf8();
    let text = text.map_err(|_| bad("has %XX in it that is no UTF-8"))?;
    if text.contains('\0') {
        return Err(bad("has a NUL in it"));
    }
    Ok(text.into_owned())
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn bad(why: &str) -> crate::store::error::StoreError {
    settings(WHAT, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as the parser gives it")]
    fn tcp(host: &str) -> Option<Host> {
        Some(Host::Tcp(host.to_owned()))
    }

    #[test]
    fn a_bare_host_is_enough_with_or_without_its_port() {
        for (text, host, port) in [
            ("db.example", "db.example", None),
            ("db.example:5433", "db.example", Some(5433)),
            ("10.0.0.1", "10.0.0.1", None),
            ("::1", "::1", None),
            ("[2001:db8::1]:5433", "2001:db8::1", Some(5433)),
        ] {
            let url = Url::parse(text).expect(text);
            assert_eq!((url.host, url.port, url.user), (tcp(host), port, None), "{text}");
        }
        let socket = Url::parse("/run/postgresql").expect("a socket");
        assert_eq!(socket.host, Some(Host::Socket("/run/postgresql".into())));
    }

    #[test]
    fn a_whole_url_gives_every_part() {
        let url = Url::parse("postgres://me%40home:p%40ss%3A%2F@db.example:5433/led%20ger?sslmode=verify-ca&sslrootcert=/etc/ca.pem&application_name=x")
            .expect("fits");
        assert_eq!((url.host, url.port), (tcp("db.example"), Some(5433)));
        assert_eq!(url.user.as_deref(), Some("me@home"));
        assert_eq!(url.password.as_ref().map(SecretText::expose), Some("p@ss:/"));
        assert_eq!(url.database.as_deref(), Some("led ger"));
        assert_eq!(
            (url.ssl_mode, url.ca),
            (Some(SslMode::VerifyCa), Some("/etc/ca.pem".into()))
        );
        assert_eq!(url.application_name.as_deref(), Some("x"));
        let socket = Url::parse("postgresql://me@%2Frun%2Fpg/db").expect("fits");
        assert_eq!(socket.host, Some(Host::Socket("/run/pg".into())));
        let socket = Url::parse("postgres:///db?host=/run/pg&port=5433").expect("fits");
        assert_eq!(
            (socket.host, socket.port),
            (Some(Host::Socket("/run/pg".into())), Some(5433))
        );
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_without_repeating_it() {
        for text in [
            "mysql://me:hunter2@db.example",
            "me:hunter2@db.example",
            "postgres://me:hunter2@db.example:notaport/db",
            "postgres://me:hunter2@db.example:0/db",
            "postgres://me:hunter2@a.example,b.example/db",
            "postgres://me:hunter2@db.example/db?sslmode=prefer",
            "postgres://me:hunter2@db.example/db?sslmode=hunter2",
            "postgres://me:hunter2@db.example/db?hunter2=1",
            "postgres://me:hunter2%FF@db.example/db",
            "postgres://me:hunter2%00@db.example/db",
            "postgres://me:hun ter2@db.example/db",
            "postgres://me:hunter2#@db.example/db",
            "postgres://me:hunter2/x@db.example/db",
            "postgres://[::1/hunter2",
        ] {
            let error = Url::parse(text).expect_err(text);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn only_this_machine_is_local() {
        for (host, local) in [
            ("localhost", true),
            ("127.0.0.9", true),
            ("::1", true),
            ("10.0.0.1", false),
            ("localhost.example", false),
        ] {
            assert_eq!(Host::Tcp(host.to_owned()).is_local(), local, "{host}");
        }
        assert!(Host::Socket("/run".into()).is_local());
    }
}
