use super::*;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn only_the_commands_of_kubectl_are_taken() {
    let check = |command: &str, expect: Option<Task>| {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        assert_eq!(parse(&words), expect, "{command}");
    };
    let unpack = |dir: &str| Some(Task::Unpack(dir.to_owned()));
    check("tar cf - /data", Some(Task::Pack("/data".into())));
    check("tar xmf - -C /data", unpack("/data"));
    check("tar -xmf - -C /data", unpack("/data"));
    check("tar -xmf -", unpack("/"));
    check(
        "tar --no-same-permissions --no-same-owner -xmf - -C d",
        unpack("d"),
    );
    check("test -d /data", Some(Task::IsDir("/data".into())));
    for other in [
        "tar",
        "tar czf - /data",
        "tar cf /data/x /data",
        "tar cf - /a /b",
        "test -f /data",
        "tar xmf - -C",
        "cat tar cf - /data",
    ] {
        check(other, None);
    }
}

struct Pod {
    dir: tempfile::TempDir,
    mounts: Vec<Mount>,
}

impl Pod {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "the host's own").unwrap();
        let mounts = [("/data", false), ("/data/config", true), ("/other", false)]
            .map(|(guest, read_only)| {
                let host = dir.path().join(guest.replace('/', "_"));
                fs::create_dir(&host).unwrap();
                Mount {
                    host,
                    guest: guest.to_owned(),
                    read_only,
                }
            })
            .to_vec();
        Self { dir, mounts }
    }

    fn volumes(&self) -> Volumes<'_> {
        Volumes(&self.mounts)
    }

    fn host(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn pack(&self, path: &str) -> io::Result<Vec<String>> {
        let mut bytes = Vec::new();
        self.volumes().pack(path, &mut bytes)?;
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut found = Vec::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            let link = entry.link_name()?.map(|to| format!(" -> {}", to.display()));
            found.push(format!(
                "{} {text:?}{}",
                entry.path()?.display(),
                link.unwrap_or_default()
            ));
        }
        found.sort();
        Ok(found)
    }
}

#[test]
fn files_and_directories_are_packed_under_their_paths() {
    let pod = Pod::new();
    fs::create_dir(pod.host("_data/sub")).unwrap();
    fs::write(pod.host("_data/sub/a"), "flour").unwrap();
    fs::write(pod.host("_data/b"), "butter").unwrap();
    symlink("b", pod.host("_data/link")).unwrap();
    let all = [
        "data \"\"",
        "data/b \"butter\"",
        "data/link \"\" -> b",
        "data/sub \"\"",
        "data/sub/a \"flour\"",
    ];
    assert_eq!(pod.pack("/data").unwrap(), all);
    assert_eq!(pod.pack("data/").unwrap(), all);
    assert_eq!(pod.pack("/data/sub/a").unwrap(), ["data/sub/a \"flour\""]);
    for (path, expect) in [
        ("/data/none", "data/none: "),
        (
            "/etc/passwd",
            "only volumes can be copied from and to, and this container has /data, ",
        ),
        ("/data/../etc", "must not contain '..'"),
    ] {
        let error = pod.pack(path).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }
    let error = Volumes(&[]).find("/x").err().unwrap().to_string();
    assert!(error.contains("this container has none"), "{error}");
}

#[test]
fn links_do_not_lead_out_of_a_volume() {
    let pod = Pod::new();
    symlink("../secret", pod.host("_data/out")).unwrap();
    symlink("..", pod.host("_data/up")).unwrap();
    symlink(pod.host("secret"), pod.host("_data/absolute")).unwrap();
    // The link itself is there, what it points to is not.
    assert_eq!(
        pod.pack("/data/out").unwrap(),
        ["data/out \"\" -> ../secret"]
    );
    assert!(pod.pack("/data/up/secret").is_err());
    assert!(!pod.volumes().is_dir("/data/up"));
    for name in ["data/up/new", "data/out/new", "data/absolute/new"] {
        assert!(unpack(&pod, "/", &[(name, Some("x"))]).is_err(), "{name}");
    }
    // A link is replaced, and what it pointed to stays.
    unpack(
        &pod,
        "/data",
        &[("out", Some("mine")), ("absolute", Some("mine"))],
    )
    .unwrap();
    assert_eq!(fs::read_to_string(pod.host("_data/out")).unwrap(), "mine");
    assert_eq!(
        fs::read_to_string(pod.host("secret")).unwrap(),
        "the host's own"
    );
}

/// Files, and directories where there is no text.
fn archive(entries: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in entries {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.map_or(0, |text| text.len() as u64));
        header.set_entry_type(match text {
            Some(_) => EntryType::Regular,
            None => EntryType::Directory,
        });
        // `append_data` would refuse names that a hostile client writes.
        let bytes = name.as_bytes();
        header.as_old_mut().name[..bytes.len()].copy_from_slice(bytes);
        header.set_cksum();
        builder
            .append(&header, text.unwrap_or_default().as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

fn unpack(pod: &Pod, dir: &str, entries: &[(&str, Option<&str>)]) -> io::Result<()> {
    pod.volumes().unpack(dir, &archive(entries)[..])
}

#[test]
fn archives_are_unpacked_into_the_volume_that_their_paths_lie_in() {
    let pod = Pod::new();
    let entries = [
        ("sub", None),
        ("sub/a", Some("flour")),
        ("deep/er/b", Some("butter")),
        ("sub/a", Some("more flour")),
    ];
    unpack(&pod, "/data", &entries).unwrap();
    unpack(&pod, "other", &[("c", Some("sugar"))]).unwrap();
    for (path, expect) in [
        ("_data/sub/a", "more flour"),
        ("_data/deep/er/b", "butter"),
        ("_other/c", "sugar"),
    ] {
        assert_eq!(fs::read_to_string(pod.host(path)).unwrap(), expect);
    }
    for path in ["/data", "/data/sub", "other"] {
        assert!(pod.volumes().is_dir(path), "{path}");
    }
    for path in ["/data/sub/a", "/", "/nowhere", "/data/../other"] {
        assert!(!pod.volumes().is_dir(path), "{path}");
    }
}

#[test]
fn archives_that_do_not_belong_are_refused() {
    let pod = Pod::new();
    for (dir, entries, expect) in [
        (
            "/data",
            &[("../../x", Some("y"))][..],
            "must not contain '..'",
        ),
        (
            "/data/config",
            &[("x", Some("y"))],
            "the volume at /data/config is read-only",
        ),
        ("/", &[("config/x", Some("y"))], "only volumes"),
        ("/etc", &[("passwd", Some("y"))], "only volumes"),
    ] {
        let error = unpack(&pod, dir, entries).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }
    let mut damaged = archive(&[("x", Some("y"))]);
    damaged[0] ^= 1;
    assert!(pod.volumes().unpack("/data", &damaged[..]).is_err());
    let cut = &archive(&[("x", Some("yyyy"))])[..514];
    assert!(pod.volumes().unpack("/data", cut).is_err());
}

#[test]
fn files_that_change_while_they_are_read_do_not_break_the_archive() {
    let exactly = |text: &[u8], size: u64| {
        let mut all = Vec::new();
        let mut bytes = Exactly {
            file: text,
            left: size,
        };
        bytes.read_to_end(&mut all).unwrap();
        all
    };
    assert_eq!(exactly(b"abcdef", 3), b"abc");
    assert_eq!(exactly(b"ab", 4), b"ab\0\0");
    assert_eq!(exactly(b"", 0), b"");
}
