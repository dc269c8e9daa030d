//! What figures mean nothing without: the machine, its load, and how the binary was built.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct Facts {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    /// Of the folder with the clusters' data: where every write waits for an fsync.
    pub(crate) filesystem: String,
    /// Over the minute before the run.
    pub(crate) load_average: String,
    pub(crate) binary: PathBuf,
    pub(crate) profile: &'static str,
}

impl Facts {
    /// What cannot be found out is `unknown`, or 0.
    pub(crate) fn gather(binary: &Path, scratch: &Path) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let unknown = || "unknown".to_owned();
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: field(&read("/proc/meminfo"), "MemTotal")
                .and_then(|value| kibibytes(&value))
                .unwrap_or(0),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            filesystem: filesystem(&read("/proc/mounts"), scratch).unwrap_or_else(unknown),
            load_average: read("/proc/loadavg")
                .split_whitespace()
                .next()
                .map_or_else(unknown, str::to_owned),
            binary: binary.to_owned(),
            profile: profile(binary),
        }
    }
}

/// VmRSS of a process.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    field(&status, "VmRSS")
        .and_then(|value| kibibytes(&value))
        .with_context(|| format!("{path} has no VmRSS in kB"))
}

/// The first `name: value` of the files of /proc.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}

fn kibibytes(value: &str) -> Option<u64> {
    let number: u64 = value.strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// The type of the mount that holds `path`: the longest mount point above it.
fn filesystem(mounts: &str, path: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        Some((words.next()?, words.next()?))
    });
    mounts
        .filter(|(point, _)| path.starts_with(point))
        // Of equal ones the last, which was mounted over the others.
        .max_by_key(|(point, _)| point.len())
        .map(|(_, kind)| kind.to_owned())
}

/// Cargo's folder says how it was built; the binary itself does not.
fn profile(binary: &Path) -> &'static str {
    let folder = binary.parent().and_then(Path::file_name);
    match folder.and_then(|name| name.to_str()) {
        Some("release") => "release",
        Some("debug") => "dev (own code opt-level 1, dependencies 2)",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_found() {
        let check = |text, name, expect: Option<&str>| {
            assert_eq!(field(text, name).as_deref(), expect, "{name}");
        };
        check("VmHWM:\t 9 kB\nVmRSS:\t 8 kB\n", "VmRSS", Some("8 kB"));
        check(
            "model name\t: A: B\nmodel name: C",
            "model name",
            Some("A: B"),
        );
        check("VmRSSx: 1", "VmRSS", None);
        assert_eq!(kibibytes("8 kB"), Some(8192));
        assert_eq!(kibibytes("8"), None);
    }

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "a / ext4 rw 0 0\nb /tmp tmpfs rw 0 0\nc /tm xfs rw 0 0\n";
        let check = |path: &str, expect: &str| {
            assert_eq!(filesystem(mounts, Path::new(path)).as_deref(), Some(expect));
        };
        check("/tmp/x", "tmpfs");
        check("/var", "ext4");
    }
}
