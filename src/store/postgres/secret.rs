//! Passwords: where they come from, and that they are never shown.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

use crate::store::error::{Result, StoreError};

/// Longest file that is read for a secret, in bytes.
const MAX_SECRET_FILE: u64 = 64 << 10;

/// Text that may hold a password: `Debug` shows nothing of it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

/// An AWS-style secret: what the secrets manager keeps for a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DatabaseSecret {
    pub user: Option<String>,
    pub password: Option<SecretText>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub database: Option<String>,
}

/// Where an AWS-style secret is.
#[derive(Clone, Debug)]
pub(super) enum SecretSource {
    /// Given as it is, in the environment.
    Text(SecretText),
    /// In a file, which is read at each connection: whoever rotates the secret rewrites the file.
    File(PathBuf),
}

#[derive(Deserialize)]
struct SecretJson {
    username: Option<String>,
    password: Option<String>,
    host: Option<String>,
    port: Option<PortJson>,
    dbname: Option<String>,
}

/// Secrets managers write the port as a number or as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum PortJson {
    Number(u16),
    Text(String),
}

impl SecretText {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl SecretSource {
    pub(super) fn read(&self) -> Result<DatabaseSecret> {
        match self {
            Self::Text(text) => parse("AURORA_SECRET", text.expose()),
            Self::File(path) => parse("the secret in AURORA_SECRET_FILE", read(path)?.expose()),
        }
    }
}

/// A password from a file; one line ending at its end is not part of it.
pub(super) fn password_file(path: &Path) -> Result<SecretText> {
    let text = read(path)?;
    let line = text.0.strip_suffix('\n').unwrap_or(&text.0);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains(['\n', '\0']) {
        return Err(settings(
            "the password file",
            format!("{} is not one line of text", path.display()),
        ));
    }
    Ok(SecretText(line.to_owned()))
}

fn read(path: &Path) -> Result<SecretText> {
    let fail = |why: String| settings("the secret's file", format!("{}: {why}", path.display()));
    let length = fs::metadata(path).map_err(|error| fail(error.to_string()))?.len();
    if length > MAX_SECRET_FILE {
        return Err(fail("is larger than 64 KiB: it is another file".to_owned()));
    }
    fs::read_to_string(path)
        .map(SecretText)
        .map_err(|error| fail(error.to_string()))
}

/// The parser's own message would quote the text, so it only tells the place.
fn parse(what: &'static str, text: &str) -> Result<DatabaseSecret> {
    let secret: SecretJson = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let why = format!(
            "is no JSON object like {{\"username\", \"password\", \"host\", \"port\", \"dbname\"}} (line {line}, column {column})"
        );
        settings(what, why)
    })?;
    let port = match secret.port {
        None => None,
        Some(PortJson::Number(port)) => Some(port),
        Some(PortJson::Text(text)) => {
            let port = text.parse();
            Some(port.map_err(|_| settings(what, "has a port that is no number".to_owned()))?)
        }
    };
    Ok(DatabaseSecret {
        user: secret.username.filter(|text| !text.is_empty()),
        password: secret.password.filter(|text| !text.is_empty()).map(SecretText),
        host: secret.host.filter(|text| !text.is_empty()),
        port,
        database: secret.dbname.filter(|text| !text.is_empty()),
    })
}

pub(super) fn settings(what: &'static str, why: String) -> StoreError {
    StoreError::Settings { what, why }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl FromStr for SecretText {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aws_secret_is_read_with_its_port_as_number_or_text() {
        let whole = r#"{"username":"u","password":"p w","engine":"postgres","host":"db.example","port":5433,"dbname":"d"}"#;
        let secret = parse("s", whole).expect("fits");
        assert_eq!(secret.user.as_deref(), Some("u"));
        assert_eq!(secret.password.as_ref().map(SecretText::expose), Some("p w"));
        assert_eq!(
            (secret.host.as_deref(), secret.port),
            (Some("db.example"), Some(5433))
        );
        assert_eq!(secret.database.as_deref(), Some("d"));
        let text = parse("s", r#"{"password":"p","port":"5434"}"#).expect("fits");
        assert_eq!((text.port, text.user), (Some(5434), None));
    }

    #[test]
    fn nothing_of_a_secret_is_in_an_error_or_in_debug() {
        for text in [
            "hunter2",
            "{\"password\": hunter2}",
            "[\"hunter2\"]",
            "{\"password\":\"hunter2\",\"port\":\"hunter2\"}",
        ] {
            let error = parse("AURORA_SECRET", text).expect_err("refused");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        let secret = parse("s", "{\"password\":\"hunter2\"}").expect("fits");
        assert!(!format!("{secret:?}").contains("hunter2"));
    }

    #[test]
    fn a_password_file_is_one_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("password");
        for (text, expected) in [
            ("a b\n", Some("a b")),
            ("a", Some("a")),
            ("a\r\n", Some("a")),
            ("", None),
            ("\n", None),
            ("a\nb\n", None),
        ] {
            fs::write(&path, text).expect("written");
            assert_eq!(
                password_file(&path).ok().as_ref().map(SecretText::expose),
                expected,
                "{text:?}"
            );
        }
        let error = password_file(&dir.path().join("none")).expect_err("missing");
        assert!(error.to_string().contains("none"), "{error}");
    }
}
