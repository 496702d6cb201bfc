//! Rollbacks tell people through the alerts: the seam between the saga and the alert machinery.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use parking_lot::Mutex;

use super::saga::{Communicate, Deps};
use crate::alert::{Condition, Observation};
use crate::app::App;
use crate::rollback::executor::Executors;
use crate::rollback::message::Message;
use crate::store::alert::{self, Routing};
use crate::store::{Conn, StoreError};
use crate::time::Timestamp;

/// What the saga of this process works with.
pub fn saga_deps(app: &Arc<App>, executors: Executors, fencing: i64) -> Deps {
    let committer = app.committer.clone();
    Deps {
        store: app.store.clone(),
        clock: app.clock.clone(),
        fencing,
        executors: ArcSwap::from_pointee(executors),
        communicate: communicate(Arc::clone(app)),
        submit: Arc::new(move |submission| {
            let committer = committer.clone();
            async move { committer.submit(submission).await }.boxed()
        }),
        stream: app.stream.clone(),
        told: Arc::clone(&app.wake.dispatch),
        in_hand: Mutex::default(),
    }
}

fn communicate(app: Arc<App>) -> Communicate {
    Arc::new(move |conn, message, now| {
        let app = Arc::clone(&app);
        async move {
            let config = app.config.load_full();
            tell(conn, message, Routing::of(&config), now).await
        }
        .boxed()
    })
}

/// Raises, updates or ends the rollback's alert. One that ends says its last word first.
async fn tell(conn: &mut Conn, message: &Message, routing: Routing<'_>, now: Timestamp) -> Result<(), StoreError> {
    let mut observation = Observation::from(message);
    if message.active {
        alert::observe(conn, &observation, routing, now).await?;
        return Ok(());
    }
    if alert::active_of(conn, &message.fingerprint).await?.is_some() {
        alert::observe(conn, &observation, routing, now).await?;
        observation.condition = Condition::Clear;
        alert::observe(conn, &observation, routing, now).await?;
    }
    Ok(())
}
