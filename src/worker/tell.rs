//! Rollbacks tell people through the alerts: the seam between the saga and the alert machinery.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use parking_lot::Mutex;

use super::saga::{Communicate, Deps};
use crate::alert::Observation;
use crate::app::App;
use crate::rollback::executor::Executors;
use crate::store::alert::{self, Routing};

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
            alert::observe(conn, &Observation::from(message), Routing::of(&config), now).await.map(|_| ())
        }
        .boxed()
    })
}
