//! Stands between a ledger and its server, and cuts when told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a client sends to commit.
const COMMIT: &[u8] = b"COMMIT\0";

pub(super) struct Proxy {
    pub port: u16,
    /// Cut the next connection that commits, after the server has done it and before the client
    /// hears of it.
    pub lose_next_commit: Arc<AtomicBool>,
    /// How many were cut.
    pub cut: Arc<AtomicU32>,
}

impl Proxy {
    pub(super) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let proxy = Self {
            port: listener.local_addr().expect("bound").port(),
            lose_next_commit: Arc::default(),
            cut: Arc::default(),
        };
        let (lose, cut) = (Arc::clone(&proxy.lose_next_commit), Arc::clone(&proxy.cut));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let upstream = TcpStream::connect(("127.0.0.1", server)).await;
                let (lose, cut) = (Arc::clone(&lose), Arc::clone(&cut));
                tokio::spawn(carry(client, upstream.expect("the server"), lose, cut));
            }
        });
        proxy
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, lose: Arc<AtomicBool>, cut: Arc<AtomicU32>) {
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                let bytes = &up[..length];
                if server.write_all(bytes).await.is_err() {
                    return;
                }
                let commits = bytes.windows(COMMIT.len()).any(|window| window == COMMIT);
                if commits && lose.swap(false, Ordering::SeqCst) {
                    // The answer: the commit is done when it is here.
                    let answered = server.read(&mut down).await.expect("an answer");
                    assert!(answered > 0, "the server answers a COMMIT");
                    cut.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&down[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
