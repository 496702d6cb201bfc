//! Every connection ends some time, whatever its client sends.
//!
//! actix limits the first head of a connection and the silence between two requests, but neither a
//! later head that stops half way nor a body that goes on after its answer: either would hold a
//! connection for ever, without a key. So a second handle of every socket is kept here, and a
//! connection on which no request was answered for a while is shut down.

use std::any::Any;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::Extensions;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, interval};

/// How often connections are looked at.
const CHECK: Duration = Duration::from_secs(1);
/// A streamed answer, which says something every 15 s, may be stuck this long.
const STUCK: Duration = Duration::from_secs(60);

/// All that are open.
pub struct Connections {
    open: Mutex<Vec<Weak<Connection>>>,
    /// How long one may be without a request being handled.
    patience: Duration,
}

/// One of them. Lives as long as the socket that actix has.
pub struct Connection {
    socket: TcpStream,
    patience: Duration,
    state: Mutex<State>,
}

struct State {
    /// Requests being handled.
    handling: usize,
    /// When it is shut down unless a request is being handled.
    ends: Instant,
}

/// A request being handled.
pub struct Handling {
    connection: Arc<Connection>,
    /// How long the connection may go on after it.
    then: Duration,
}

impl Connections {
    /// Ready for connections; looks after them as long as it is there itself.
    pub fn watched(patience: Duration) -> Arc<Self> {
        let connections = Arc::new(Self { open: Mutex::default(), patience });
        tokio::spawn(watch(Arc::downgrade(&connections)));
        connections
    }

    /// A callback of the server: `io` is a new connection, `data` what its requests see of it.
    pub fn opened(&self, io: &dyn Any, data: &mut Extensions) {
        let Some(stream) = io.downcast_ref::<tokio::net::TcpStream>() else { return };
        match stream.as_fd().try_clone_to_owned() {
            Ok(socket) => {
                let state = Mutex::new(State { handling: 0, ends: Instant::now() + self.patience });
                let connection = Connection { socket: socket.into(), patience: self.patience, state };
                let connection = Arc::new(connection);
                self.open.lock().push(Arc::downgrade(&connection));
                data.insert(connection);
            }
            Err(error) => tracing::warn!(%error, "a connection is not watched: raise the limit of open files"),
        }
    }

    fn end_those_that_are_over(&self) {
        let now = Instant::now();
        self.open.lock().retain(|connection| {
            let Some(connection) = connection.upgrade() else { return false };
            let over = connection.state.lock().is_over(now);
            if over {
                // An error means that it has ended by itself.
                let _ = connection.socket.shutdown(Shutdown::Both);
            }
            !over
        });
    }
}

async fn watch(connections: Weak<Connections>) {
    let mut checks = interval(CHECK);
    loop {
        checks.tick().await;
        let Some(connections) = connections.upgrade() else { return };
        connections.end_those_that_are_over();
    }
}

impl State {
    fn is_over(&self, now: Instant) -> bool {
        self.handling == 0 && self.ends <= now
    }
}

impl Connection {
    /// A request has come; dropping the answer ends it.
    pub fn handle(self: &Arc<Self>) -> Handling {
        self.state.lock().handling += 1;
        Handling { connection: Arc::clone(self), then: self.patience }
    }
}

impl Handling {
    /// The connection has no more use: it ends within `time`.
    pub fn end_within(&mut self, time: Duration) {
        self.then = time.min(self.then);
    }

    /// Keeps the connection while a streamed body makes progress.
    pub fn keep_during(&self, body: BoxBody) -> BoxBody {
        match body.size() {
            BodySize::Stream => BoxBody::new(Streamed { body, connection: Arc::clone(&self.connection) }),
            BodySize::None | BodySize::Sized(_) => body,
        }
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        let mut state = self.connection.state.lock();
        state.handling = state.handling.saturating_sub(1);
        state.ends = Instant::now() + self.then;
    }
}

struct Streamed {
    body: BoxBody,
    connection: Arc<Connection>,
}

impl MessageBody for Streamed {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.connection.state.lock().ends = Instant::now() + self.connection.patience.max(STUCK);
        Pin::new(&mut self.body).poll_next(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_over_when_its_time_is_and_nothing_is_handled() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        assert!(State { handling: 0, ends: now }.is_over(now));
        assert!(!State { handling: 1, ends: now }.is_over(now + second));
        assert!(!State { handling: 0, ends: now + second }.is_over(now));
    }
}
