//! From starting the process to a Ready node, each time in an empty folder.

use serde::Serialize;

use crate::cluster::{Cluster, Setting};

#[derive(Serialize)]
pub(crate) struct Start {
    pub(crate) median_seconds: f64,
    /// In the order of the runs.
    pub(crate) runs_seconds: Vec<f64>,
}

pub(crate) async fn measure(at: &Setting<'_>, runs: u32) -> anyhow::Result<Start> {
    let mut runs_seconds = Vec::new();
    for run in 1..=runs {
        let cluster = Cluster::start(at, &format!("start-{run}")).await?;
        runs_seconds.push(cluster.ready_after.as_secs_f64());
        cluster.stop().await?;
    }
    Ok(Start {
        median_seconds: median(&runs_seconds),
        runs_seconds,
    })
}

/// 0 of nothing.
fn median(of: &[f64]) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (1, Some(one)) => *one,
        (0, Some(upper)) => f64::midpoint(sorted[middle - 1], *upper),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
        let check = |of: &[f64], expect: f64| assert!((median(of) - expect).abs() < 1e-9, "{of:?}");
        check(&[], 0.0);
        check(&[3.0], 3.0);
        check(&[3.0, 1.0], 2.0);
        check(&[9.0, 1.0, 2.0], 2.0);
        check(&[4.0, 1.0, 2.0, 3.0], 2.5);
    }
}
