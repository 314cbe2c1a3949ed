//! The way to the server: who is trusted, what is said when it is not there, and how it comes back.

use std::sync::atomic::Ordering;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::proxy::Proxy;
use super::*;

/// A CA and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for a name, and its key.
    fn sign(&self, name: &str) -> (String, String) {
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }
}

#[tokio::test]
async fn a_server_is_trusted_by_its_ca_and_its_name_as_sslmode_says() {
    let (ours, others) = (Authority::new(), Authority::new());
    let (certificate, key) = ours.sign("localhost");
    let server = Postgres::start_with("ssl = on", &[("server.crt", &certificate), ("server.key", &key)]);
    let dir = tempfile::tempdir().expect("a directory");
    let (good, wrong) = (dir.path().join("good.pem"), dir.path().join("wrong.pem"));
    std::fs::write(&good, &ours.pem).expect("written");
    std::fs::write(&wrong, &others.pem).expect("written");
    let (good, wrong) = (good.display(), wrong.display());

    let open = async |host: &str, options: &str| {
        let url = tcp_url(host, server.port, PASSWORD, options);
        PostgresLedger::open_or_create(settings(&url)).await
    };
    let ledger = open("localhost", &format!("?sslmode=verify-full&sslrootcert={good}"))
        .await
        .expect("the right CA and name");
    ledger.tiers().await.expect("works");
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE ssl AND application_name = 'trinity-beast'";
    assert_ne!(server.sql_as("postgres", NAME, encrypted).expect("asked"), "0");

    for (host, options) in [
        ("localhost", format!("?sslmode=verify-full&sslrootcert={wrong}")),
        ("localhost", format!("?sslmode=verify-ca&sslrootcert={wrong}")),
        ("127.0.0.1", format!("?sslmode=verify-full&sslrootcert={good}")),
        // No system knows the test's CA.
        ("localhost", "?sslmode=verify-full".to_owned()),
    ] {
        let error = open(host, &options).await.err().expect("is not trusted");
        assert!(
            matches!(error, StoreError::Untrusted { .. }),
            "{options}: {error}"
        );
        let text = error.to_string();
        assert!(
            text.contains("--postgres-ca") && !text.contains(PASSWORD),
            "{text}"
        );
    }
    for (host, options) in [
        ("127.0.0.1", format!("?sslmode=verify-ca&sslrootcert={good}")),
        ("127.0.0.1", "?sslmode=require".to_owned()),
        ("127.0.0.1", "?sslmode=disable".to_owned()),
    ] {
        open(host, &options).await.expect(&options);
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let server = Postgres::start();
    let url = tcp_url("127.0.0.1", server.port, PASSWORD, "?sslmode=verify-full");
    let error = PostgresLedger::open_or_create(settings(&url))
        .await
        .err()
        .expect("no TLS");
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_told_without_the_password() {
    let server = Postgres::start();
    let url = tcp_url("127.0.0.1", server.port, "hunter2", "");
    let error = PostgresLedger::open_or_create(settings(&url))
        .await
        .err()
        .expect("refused");
    let text = format!("{error} {error:?}");
    assert!(matches!(error, StoreError::LoginRefused { .. }), "{text}");
    assert!(
        text.contains(NAME) && text.contains("PGPASSWORD_FILE") && !text.contains("hunter2"),
        "{text}"
    );

    let none = format!("postgres://{NAME}@127.0.0.1:{}/{NAME}", server.port);
    let error = PostgresLedger::open_or_create(settings(&none))
        .await
        .err()
        .expect("refused");
    assert!(matches!(error, StoreError::LoginRefused { .. }), "{error}");
    let error =
        PostgresLedger::open_or_create(settings(&server.url().replace("/trinity_beast?", "/elsewhere?")));
    let error = error.await.err().expect("no such database");
    assert!(matches!(error, StoreError::NoSuchDatabase { .. }), "{error}");
    assert!(error.to_string().contains("createdb"), "{error}");
}

#[tokio::test]
async fn a_rotated_secret_is_taken_up_by_the_next_connection() {
    let server = Postgres::start();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("secret.json");
    let secret = |password: &str| {
        let port = server.port;
        format!(
            r#"{{"username":"{NAME}","password":"{password}","host":"127.0.0.1","port":{port},"dbname":"{NAME}"}}"#
        )
    };
    std::fs::write(&file, secret(PASSWORD)).expect("written");
    let args = PostgresArgs {
        aurora_secret_file: Some(file.clone()),
        ..PostgresArgs::default()
    };
    let settings = args.settings().expect("fits").expect("Postgres");
    let ledger = PostgresLedger::open_or_create(settings).await.expect("opens");

    std::fs::write(&file, secret("another one")).expect("written");
    let rotate = format!("ALTER ROLE {NAME} PASSWORD 'another one'");
    server.sql_as("postgres", NAME, &rotate).expect("rotated");
    let cut =
        format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{NAME}'");
    server.sql_as("postgres", NAME, &cut).expect("cut off");
    ledger.tiers().await.expect("comes back with the new password");
}

#[tokio::test]
async fn a_server_that_went_away_is_named_and_found_again_by_itself() {
    let (mut server, ledger) = fresh().await;
    let account_id = account(&ledger, "acme").await.id;
    server.stop();
    let error = ledger.tiers().await.expect_err("is gone");
    let text = error.to_string();
    assert!(
        text.contains("cannot reach Postgres") && text.contains("AURORA_URL"),
        "{text}"
    );
    let flush = ledger.flush_usage(&flush_id(1), &[usage_row(1, 5)], &[]).await;
    flush.expect_err("is gone");

    server.start_again();
    let back = async {
        while ledger.tiers().await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, back).await.expect("comes back");
    ledger
        .create_key(new_key(account_id, 1))
        .await
        .expect("writes too");
    let flush = ledger.flush_usage(&flush_id(1), &[usage_row(1, 5)], &[]).await;
    assert_eq!(flush.expect("is taken"), FlushOutcome::Applied);
}

#[tokio::test]
async fn connections_that_broke_meanwhile_are_not_noticed_by_who_reads() {
    let (mut server, ledger) = fresh().await;
    let all = async || {
        let (a, b, c, d) = tokio::join!(ledger.tiers(), ledger.tiers(), ledger.tiers(), ledger.tiers());
        [a, b, c, d].into_iter().all(|tiers| tiers.is_ok())
    };
    assert!(all().await, "four connections");
    server.crash();
    server.start_again();
    assert!(all().await, "four others");
    ledger
        .set_parameter("a", "1", 1)
        .await
        .expect("what was not begun can be begun anew");
}

#[tokio::test]
async fn a_flush_whose_commit_was_not_acknowledged_is_an_error_and_counts_once() {
    let server = Postgres::start();
    let proxy = Proxy::start(server.port).await;
    let url = tcp_url("127.0.0.1", proxy.port, PASSWORD, "");
    let ledger = PostgresLedger::open_or_create(settings(&url))
        .await
        .expect("opens");
    for sequence in 1..=5 {
        // The partition's own commit is not the one to lose.
        ledger
            .tend_usage(usage_row(1, 1).second, 93)
            .await
            .expect("makes room");
        proxy.lose_next_commit.store(true, Ordering::SeqCst);
        let (usage, symbols) = ([usage_row(1, 3)], [symbol_row(1, 2)]);
        let first = ledger.flush_usage(&flush_id(sequence), &usage, &symbols).await;
        let error = first.expect_err("nobody knows what became of it");
        assert!(matches!(error, StoreError::ConnectionLost { .. }), "{error}");
        let second = ledger.flush_usage(&flush_id(sequence), &usage, &symbols).await;
        assert_eq!(second.expect("is told"), FlushOutcome::AlreadyApplied);
    }
    assert_eq!(proxy.cut.load(Ordering::SeqCst), 5);
    let total = ledger.usage_total(KeyId(1)).await.expect("reads");
    assert_eq!((total.requests, total.entries), (15, 10));
    assert!(ledger.audit().await.expect("audits").discrepancies.is_empty());
}

#[tokio::test]
async fn a_change_by_anybody_is_told_and_so_is_a_gap_in_listening() {
    let (server, ledger) = fresh().await;
    let told = async || timeout(PATIENCE, ledger.changed()).await.expect("is told");
    told().await;
    // What the first connection told of itself may come in two.
    let quiet = std::time::Duration::from_millis(200);
    while timeout(quiet, ledger.changed()).await.is_ok() {}

    let before = ledger.change_stamp().await.expect("reads");
    server
        .sql("INSERT INTO accounts (name, tier, created_at_ns) VALUES ('by hand', 'pro', 1)")
        .expect("fits");
    told().await;
    assert_ne!(ledger.change_stamp().await.expect("reads"), before);
    while timeout(quiet, ledger.changed()).await.is_ok() {}

    ledger
        .flush_usage(&flush_id(1), &[usage_row(1, 1)], &[])
        .await
        .expect("flushes");
    let listeners =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    assert_eq!(server.sql_as("postgres", NAME, listeners).expect("cut"), "1");
    told().await;
}

#[tokio::test]
async fn the_listener_ends_with_its_ledger() {
    let (server, ledger) = fresh().await;
    timeout(PATIENCE, ledger.changed()).await.expect("listens");
    let listeners = || {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
        server.sql_as("postgres", NAME, count).expect("asked")
    };
    assert_eq!(listeners(), "1");
    drop(ledger);
    let gone = async {
        while listeners() != "0" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("ends");
}
