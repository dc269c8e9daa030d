//! A disk that fills up: of one member, by a file beside the store's.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

/// More than three log files of 2 MiB, which is how much the log reserves at a time.
const DISK_BYTES: usize = 24 << 20;
/// So that the space that the log has reserved is soon used up.
const VALUE_BYTES: usize = 8 << 10;

/// A file system of its own in a directory, as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where nothing can be mounted, which is said past the test harness.
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK_BYTES}"), "none"])
            .arg(at)
            .output();
        match mounted {
            Ok(out) if out.status.success() => Some(Self(at.to_owned())),
            why => {
                let line = format!(
                    "NOT RUN, as nothing can be mounted here (it takes root): the test of a full disk: {why:?}\n"
                );
                std::io::stderr().write_all(line.as_bytes()).unwrap();
                None
            }
        }
    }

    /// Takes all the space that is left, and returns the file that has it.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("in-the-way");
        let mut file = File::create(&path).unwrap();
        let piece = vec![1; 4 << 10];
        loop {
            match file.write_all(&piece) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return path,
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a member that is being killed may have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_disk_is_full_stops_and_says_so_and_comes_back_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let full = 2;
    let Some(disk) = SmallDisk::mount(&dir.path().join(format!("Store/m{full}"))) else {
        return;
    };
    let mut test = Test::start(Group::start(Kind::Store, dir.path(), 34, MEMBERS)).await;
    let clients = Clients::start(2, VALUE_BYTES, &test.group.addresses(), &test.record, 0);
    test.more_writes().await;
    let in_the_way = disk.fill();
    until("the member has ended", async || {
        test.group.has_ended(full).then_some(())
    })
    .await;
    let log = test.group.log(full);
    for reason in [
        "No space left on device",
        "check the disk and its free space",
    ] {
        assert!(log.contains(reason), "{reason}: {log}");
    }
    test.more_writes().await;
    fs::remove_file(in_the_way).unwrap();
    test.group.restart(full);
    test.leader().await;
    test.more_writes().await;
    clients.stop().await;
    test.check().await;
    test.members_are_equal().await;
    // Before its disk is.
    drop(test);
}
