//! A closed loop of keep-alive connections that send prepared HTTP/1.1 requests as fast as they are
//! answered. Little more than reads and writes, so that what is measured is the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What came back within the time.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub acknowledged: u64,
    /// Answers other than 200.
    pub refused: u64,
    pub elapsed: Duration,
}

impl Measured {
    pub fn per_second(&self) -> f64 {
        self.acknowledged as f64 / self.elapsed.as_secs_f64()
    }
}

/// A request as it goes over the wire.
pub fn request(content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Stands in a request for a number that no other sending of any request has.
pub const UNIQUE: &[u8; 12] = b"<<unique-->>";

/// Every connection sends the requests in turn for `time`, beginning at another one each.
pub async fn run(server: SocketAddr, connections: usize, time: Duration, requests: &Arc<Vec<Vec<u8>>>) -> Measured {
    let (acknowledged, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let mut tasks = Vec::new();
    for first in 0..connections {
        let (requests, acknowledged, refused) = (Arc::clone(requests), Arc::clone(&acknowledged), Arc::clone(&refused));
        tasks.push(tokio::spawn(async move {
            let mut connection = Connection::open(server).await;
            let places: Vec<Vec<usize>> = requests.iter().map(|request| unique_in(request)).collect();
            let mut requests = requests.to_vec();
            let mut turn = first;
            while began.elapsed() < time {
                let index = turn % requests.len();
                let number = format!("{:012}", turn * connections + first);
                for at in &places[index] {
                    requests[index][*at..at + UNIQUE.len()].copy_from_slice(number.as_bytes());
                }
                let counter = if connection.send(&requests[index]).await == 200 { &acknowledged } else { &refused };
                counter.fetch_add(1, Ordering::Relaxed);
                turn += 1;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    Measured {
        acknowledged: acknowledged.load(Ordering::Relaxed),
        refused: refused.load(Ordering::Relaxed),
        elapsed: began.elapsed(),
    }
}

fn unique_in(request: &[u8]) -> Vec<usize> {
    request.windows(UNIQUE.len()).enumerate().filter(|(_, window)| *window == UNIQUE).map(|(at, _)| at).collect()
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::with_capacity(16_384) }
    }

    /// Sends one request, reads its whole answer, and says its status.
    async fn send(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).await.unwrap();
        self.buffer.clear();
        let (head, length) = loop {
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "the server closed the connection");
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
                break (head.clone(), end + 4 + length.map_or(0, |text| text.trim().parse::<usize>().unwrap()));
            }
        };
        while self.buffer.len() < length {
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "the answer ends too early");
        }
        head.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}
