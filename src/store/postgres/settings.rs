//! Where Postgres is and who we are there, from flags and the environment.

use std::env;
use std::fmt;
use std::path::PathBuf;

use clap::Args;

use super::secret::{self, DatabaseSecret, SecretSource, SecretText, settings};
use super::url::{Host, SslMode, Url};
use crate::store::error::Result;

/// User and database where nobody names them.
const DEFAULT_NAME: &str = "trinity_beast";
const DEFAULT_PORT: u16 = 5_432;

/// Where the ledger is if it is in Postgres. Passwords have no flags: other users of a machine
/// can read a process's arguments. They come from `PGPASSWORD`, a file, or a secret
/// (`AURORA_SECRET`).
#[derive(Clone, Debug, Default, Args)]
pub struct PostgresArgs {
    /// Keep the ledger in Postgres 15 or later instead of SQLite: HOST, HOST:PORT, a socket's directory,
    /// or postgres://USER@HOST:PORT/DATABASE?sslmode=...
    #[arg(
        long,
        env = "AURORA_URL",
        value_name = "URL",
        hide_env_values = true,
        global = true
    )]
    pub aurora_url: Option<SecretText>,
    /// A file with an AWS-style secret: JSON with username, password, host, port, dbname; read anew at
    /// each connection (AURORA_SECRET holds the JSON itself)
    #[arg(long, env = "AURORA_SECRET_FILE", value_name = "FILE", global = true)]
    pub aurora_secret_file: Option<PathBuf>,
    /// User in Postgres, where neither URL nor secret names one [default: trinity_beast]
    #[arg(long, env = "PGUSER", value_name = "NAME", global = true)]
    pub postgres_user: Option<String>,
    /// Database in Postgres, where neither URL nor secret names one [default: trinity_beast]
    #[arg(long, env = "PGDATABASE", value_name = "NAME", global = true)]
    pub postgres_database: Option<String>,
    /// A file with the password for Postgres, read anew at each connection (PGPASSWORD holds it itself)
    #[arg(long, env = "PGPASSWORD_FILE", value_name = "FILE", global = true)]
    pub postgres_password_file: Option<PathBuf>,
    /// The CA that signed Postgres's certificate, PEM, instead of the system's
    #[arg(long, env = "PGSSLROOTCERT", value_name = "FILE", global = true)]
    pub postgres_ca: Option<PathBuf>,
}

/// How to reach Postgres. Files with secrets are read at each connection, so that a rotated
/// secret is taken up without a restart.
#[derive(Clone, Debug)]
pub struct PostgresSettings {
    url: Url,
    secret: Option<SecretSource>,
    user: Option<String>,
    database: Option<String>,
    password: Password,
    ssl_mode: Option<SslMode>,
    ca: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum Password {
    None,
    Text(SecretText),
    File(PathBuf),
}

/// Everything that one connection needs.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub host: Host,
    pub port: u16,
    pub user: String,
    pub database: String,
    pub password: Option<SecretText>,
    pub tls: Option<Tls>,
    pub application_name: String,
}

/// What is asked of the server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tls {
    pub check: Check,
    pub ca: Option<PathBuf>,
}

/// How far a certificate is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Nothing,
    Signer,
    SignerAndName,
}

