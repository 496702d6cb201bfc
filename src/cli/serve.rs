//! `devpulse serve`: the process around its times as the leader: configuration, HTTP server, signals.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::leader::{self, Leader};
use super::{ConfigFile, Failure};
use crate::config::{self, Config};
use crate::http;
use crate::http::gate::{Closed, Gate};
use crate::telemetry;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// The configuration is wrong, the address is taken, the database cannot be opened.
pub async fn run(file: &ConfigFile) -> Result<(), Failure> {
    let loaded = config::load(file.path().as_deref())?;
    let telemetry = telemetry::start(&loaded.config.telemetry)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(named) = &file.config {
        http::hints::configured_by(named);
    }
    let result = serve(file, loaded.config).await;
    telemetry.flush().await;
    result
}

async fn serve(file: &ConfigFile, config: Config) -> Result<(), Failure> {
    let metrics = telemetry::metrics::install(config.telemetry.max_series)?;
    let upkeep = tokio::spawn(telemetry::metrics::upkeep(metrics.clone()));
    let listen = &config.server.listen;
    let unusable = |error| Failure::Unfit(format!("server.listen: {listen} cannot be used: {error}"));
    let listener = TcpListener::bind(listen).map_err(unusable)?;
    let address = listener.local_addr()?;
    leader::check_keys(&config, address).await?;
    let gate = Arc::new(Gate::default());
    let server = http::server::start(listener, Arc::clone(&gate), metrics, &config)?;
    let handle = server.handle();
    let serving = tokio::spawn(server);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "listening on http://{address}");
    let mut process = Process { file: file.clone(), config, address, signals: Signals::new()?, gate };
    let result = process.run().await;
    handle.stop(true).await;
    upkeep.abort();
    let _ = serving.await;
    tracing::info!("stopped");
    result
}

struct Process {
    file: ConfigFile,
    config: Config,
    address: SocketAddr,
    signals: Signals,
    gate: Arc<Gate>,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl Process {
    /// Leads whenever it holds the lease, until a signal ends it.
    async fn run(&mut self) -> Result<(), Failure> {
        let mut first = true;
        loop {
            let mut leader = tokio::select! {
                leader = leader::lead(&self.config, self.address, &self.gate, first) => leader?,
                () = self.signals.stop() => return Ok(()),
            };
            first = false;
            let lost = self.watch(&mut leader).await;
            let why = lost.as_ref().map_or(Closed::Stopping, |reason| Closed::Database(reason.clone()));
            self.gate.close(why);
            leader.stop().await;
            match lost {
                Some(reason) => tracing::error!(reason, "leadership is lost; asking for the lease again"),
                None => return Ok(()),
            }
        }
    }

    /// Answers why leadership was lost, or `None` when a signal asks to stop.
    async fn watch(&mut self, leader: &mut Leader) -> Option<String> {
        loop {
            tokio::select! {
                reason = leader.lost() => return Some(reason),
                () = async {
                    tokio::select! {
                        _ = self.signals.terminate.recv() => {}
                        _ = self.signals.interrupt.recv() => {}
                    }
                } => return None,
                _ = self.signals.hangup.recv() => {
                    if let Some(config) = reload(&self.file, &self.config) {
                        leader.reconfigure(&config);
                        self.config = config;
                    }
                }
            }
        }
    }
}

/// The new configuration; `None`, and the old one stays, when it is wrong.
fn reload(file: &ConfigFile, old: &Config) -> Option<Config> {
    match config::load(file.path().as_deref()) {
        Ok(loaded) => {
            let waiting = config::needs_restart(old, &loaded.config);
            tracing::info!(takes_effect_at_restart = waiting.join(", "), "the configuration was read again");
            Some(loaded.config)
        }
        Err(error) => {
            tracing::error!(%error, "the new configuration is wrong; the old one stays");
            None
        }
    }
}
