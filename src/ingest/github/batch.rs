//! What an import reads elsewhere than from webhooks: a line each, in the same words.

use super::{Context, parse};
use crate::ingest::fault::{Fault, NAME};
use crate::ingest::native::Unreadable;
use crate::ingest::native::split::split;
use crate::ingest::source::Reading;
use crate::ingest::wire::{Raw, Text, object, read};

object! {
    pub struct Line<'a> {
        event: "event" Text<'a>,
        payload: "payload" Raw<'a>,
    }
}

/// One outcome per line, in their order.
///
/// # Errors
/// [`Unreadable`]: there is no line, or there are more than `limit`.
pub fn parse_lines(body: &str, limit: usize, context: &Context<'_>) -> Result<Vec<Result<Reading, Fault>>, Unreadable> {
    Ok(split(body, true, limit)?.as_slice().iter().map(|line| parse_line(line, context)).collect())
}

fn parse_line(line: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let line: Line<'_> = read(line)?;
    let event = line.event.needed("/event", NAME, "give the name of GitHub's event, such as pull_request")?;
    let Raw(payload) = line.payload.required("/payload", "give what GitHub's webhook would send")?;
    let within = |fault: Fault| Fault::new(format_args!("/payload{}", fault.pointer()), fault.detail());
    parse(&event, payload, context).map_err(within)
}
