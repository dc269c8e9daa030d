//! What runs in the background: a set of parts with names.

use anyhow::anyhow;
use tokio::task::JoinSet;

/// Parts that run until they are told to stop; one that ends earlier is a failure.
#[derive(Default)]
pub(crate) struct Parts {
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
}

impl Parts {
    /// Runs a part beside the others.
    pub(crate) fn spawn<E: Into<anyhow::Error>>(
        &mut self,
        name: &'static str,
        part: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let part = Box::pin(part);
        self.tasks
            .spawn(async move { (name, part.await.map_err(Into::into)) });
    }

    /// Waits for a part to end although nobody asked it to.
    pub(crate) async fn failure(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok((name, Err(e)))) => e.context(format!("the {name} failed")),
            Some(Ok((name, Ok(())))) => anyhow!("the {name} ended unexpectedly"),
            Some(Err(e)) => anyhow!("a part of the cluster broke: {e}"),
            None => anyhow!("no part of the cluster runs"),
        }
    }

    /// Waits for all parts, which have been told to end, and cuts off what takes longer than `limit`.
    pub(crate) async fn ended(&mut self, limit: std::time::Duration) {
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, ended).await.is_err() {
            tracing::warn!("a part of the cluster did not end within {limit:?} and is cut off");
            self.tasks.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_is_a_failure_with_its_name() {
        let mut parts = Parts::default();
        parts.spawn("scheduler", async { Err(anyhow!("lost its way")) });
        let failure = crate::output::sentence(&parts.failure().await);
        assert_eq!(failure, "the scheduler failed: lost its way");
        parts.spawn("controllers", async { anyhow::Ok(()) });
        assert_eq!(
            parts.failure().await.to_string(),
            "the controllers ended unexpectedly"
        );
    }
}
