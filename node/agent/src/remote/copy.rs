//! `kubectl cp`. It runs `tar` in the container, which a Wasm image has not: the node answers the
//! few commands that kubectl sends, over the container's volumes.
//!
//! Those are (`k8s.io/kubectl/pkg/cmd/cp`): `tar cf - PATH`; `tar [--no-same-permissions
//! --no-same-owner] -xmf - [-C DIR]`; and `test -d PATH`. Paths without a slash at the beginning are
//! taken from the root. What guests made, links above all, cannot lead out of a volume: files are
//! opened as the sandbox opens them.

use super::live::Live;
use super::show;
use crate::remote::pipe::Pipe;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt};
use euston_sandbox::{Mount, Output, StdStream};
use euston_streams::{CommandSession, Inbox, Outcome};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tar::{EntryType, Header};
use tokio::runtime::Handle;
use tokio_util::io::SyncIoBridge;

/// Directories within directories; guests cannot make the node's stack overflow.
const DEPTH_MAX: usize = 64;
/// The exit code of tar when something went wrong.
const TAR_FAILED: i32 = 2;

/// A command that the node answers itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    /// `tar cf - PATH`
    Pack(String),
    /// `tar xmf - -C DIR`
    Unpack(String),
    /// `test -d PATH`
    IsDir(String),
}

/// Reads a command; `None` for one that is the image's own.
pub(super) fn parse(command: &[String]) -> Option<Task> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    match words[..] {
        ["test", "-d", path] => Some(Task::IsDir(path.to_owned())),
        ["tar", "cf" | "-cf", "-", path] => Some(Task::Pack(path.to_owned())),
        ["tar", ref rest @ ..] => {
            let rest: Vec<&str> = rest
                .iter()
                .copied()
                .filter(|word| !matches!(*word, "--no-same-permissions" | "--no-same-owner"))
                .collect();
            match rest[..] {
                ["xmf" | "-xmf" | "xf" | "-xf", "-"] => Some(Task::Unpack("/".to_owned())),
                ["xmf" | "-xmf" | "xf" | "-xf", "-", "-C", dir] => {
                    Some(Task::Unpack(dir.to_owned()))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Does it, and tells the client how it ended.
pub(super) async fn run(mut session: CommandSession, live: Live, task: Task) {
    let pipe = Pipe::default();
    let stdin = session.stdin.take();
    let work = {
        let (pipe, runtime) = (pipe.clone(), Handle::current());
        // Ends when the client is gone: its input breaks off then, and its output is refused.
        tokio::task::spawn_blocking(move || {
            let done = perform(&task, &live.mounts, stdin, &pipe, &runtime);
            pipe.close();
            done
        })
    };
    let (work, ()) = tokio::join!(work, show(&session, &pipe, false));
    let outcome = match work {
        Ok(0) => Outcome::Success,
        Ok(code) => Outcome::Exit(code),
        Err(error) => Outcome::Failed(format!("error executing command in container: {error}")),
    };
    session.finish(&outcome).await;
}

/// Returns the exit code.
fn perform(
    task: &Task,
    mounts: &Arc<[Mount]>,
    stdin: Option<Inbox>,
    pipe: &Pipe,
    runtime: &Handle,
) -> i32 {
    let volumes = Volumes(mounts);
    let output = |stream| Printer {
        pipe: pipe.clone(),
        stream,
        runtime: runtime.clone(),
    };
    let done = match task {
        Task::IsDir(path) => return i32::from(!volumes.is_dir(path)),
        Task::Pack(path) => volumes.pack(path, output(StdStream::Stdout)),
        Task::Unpack(dir) => match stdin {
            Some(stdin) => {
                let input = SyncIoBridge::new_with_handle(stdin, runtime.clone());
                volumes.unpack(dir, input)
            }
            None => Err(io::Error::other("standard input is closed")),
        },
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            // A client that is gone is told nothing.
            let _ = writeln!(output(StdStream::Stderr), "tar: {error}");
            TAR_FAILED
        }
    }
}

/// Writes into a pipe, and waits while it is full.
struct Printer {
    pipe: Pipe,
    stream: StdStream,
    runtime: Handle,
}

impl Write for Printer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pipe.is_closed() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut room = self.pipe.room();
        while room == 0 {
            self.runtime.block_on(self.pipe.ready());
            room = self.pipe.room();
        }
        let taken = bytes.len().min(room);
        self.pipe.write(self.stream, &bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a container sees of the host's files.
struct Volumes<'a>(&'a [Mount]);

/// A path in a volume.
struct Place<'a> {
    dir: Dir,
    inner: PathBuf,
    mount: &'a Mount,
}

impl Volumes<'_> {
    /// Finds the volume that a path of the container lies in.
    fn find(&self, path: &str) -> io::Result<Place<'_>> {
        let path = normal(path)?;
        let found = self
            .0
            .iter()
            .filter_map(|mount| {
                let at = normal(&mount.guest).ok()?;
                let inner = path.strip_prefix(&at).ok()?.to_owned();
                Some((at.components().count(), inner, mount))
            })
            .max_by_key(|(depth, ..)| *depth);
        let (_, inner, mount) = found.ok_or_else(|| {
            let all: Vec<&str> = self.0.iter().map(|mount| mount.guest.as_str()).collect();
            let where_to = match all[..] {
                [] => "this container has none".to_owned(),
                _ => format!("this container has {}", all.join(", ")),
            };
            let path = path.display();
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("/{path}: No such file or directory: only volumes can be copied from and to, and {where_to}"),
            )
        })?;
        let dir = Dir::open_ambient_dir(&mount.host, ambient_authority())
            .map_err(|error| about(&path, error))?;
        Ok(Place { dir, inner, mount })
    }

    fn is_dir(&self, path: &str) -> bool {
        self.find(path)
            .is_ok_and(|place| place.inner.as_os_str().is_empty() || place.dir.is_dir(&place.inner))
    }

    fn pack(&self, path: &str, output: impl Write) -> io::Result<()> {
        let place = self.find(path)?;
        // Without the slash at the beginning, as tar does; kubectl expects it so.
        let name = normal(path)?;
        let mut archive = tar::Builder::new(output);
        pack(&mut archive, &place.dir, &place.inner, &name, 0)?;
        archive.into_inner()?.flush()
    }

    fn unpack(&self, dir: &str, input: impl Read) -> io::Result<()> {
        let mut archive = tar::Archive::new(input);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = entry.path()?.into_owned();
            let path = format!("{dir}/{}", name.display());
            self.unpack_entry(&mut entry, &path)
                .map_err(|error| about(&name, error))?;
        }
        // At the archive's end, not that of the input: clients of v4 cannot end it.
        Ok(())
    }

    fn unpack_entry(&self, entry: &mut tar::Entry<'_, impl Read>, path: &str) -> io::Result<()> {
        let Place { dir, inner, mount } = self.find(path)?;
        if mount.read_only {
            return Err(io::Error::new(
                io::ErrorKind::ReadOnlyFilesystem,
                format!("the volume at {} is read-only", mount.guest),
            ));
        }
        let kind = entry.header().entry_type();
        if kind == EntryType::Directory {
            if !inner.as_os_str().is_empty() {
                dir.create_dir_all(&inner)?;
            }
            return Ok(());
        }
        if let Some(parent) = inner
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            dir.create_dir_all(parent)?;
        }
        // Replaced, not written into: a link there must not be followed.
        match dir.remove_file(&inner) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                io::copy(entry, &mut dir.create(&inner)?)?;
                Ok(())
            }
            EntryType::Symlink => {
                let to = entry.link_name()?.unwrap_or_default().into_owned();
                dir.symlink(to, &inner)
            }
            _ => Err(io::Error::other(
                "only files, directories and symbolic links can be copied into a volume",
            )),
        }
    }
}