impl PostgresArgs {
    /// The settings, if the ledger is to be in Postgres: if `AURORA_URL` is set, or a secret that
    /// says where it is.
    pub fn settings(&self) -> Result<Option<PostgresSettings>> {
        self.settings_with(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn settings_with(&self, env: impl Fn(&str) -> Option<String>) -> Result<Option<PostgresSettings>> {
        let path = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let url = self
            .aurora_url
            .as_ref()
            .filter(|url| !url.expose().trim().is_empty());
        let secret = match path(&self.aurora_secret_file) {
            Some(file) => Some(SecretSource::File(file)),
            None => env("AURORA_SECRET").map(|text| SecretSource::Text(text.into())),
        };
        let url = match (url, &secret) {
            (Some(url), _) => Url::parse(url.expose())?,
            (None, Some(secret)) => {
                if secret.read()?.host.is_none() {
                    return Err(settings(
                        "the secret of AURORA_SECRET",
                        "names no host: set AURORA_URL as well, or unset the secret".to_owned(),
                    ));
                }
                Url::default()
            }
            (None, None) => return Ok(None),
        };
        let password = match path(&self.postgres_password_file) {
            Some(file) => Password::File(file),
            None => env("PGPASSWORD").map_or(Password::None, |text| Password::Text(text.into())),
        };
        let ssl_mode = match (url.ssl_mode, env("PGSSLMODE")) {
            (Some(mode), _) => Some(mode),
            (None, Some(text)) => Some(text.parse()?),
            (None, None) => None,
        };
        let settings = PostgresSettings {
            ca: url.ca.clone().or_else(|| path(&self.postgres_ca)),
            url,
            secret,
            user: self.postgres_user.clone().filter(|name| !name.is_empty()),
            database: self.postgres_database.clone().filter(|name| !name.is_empty()),
            password,
            ssl_mode,
        };
        // What is wrong with the files is told now, not at the first connection.
        settings.target()?;
        Ok(Some(settings))
    }
}

impl PostgresSettings {
    /// Settings from a URL alone, which says everything.
    pub fn from_url(url: &str) -> Result<Self> {
        let args = PostgresArgs {
            aurora_url: Some(url.to_owned().into()),
            ..PostgresArgs::default()
        };
        let settings_of = args.settings_with(|_| None)?;
        settings_of.ok_or_else(|| settings("AURORA_URL", "is empty".to_owned()))
    }

    /// Whether the password stands in the URL, where process lists and logs of others may show it.
    pub fn has_password_in_url(&self) -> bool {
        self.url.password.is_some()
    }

    /// Reads what is in files and puts it all together: the URL goes before the secret, and the
    /// secret before the rest.
    pub(super) fn target(&self) -> Result<Target> {
        let secret = match &self.secret {
            Some(source) => source.read()?,
            None => DatabaseSecret::default(),
        };
        let host = match (&self.url.host, secret.host) {
            (Some(host), _) => host.clone(),
            (None, Some(host)) => Host::Tcp(host),
            (None, None) => return Err(settings("AURORA_URL", "names no host".to_owned())),
        };
        let password = match (&self.url.password, secret.password, &self.password) {
            (Some(password), _, _) => Some(password.clone()),
            (None, Some(password), _) => Some(password),
            (None, None, Password::File(path)) => Some(secret::password_file(path)?),
            (None, None, Password::Text(text)) => Some(text.clone()),
            (None, None, Password::None) => None,
        };
        let name = |url: &Option<String>, secret: Option<String>, other: &Option<String>| {
            let given = url.clone().or(secret).or_else(|| other.clone());
            given.unwrap_or_else(|| DEFAULT_NAME.to_owned())
        };
        let mode = self.ssl_mode.unwrap_or(if host.is_local() {
            SslMode::Disable
        } else {
            SslMode::VerifyFull
        });
        let check = match mode {
            SslMode::Disable => None,
            SslMode::Require if self.ca.is_none() => Some(Check::Nothing),
            // As libpq has it: who gives a CA wants it asked.
            SslMode::Require | SslMode::VerifyCa => Some(Check::Signer),
            SslMode::VerifyFull => Some(Check::SignerAndName),
        };
        if check.is_some() && matches!(host, Host::Socket(_)) {
            return Err(settings(
                "sslmode",
                "asks for TLS over a socket of this machine, which Postgres does not speak: use sslmode=disable".to_owned(),
            ));
        }
        Ok(Target {
            host,
            port: self.url.port.or(secret.port).unwrap_or(DEFAULT_PORT),
            user: name(&self.url.user, secret.user, &self.user),
            database: name(&self.url.database, secret.database, &self.database),
            password,
            tls: check.map(|check| Tls {
                check,
                ca: self.ca.clone(),
            }),
            application_name: self
                .url
                .application_name
                .clone()
                .unwrap_or_else(|| "trinity-beast".to_owned()),
        })
    }

    /// Where it is, for people; nothing secret.
    pub fn describe(&self) -> String {
        self.target()
            .map_or_else(|_| "Postgres".to_owned(), |target| target.to_string())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Host::Tcp(host) => write!(f, "{host}:{}", self.port),
            Host::Socket(path) => write!(f, "{}/.s.PGSQL.{}", path.display(), self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(url: Option<&str>) -> PostgresArgs {
        PostgresArgs {
            aurora_url: url.map(|url| url.to_owned().into()),
            ..PostgresArgs::default()
        }
    }

    fn target(args: &PostgresArgs, env: &[(&str, &str)]) -> Target {
        let env = |name: &str| {
            env.iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let settings = args.settings_with(env).expect("fits").expect("Postgres");
        settings.target().expect("complete")
    }

    #[test]
    fn without_a_url_or_a_secret_the_ledger_is_not_in_postgres() {
        for url in [None, Some(""), Some("  ")] {
            let env = |name: &str| (name == "PGPASSWORD").then(|| "x".to_owned());
            assert!(args(url).settings_with(env).expect("fits").is_none());
        }
    }

    #[test]
    fn a_remote_host_is_verified_in_full_and_a_local_one_spoken_to_plainly() {
        let tls = |url: &str, env: &[(&str, &str)]| target(&args(Some(url)), env).tls.map(|tls| tls.check);
        assert_eq!(tls("db.example", &[]), Some(Check::SignerAndName));
        assert_eq!(tls("10.0.0.5:5432", &[]), Some(Check::SignerAndName));
        for local in ["localhost", "127.0.0.1:5433", "::1", "/run/postgresql"] {
            assert_eq!(tls(local, &[]), None, "{local}");
        }
        assert_eq!(tls("db.example", &[("PGSSLMODE", "disable")]), None);
        assert_eq!(
            tls("postgres://db.example/?sslmode=require", &[]),
            Some(Check::Nothing)
        );
        assert_eq!(
            tls("postgres://db.example/?sslmode=require&sslrootcert=/ca", &[]),
            Some(Check::Signer)
        );
        assert_eq!(
            tls("postgres://localhost/?sslmode=verify-full", &[]),
            Some(Check::SignerAndName)
        );
        assert!(
            args(Some("postgres:///db?host=/run&sslmode=require"))
                .settings_with(|_| None)
                .is_err()
        );
        assert!(
            args(Some("db.example"))
                .settings_with(|name| (name == "PGSSLMODE").then(|| "prefer".to_owned()))
                .is_err()
        );
    }

    #[test]
    fn the_url_goes_before_the_secret_and_the_secret_before_the_rest() {
        let secret = (
            "AURORA_SECRET",
            r#"{"username":"su","password":"sp","host":"s.example","port":7,"dbname":"sd"}"#,
        );
        let env = [secret, ("PGPASSWORD", "pp")];
        let with_names = |url| PostgresArgs {
            postgres_user: Some("pu".to_owned()),
            postgres_database: Some("pd".to_owned()),
            ..args(url)
        };
        let seen = |target: Target| {
            let password = target.password.as_ref().map(|text| text.expose().to_owned());
            format!("{target} {} {} {password:?}", target.user, target.database)
        };
        assert_eq!(
            seen(target(&with_names(None), &env)),
            "s.example:7 su sd Some(\"sp\")"
        );
        assert_eq!(
            seen(target(&with_names(Some("u.example")), &env)),
            "u.example:7 su sd Some(\"sp\")"
        );
        assert_eq!(
            seen(target(&with_names(Some("postgres://uu:up@u.example:9/ud")), &env)),
            "u.example:9 uu ud Some(\"up\")"
        );
        assert_eq!(
            seen(target(&with_names(Some("u.example")), &env[1..])),
            "u.example:5432 pu pd Some(\"pp\")"
        );
        assert_eq!(
            seen(target(&args(Some("u.example")), &[])),
            "u.example:5432 trinity_beast trinity_beast None"
        );
    }

    #[test]
    fn a_rotated_password_is_read_at_the_next_connection() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("password");
        std::fs::write(&file, "old\n").expect("written");
        let args = PostgresArgs {
            postgres_password_file: Some(file.clone()),
            ..args(Some("db.example"))
        };
        let settings = args.settings_with(|_| None).expect("fits").expect("Postgres");
        let password = || settings.target().expect("complete").password.expect("one");
        assert_eq!(password().expose(), "old");
        std::fs::write(&file, "new\n").expect("written");
        assert_eq!(password().expose(), "new");
    }

    #[test]
    fn no_password_is_in_debug() {
        let settings = PostgresSettings::from_url("postgres://u:hunter2@db.example/d").expect("fits");
        let shown = format!("{settings:?} {:?} {}", settings.target(), settings.describe());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(settings.has_password_in_url());
    }
}
