//! Tells the story in the terminal, or keeps quiet and prints its facts as JSON.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::facts::Facts;
use crate::cli::Output;

/// Time for a reader to follow.
const PAUSE: Duration = Duration::from_millis(1_500);

#[derive(Clone)]
pub struct Narrator {
    began: Instant,
    output: Output,
    fast: bool,
    bold: bool,
}

impl Narrator {
    pub fn new(fast: bool, output: Output) -> Self {
        let bold = std::io::stdout().is_terminal();
        Self { began: Instant::now(), output, fast, bold }
    }

    /// A heading, after time to read what stands before it.
    pub async fn scene(&self, heading: &str) -> Result<(), std::io::Error> {
        if !self.fast && self.output == Output::Text {
            sleep(PAUSE).await;
        }
        let (on, off) = if self.bold { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        self.say(&format!("\n{on}{:>5.1} s  {heading}{off}", self.began.elapsed().as_secs_f64()))
    }

    pub fn say(&self, text: &str) -> Result<(), std::io::Error> {
        if self.output == Output::Json {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// Something that just happened, and who saw it.
    pub fn event(&self, who: &str, text: &str) -> Result<(), std::io::Error> {
        self.say(&format!("{:>5.1} s    [{who}] {text}", self.began.elapsed().as_secs_f64()))
    }

    /// How long the story has been going on.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The facts as the last line, where they were asked for.
    pub fn facts(&self, facts: &Facts) -> Result<(), std::io::Error> {
        if self.output == Output::Text {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, facts)?;
        writeln!(out)
    }
}
