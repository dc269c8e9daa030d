//! The group batch: work that ends.

mod cron_job;
mod job;

use crate::registry::kind::Kind;
use crate::registry::kind::Subresource::Status;

/// The group's rows of the table of kinds.
pub fn rows() -> Vec<Kind> {
    vec![
        Kind::new(cron_job::CronJobStrategy, "cronjob", true)
            .short(&["cj"])
            .in_all()
            .with(&[Status]),
        Kind::new(job::JobStrategy, "job", true)
            .in_all()
            .with(&[Status]),
    ]
}
