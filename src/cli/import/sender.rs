//! Sends events in batches and adds up what became of them.

use std::time::Duration;

use serde_json::Value;

use crate::cli::Failure;
use crate::cli::remote::Server;

/// A request is sent when it has so many events or bytes.
const EVENTS: usize = 500;
const BYTES: usize = 2 << 20;
/// How long a server that is busy is asked again.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_secs(1);

pub struct Sender<'a> {
    server: &'a Server,
    door: Door,
    lines: String,
    /// What each line is called when it is refused.
    names: Vec<String>,
    sent: Sent,
}

/// Where lines are sent to.
#[derive(Debug, Clone, Copy)]
pub enum Door {
    /// Events of DevPulse's own.
    Events,
    /// What GitHub says, in the words of its webhooks.
    GitHub,
}

#[derive(Debug, Default)]
pub struct Sent {
    pub accepted: usize,
    pub duplicate: usize,
    /// They say nothing that counts.
    pub skipped: usize,
    pub refused: Vec<String>,
}

impl<'a> Sender<'a> {
    pub fn new(server: &'a Server, door: Door) -> Self {
        Self { server, door, lines: String::new(), names: Vec::new(), sent: Sent::default() }
    }

    /// # Errors
    /// The server cannot be reached, or refuses the whole request.
    pub async fn send(&mut self, name: String, event: &Value) -> Result<(), Failure> {
        self.lines.push_str(&event.to_string());
        self.lines.push('\n');
        self.names.push(name);
        if self.names.len() >= EVENTS || self.lines.len() >= BYTES { self.flush().await } else { Ok(()) }
    }

    /// Counts what cannot even be sent among what was refused.
    pub fn refuse(&mut self, why: String) {
        self.sent.refused.push(why);
    }

    /// # Errors
    /// As of [`Self::send`].
    pub async fn finish(mut self) -> Result<Sent, Failure> {
        self.flush().await?;
        Ok(self.sent)
    }

    /// Whether anything sent so far was refused.
    pub fn was_refused(&self) -> bool {
        !self.sent.refused.is_empty()
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// As of [`Self::send`].
    pub async fn flush(&mut self) -> Result<(), Failure> {
        if self.names.is_empty() {
            return Ok(());
        }
        let (lines, names) = (std::mem::take(&mut self.lines), std::mem::take(&mut self.names));
        let mut tries = 0;
        let receipt = loop {
            let sending = match self.door {
                Door::Events => {
                    self.server.send_lines(&["events"], &[("receipt", Some("outcomes"))], lines.clone()).await
                }
                Door::GitHub => self.server.send_lines(&["import", "github"], &[], lines.clone()).await,
            };
            match sending? {
                Some(receipt) => break receipt,
                None if tries < TRIES => tries += 1,
                None => return Err(Failure::Refused("the server stays too busy; import again later".to_owned())),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let items = receipt.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        for (name, item) in names.iter().zip(&items) {
            match item.get("outcome").and_then(Value::as_str) {
                Some("accepted") => self.sent.accepted += 1,
                Some("duplicate") => self.sent.duplicate += 1,
                Some("skipped") => self.sent.skipped += 1,
                _ => {
                    let part = |at| item.pointer(at).and_then(Value::as_str).unwrap_or_default();
                    self.sent.refused.push(format!("{name}: {} {}", part("/error/pointer"), part("/error/detail")));
                }
            }
        }
        Ok(())
    }
}
