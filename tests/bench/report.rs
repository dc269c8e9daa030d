//! The figures, as a table and as JSON.

use std::fmt::Write;

use serde::Serialize;

use crate::load::Load;
use crate::machine::Facts;
use crate::scale::Scale;
use crate::startup::Start;
use crate::throughput::Throughput;

/// A figure, or why there is none.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome<T> {
    Measured(T),
    Failed(String),
}

impl<T> From<anyhow::Result<T>> for Outcome<T> {
    fn from(result: anyhow::Result<T>) -> Self {
        match result {
            Ok(figures) => Self::Measured(figures),
            Err(error) => Self::Failed(format!("{error:#}")),
        }
    }
}

impl<T> Outcome<T> {
    fn ok(&self) -> Option<&T> {
        match self {
            Self::Measured(figures) => Some(figures),
            Self::Failed(_) => None,
        }
    }

    fn row(&self, out: &mut Table, name: &str, show: impl FnOnce(&mut Table, &T)) {
        match self {
            Self::Measured(figures) => show(out, figures),
            Self::Failed(why) => out.row(name, &format!("FAILED: {why}")),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Facts,
    pub(crate) start: Outcome<Start>,
    pub(crate) scale: Outcome<Scale>,
    pub(crate) euston: Outcome<Throughput>,
    /// Absent without --wasmtime.
    pub(crate) wasmtime: Option<Outcome<Throughput>>,
}

impl Report {
    /// Whether everything asked for was measured to its end.
    pub(crate) fn complete(&self) -> bool {
        let scaled = self.scale.ok().is_some_and(|s| s.available >= s.replicas);
        let compared = self.wasmtime.as_ref().is_none_or(|w| w.ok().is_some());
        scaled && compared && self.start.ok().is_some() && self.euston.ok().is_some()
    }

    pub(crate) fn text(&self) -> String {
        let mut out = Table::default();
        let m = &self.machine;
        out.row(
            "machine",
            &format!(
                "{}, {} cores, {}",
                m.cpu,
                m.cores,
                mebibytes(m.memory_bytes)
            ),
        );
        out.row(
            "",
            &format!(
                "Linux {}, data on {}, load average {} before",
                m.kernel, m.filesystem, m.load_average
            ),
        );
        out.row(
            "binary",
            &format!("{}, profile {}", m.binary.display(), m.profile),
        );
        self.start.row(&mut out, "start to Ready", show_start);
        self.scale.row(&mut out, "scale", show_scale);
        out.line("");
        self.euston.row(&mut out, "NodePort", show_throughput);
        match &self.wasmtime {
            Some(outcome) => outcome.row(&mut out, "wasmtime serve", show_throughput),
            None => out.row(
                "wasmtime serve",
                "not measured: `cargo install wasmtime-cli@48 --locked`, then --wasmtime PATH",
            ),
        }
        if let (Some(euston), Some(wasmtime)) = (
            self.euston.ok(),
            self.wasmtime.as_ref().and_then(Outcome::ok),
        ) {
            for (a, b) in euston.loads.iter().zip(&wasmtime.loads) {
                let ratio = a.requests_per_second / b.requests_per_second;
                out.row(
                    "NodePort / wasmtime",
                    &format!(
                        "{:>3} connections  {ratio:.2} of its requests/s",
                        a.connections
                    ),
                );
            }
        }
        out.0
    }
}

fn show_start(out: &mut Table, start: &Start) {
    let runs: Vec<_> = start
        .runs_seconds
        .iter()
        .map(|s| format!("{s:.3}"))
        .collect();
    out.row(
        "start to Ready",
        &format!(
            "{:.3} s, the median of {} ({})",
            start.median_seconds,
            runs.len(),
            runs.join(" ")
        ),
    );
}

fn show_scale(out: &mut Table, scale: &Scale) {
    let name = format!("0 to {} replicas", scale.replicas);
    if scale.available >= scale.replicas {
        out.row(
            &name,
            &format!(
                "{:.2} s, {:.0} pods/s",
                scale.seconds, scale.pods_per_second
            ),
        );
    } else {
        out.row(
            &name,
            &format!(
                "FAILED: {} available after {:.1} s; --scale-seconds-max waits longer",
                scale.available, scale.seconds
            ),
        );
    }
    if let Some(first) = scale.first_seconds {
        out.row(
            "first of them",
            &format!("{first:.2} s, guest compiled in it"),
        );
    }
    out.row("memory idle", &mebibytes(scale.idle_resident_bytes));
    out.row(
        &format!("memory, {} pods", scale.available),
        &mebibytes(scale.scaled_resident_bytes),
    );
}

fn show_throughput(out: &mut Table, throughput: &Throughput) {
    out.line(&throughput.server);
    for load in &throughput.loads {
        out.line(&load_line(load));
    }
}

fn load_line(load: &Load) -> String {
    format!(
        "  {:>3} connections  {:>7.0} requests/s  p50 {:>6.2} ms  p99 {:>6.2} ms  {} failed  (generator {:.0} % of a core)",
        load.connections,
        load.requests_per_second,
        millis(load.p50_micros),
        millis(load.p99_micros),
        load.failures,
        load.generator_cpu_percent,
    )
}

#[allow(clippy::cast_precision_loss)] // for people
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[allow(clippy::cast_precision_loss)] // for people
fn mebibytes(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Lines of text, as they are added.
#[derive(Default)]
struct Table(String);

impl Table {
    fn row(&mut self, name: &str, value: &str) {
        self.line(&format!("{name:<20}{value}"));
    }

    fn line(&mut self, text: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{text}");
    }
}
