//! `devpulse demo`: a self-contained story. A healthy history, a bad deployment under simulated
//! live traffic, the burn, the alert, the automatic rollback and the recovery, in under a minute.

mod answers;
mod api;
mod facts;
mod history;
mod listener;
mod narrator;
mod server;
mod shop;
mod story;

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use self::listener::Listener;
use self::narrator::Narrator;
use self::server::Server;
use self::shop::Shop;
use self::story::Story;
use super::Output;

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Stay up afterwards for exploring, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Do not pause between the scenes
    #[arg(long, visible_alias = "no-wait")]
    pub fast: bool,
    /// Where the demo's server listens; a free port when this one is taken
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
}

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("the demo's server did not start; its log says:\n{log}")]
    Server { log: String },
    #[error("cannot talk to the demo's server: {0}")]
    Http(#[from] reqwest::Error),
    #[error("the demo's server answered {path} with {status}: {body}")]
    Refused { path: String, status: u16, body: String },
    #[error("cannot set the stage: {0}")]
    Io(#[from] std::io::Error),
    #[error("waited {} s in vain for {what}", waited.as_secs())]
    Vain { what: &'static str, waited: Duration },
    #[error("the demo's server answered {path} with something else than expected: {error}")]
    Shape { path: String, error: serde_json::Error },
    #[error("the demo's server refused {0} events")]
    Invalid(u64),
}

/// Runs the story to its end, or to Ctrl-C, which is a clean end as well. Whatever happens, the
/// server is stopped and the temporary folder is removed. As JSON the facts of the story are one line
/// at its end, and nothing else is printed.
///
/// # Errors
/// [`DemoError`]: the stage could not be set, or what was to happen did not.
pub async fn run(options: Options, output: Output) -> Result<(), DemoError> {
    let narrator = Narrator::new(options.fast, output);
    tokio::select! {
        told = tell(&options, &narrator) => told,
        interrupted = interrupted() => {
            narrator.say("Stopped; the temporary data is gone.")?;
            interrupted
        }
    }
}

async fn tell(options: &Options, narrator: &Narrator) -> Result<(), DemoError> {
    let shop = Shop::new();
    let listener = Listener::start(shop.clone(), narrator.clone())?;
    let server = Server::start(options.port, listener.port()).await?;
    let story = Story { server: &server, shop: &shop, listener: &listener, narrator };
    let facts = story.tell().await?;
    narrator.facts(&facts)?;
    if options.keep {
        narrator.say(&format!("\nDevPulse stays up at {} with live traffic. Ctrl-C ends it.", server.url()))?;
        shop.serve(server.api()).await?;
    }
    narrator.say(
        "\nDevPulse and its temporary data are gone with the story, so the URLs above are dead.\n\
         To look at them: devpulse demo --keep (or make demo ARGS=--keep) stays up until Ctrl-C.",
    )?;
    listener.stop().await;
    Ok(())
}

/// Ctrl-C or SIGTERM.
async fn interrupted() -> Result<(), DemoError> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