/// Adds a file or directory under a name. What is neither, nor a link, is left out.
fn pack(
    archive: &mut tar::Builder<impl Write>,
    dir: &Dir,
    inner: &Path,
    name: &Path,
    depth: usize,
) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(about(
            name,
            io::Error::other("more than 64 directories within directories"),
        ));
    }
    let at_root = inner.as_os_str().is_empty();
    let meta = if at_root {
        dir.dir_metadata()
    } else {
        dir.symlink_metadata(inner)
    };
    let meta = meta.map_err(|error| about(name, error))?;
    let mut header = Header::new_gnu();
    header.set_mode(meta.mode() & 0o777);
    header.set_mtime(u64::try_from(meta.mtime()).unwrap_or_default());
    header.set_size(0);
    if meta.is_dir() {
        header.set_entry_type(EntryType::Directory);
        let listed = if at_root {
            dir.entries()
        } else {
            dir.read_dir(inner)
        };
        let listed = listed.map_err(|error| about(name, error))?;
        if name.as_os_str().is_empty() {
            archive.append_data(&mut header, "./", io::empty())?;
        } else {
            archive.append_data(&mut header, name, io::empty())?;
        }
        for entry in listed {
            let file = entry?.file_name();
            pack(
                archive,
                dir,
                &inner.join(&file),
                &name.join(&file),
                depth + 1,
            )?;
        }
    } else if meta.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        let to = dir.read_link_contents(inner)?;
        archive.append_link(&mut header, name, to)?;
    } else if meta.is_file() {
        let file = dir.open(inner).map_err(|error| about(name, error))?;
        // The file may grow while it is read; the header's size is what counts.
        let size = file.metadata()?.len();
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        let bytes = Exactly { file, left: size };
        archive.append_data(&mut header, name, bytes)?;
    }
    Ok(())
}

/// So many bytes, whatever happens to the file meanwhile; what is missing is zeros.
struct Exactly<R> {
    file: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let buffer = &mut buffer[..most];
        let mut read = self.file.read(buffer)?;
        if read == 0 {
            buffer.fill(0);
            read = most;
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// A path from the root, without the slash at the beginning.
fn normal(path: &str) -> io::Result<PathBuf> {
    let mut normal = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::RootDir | Component::CurDir => {}
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{path}: must not contain '..'"),
                ));
            }
        }
    }
    Ok(normal)
}

fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
