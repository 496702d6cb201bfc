//! The workers of one process: started together, stopped together.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

/// Tells a worker that it should end; cheap to clone.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Answers when the worker should end.
    pub async fn requested(&mut self) {
        // An error means that the crew is gone, which says the same.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// A set of workers. Dropping it ends them at once.
pub struct Crew {
    stop: watch::Sender<bool>,
    workers: JoinSet<&'static str>,
}

impl Default for Crew {
    fn default() -> Self {
        Self { stop: watch::Sender::new(false), workers: JoinSet::new() }
    }
}

impl Crew {
    /// Starts a worker that ends by itself when asked to.
    pub fn add<F: Future<Output = ()> + Send + 'static>(&mut self, name: &'static str, work: impl FnOnce(Stop) -> F) {
        let work = work(Stop(self.stop.subscribe()));
        self.workers.spawn(async move {
            work.await;
            name
        });
    }

    /// Starts a worker that may end between any two of its steps.
    pub fn add_endless(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.add(name, |mut stop| async move {
            tokio::select! {
                () = work => {}
                () = stop.requested() => {}
            }
        });
    }

    /// Answers when a worker has ended unasked, which none should.
    pub async fn ended(&mut self) -> String {
        match self.workers.join_next().await {
            Some(Ok(name)) => format!("the worker `{name}` has ended"),
            Some(Err(error)) => format!("a worker failed: {error}"),
            None => std::future::pending().await,
        }
    }

    /// Asks every worker to end and waits for them, no longer than `patience`.
    pub async fn stop(mut self, patience: Duration) {
        self.stop.send_replace(true);
        let all = async { while self.workers.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!("some workers did not end in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn workers_end_when_asked() {
        let (told, mut ended) = tokio::sync::mpsc::unbounded_channel();
        let mut crew = Crew::default();
        crew.add("one", |mut stop| async move {
            stop.requested().await;
            let _ = told.send("one");
        });
        crew.add_endless("two", std::future::pending());
        crew.stop(Duration::from_secs(1)).await;
        assert_eq!(ended.recv().await, Some("one"));
    }

    #[tokio::test]
    async fn a_worker_that_ends_or_panics_is_noticed() {
        let mut crew = Crew::default();
        crew.add_endless("short", async {});
        assert_eq!(crew.ended().await, "the worker `short` has ended");
        crew.add_endless("loud", async { panic!("on purpose") });
        assert!(crew.ended().await.starts_with("a worker failed: task"));
    }
}
