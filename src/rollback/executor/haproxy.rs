//! HAProxy's runtime API, on a unix socket or TCP: a map entry, or the weights of two servers.
//!
//! HAProxy forgets both when it reloads: the map file and the weights in its configuration must
//! be brought up to date by the next deployment. In names made of a template, characters of a
//! version outside `[A-Za-z0-9._-]` become `-` (`{version}` of `1.4.2+build/7` is `1.4.2-build-7`).

use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::{Accepted, BuildError, Call, Executor, ExecutorError, Observed};
use crate::config::model::{HaProxy, HaProxySwitch, is_haproxy_argument};
use crate::outbound::said;

/// Bytes of an answer that are read; a map of a hundred thousand entries fits.
const MAX_ANSWER: u64 = 8 * 1024 * 1024;

pub struct HaProxyExecutor {
    address: Address,
    switch: HaProxySwitch,
    timeout: Duration,
}

enum Address {
    Unix(PathBuf),
    Tcp(String),
}

/// The names a call is about, safe to be part of a command.
struct Names {
    /// The backend, or `BACKEND/SERVER`, of the target version.
    to: String,
    /// Of the bad version.
    from: String,
}

impl HaProxyExecutor {
    /// # Errors
    /// The socket's address or a name cannot be part of a command, or a template lacks `{version}`.
    pub fn new(config: &HaProxy) -> Result<Self, BuildError> {
        let address = match config.socket.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Address::Unix(path.into()),
            Some(("tcp", address)) if address.contains(':') => Address::Tcp(address.to_owned()),
            _ => return Err(BuildError::Socket(config.socket.clone())),
        };
        let (arguments, template) = match &config.switch {
            HaProxySwitch::Map { path, key, backend } => (vec![path, key, backend], backend),
            HaProxySwitch::Weight { server } => {
                let parts: Vec<&str> = server.split('/').collect();
                if parts.len() != 2 || parts.iter().any(|part| part.is_empty()) {
                    return Err(BuildError::Server(server.clone()));
                }
                (vec![server], server)
            }
        };
        if let Some(argument) = arguments.into_iter().find(|argument| !is_haproxy_argument(argument)) {
            return Err(BuildError::Argument(argument.clone()));
        }
        if !template.contains("{version}") {
            return Err(BuildError::Template(template.clone()));
        }
        Ok(Self { address, switch: config.switch.clone(), timeout: config.timeout })
    }

    fn names(&self, call: &Call) -> Names {
        let template = match &self.switch {
            HaProxySwitch::Map { backend, .. } => backend,
            HaProxySwitch::Weight { server } => server,
        };
        let name = |version: &str| template.replace("{version}", &named(version));
        Names { to: name(&call.to.version), from: name(&call.from.version) }
    }

    /// The commands of a rollback, in their order: the target takes traffic before the bad version loses it.
    fn commands(&self, call: &Call) -> Vec<String> {
        let Names { to, from } = self.names(call);
        match &self.switch {
            HaProxySwitch::Map { path, key, .. } => vec![format!("set map {path} {key} {to}")],
            HaProxySwitch::Weight { .. } => vec![
                format!("set server {to} state ready"),
                format!("set server {to} weight 100"),
                format!("set server {from} weight 0"),
            ],
        }
    }

    async fn call(&self, call: &Call) -> Result<Accepted, ExecutorError> {
        let Names { to, from } = self.names(call);
        if to == from {
            let reason = format!("both versions are named {to} there");
            return Err(ExecutorError::Refused(reason));
        }
        if let HaProxySwitch::Map { .. } = &self.switch {
            // HAProxy sends what names no backend to its default backend, and says nothing.
            let backends = self.ask("show backend").await?;
            if !backends.lines().any(|line| line.trim() == to) {
                return Err(ExecutorError::Refused(format!("HAProxy has no backend {to}")));
            }
        }
        let mut answers = Vec::new();
        for command in self.commands(call) {
            let (command, answer) = self.set(command).await?;
            if answer.is_empty() {
                answers.push(json!({"command": command, "answer": "ok"}));
                continue;
            }
            let reason = format!("HAProxy answered `{}` to `{command}`", said(&answer));
            return Err(if answers.is_empty() { refusal(reason) } else { ExecutorError::Lost(reason) });
        }
        Ok(Accepted { poll_url: None, response: Value::Array(answers) })
    }

    /// Sends a command that sets something, in the form that this HAProxy takes it.
    async fn set(&self, command: String) -> Result<(String, String), ExecutorError> {
        let answer = self.ask(&command).await?;
        let other = match &self.switch {
            // The key stands in no file yet.
            HaProxySwitch::Map { .. } if answer.starts_with("entry not found") => {
                command.replacen("set map", "add map", 1)
            }
            // Static balancing knows only all or nothing, in percent.
            HaProxySwitch::Weight { .. } if answer.contains("only accepts weights") => format!("{command}%"),
            _ => return Ok((command, answer)),
        };
        let answer = self.ask(&other).await?;
        Ok((other, answer))
    }

    async fn observe(&self, call: &Call) -> Result<Observed, ExecutorError> {
        let Names { to, from } = self.names(call);
        let switched = match &self.switch {
            HaProxySwitch::Map { path, key, .. } => {
                let map = self.ask(&format!("show map {path}")).await?;
                if map.starts_with("Unknown map") {
                    return Err(refusal(format!("HAProxy answered `{}`", said(&map))));
                }
                entry(&map, key) == Some(to.as_str())
            }
            HaProxySwitch::Weight { .. } => self.weight(&to).await? > 0 && self.weight(&from).await? == 0,
        };
        Ok(if switched { Observed::Switched } else { Observed::NotSwitched })
    }

    async fn weight(&self, server: &str) -> Result<u32, ExecutorError> {
        let answer = self.ask(&format!("get weight {server}")).await?;
        let weight = answer.split(' ').next().and_then(|weight| weight.parse().ok());
        weight.ok_or_else(|| refusal(format!("HAProxy answered `{}` to `get weight {server}`", said(&answer))))
    }

    async fn ask(&self, command: &str) -> Result<String, ExecutorError> {
        let connect = async {
            let stream: Box<dyn Stream> = match &self.address {
                Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
                Address::Tcp(address) => Box::new(TcpStream::connect(address).await?),
            };
            Ok::<_, std::io::Error>(stream)
        };
        let unreachable = |reason: String| ExecutorError::NotDone {
            reason: format!("HAProxy's socket cannot be reached: {reason}"),
            retry_after: None,
        };
        let stream = match tokio::time::timeout(self.timeout, connect).await {
            Err(_) => return Err(unreachable("no connection in time".to_owned())),
            Ok(Err(error)) => return Err(unreachable(error.to_string())),
            Ok(Ok(stream)) => stream,
        };
        let lost = |reason: String| ExecutorError::Lost(format!("HAProxy's answer to `{command}` got lost: {reason}"));
        match tokio::time::timeout(self.timeout, converse(stream, command)).await {
            Err(_) => Err(lost("no answer in time".to_owned())),
            Ok(Err(error)) => Err(lost(error.to_string())),
            Ok(Ok(answer)) => Ok(answer.trim().to_owned()),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One command per connection: HAProxy answers, ends with an empty line, and closes.
async fn converse(mut stream: Box<dyn Stream>, command: &str) -> std::io::Result<String> {
    stream.write_all(format!("{command}\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    if answer.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// What will not change by asking again, and what may.
fn refusal(reason: String) -> ExecutorError {
    const FINAL: [&str; 6] =
        ["Unknown map", "No such server", "No such backend", "Permission denied", "Unknown command", "Require "];
    if FINAL.iter().any(|answer| reason.contains(answer)) {
        ExecutorError::Refused(reason)
    } else {
        ExecutorError::NotDone { reason, retry_after: None }
    }
}

/// The value of a key in the answer to `show map`: lines of `0xPOINTER KEY VALUE`.
fn entry<'a>(map: &'a str, key: &str) -> Option<&'a str> {
    map.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        if words.next() == Some(key) { words.next() } else { None }
    })
}

/// A version as HAProxy may have it in a name.
fn named(version: &str) -> String {
    version.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' }).collect()
}

impl Executor for HaProxyExecutor {
    fn describe(&self, call: &Call) -> Value {
        let socket = match &self.address {
            Address::Unix(path) => format!("unix:{}", path.display()),
            Address::Tcp(address) => format!("tcp:{address}"),
        };
        json!({"executor": "haproxy", "socket": socket, "commands": self.commands(call)})
    }

    fn roll_back<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Accepted, ExecutorError>> {
        self.call(call).boxed()
    }

    fn read_back<'a>(
        &'a self,
        call: &'a Call,
        _poll_url: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Observed, ExecutorError>> {
        self.observe(call).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(switch: HaProxySwitch, socket: &str) -> Result<HaProxyExecutor, BuildError> {
        HaProxyExecutor::new(&HaProxy { socket: socket.to_owned(), switch, timeout: Duration::from_secs(1) })
    }

    fn map(path: &str, key: &str, backend: &str) -> Result<HaProxyExecutor, BuildError> {
        let switch = HaProxySwitch::Map { path: path.to_owned(), key: key.to_owned(), backend: backend.to_owned() };
        with(switch, "unix:/run/haproxy.sock")
    }

    #[test]
    fn a_version_cannot_smuggle_a_command() {
        assert_eq!(named("1.4.2; shutdown sessions server be/v1\n"), "1.4.2--shutdown-sessions-server-be-v1-");
        assert_eq!(named("1.4.2+build/7"), "1.4.2-build-7");
        assert_eq!(named("v1.4.2_rc-1"), "v1.4.2_rc-1");
    }

    #[test]
    fn arguments_and_addresses_are_checked_when_configured() {
        assert!(map("/etc/haproxy/m.map", "checkout", "be_{version}").is_ok());
        assert!(matches!(map("/m.map", "a b", "be_{version}"), Err(BuildError::Argument(_))));
        assert!(matches!(map("/m.map", "a", "be;{version}"), Err(BuildError::Argument(_))));
        assert!(matches!(map("/m\n.map", "a", "be_{version}"), Err(BuildError::Argument(_))));
        assert!(matches!(map("/m.map", "a", "be"), Err(BuildError::Template(_))));
        let weight = |server: &str| HaProxySwitch::Weight { server: server.to_owned() };
        assert!(with(weight("be/v{version}"), "tcp:127.0.0.1:9999").is_ok());
        assert!(matches!(with(weight("v{version}"), "tcp:127.0.0.1:9999"), Err(BuildError::Server(_))));
        assert!(matches!(with(weight("be/v{version}"), "127.0.0.1:9999"), Err(BuildError::Socket(_))));
        assert!(matches!(with(weight("be/v{version}"), "tcp:9999"), Err(BuildError::Socket(_))));
    }

    #[test]
    fn entries_are_found_by_their_whole_key() {
        let answer = "0x5643bfa75620 checkout-eu be_1\n0x5643bfa75621 checkout be_2\n";
        assert_eq!(entry(answer, "checkout"), Some("be_2"));
        assert_eq!(entry(answer, "check"), None);
    }
}
