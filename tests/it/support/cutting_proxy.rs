//! PostgreSQL behind a proxy that loses the connection while something is being committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devpulse::store::{Store, open};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::db::TestDb;

/// Where the next COMMIT is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Before the server hears of it.
    Before,
    /// After the server has done it, before DevPulse hears of it.
    After,
}

#[derive(Clone, Default)]
pub struct Proxy {
    pub next: Arc<Mutex<Option<Cut>>>,
    /// Stays away after the cut until this is false again.
    pub away: Arc<AtomicBool>,
    pub stay_away: Arc<AtomicBool>,
}

impl Proxy {
    /// Answers with the URL that leads through the proxy.
    async fn start(&self, url: &str) -> String {
        let mut url = url::Url::parse(url).unwrap();
        let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let proxy = self.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if !proxy.away.load(Ordering::SeqCst) {
                    let server = TcpStream::connect(&server).await.unwrap();
                    tokio::spawn(proxy.clone().forward(client, server));
                }
            }
        });
        url.into()
    }

    async fn forward(self, mut client: TcpStream, mut server: TcpStream) -> std::io::Result<()> {
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                read = client.read(&mut up) => {
                    let sent = &up[..read?];
                    let commits = sent.windows(6).any(|bytes| bytes == b"COMMIT");
                    let cut = if commits { self.next.lock().take() } else { None };
                    if cut.is_some() && self.stay_away.load(Ordering::SeqCst) {
                        self.away.store(true, Ordering::SeqCst);
                    }
                    match cut {
                        Some(Cut::Before) => return Ok(()),
                        Some(Cut::After) => {
                            server.write_all(sent).await?;
                            return server.read_u8().await.map(drop);
                        }
                        None if sent.is_empty() => return Ok(()),
                        None => server.write_all(sent).await?,
                    }
                }
                read = server.read(&mut down) => match read? {
                    0 => return Ok(()),
                    read => client.write_all(&down[..read]).await?,
                }
            }
        }
    }
}

/// A database reached through a proxy.
pub async fn proxied() -> (TestDb, Proxy, Store) {
    let db = TestDb::postgres().await;
    let proxy = Proxy::default();
    let store = open::open(&proxy.start(&db.url).await, 4).await.unwrap();
    (db, proxy, store)
}
