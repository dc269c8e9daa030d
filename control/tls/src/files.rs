//! Reading and atomically replacing small secret files: keys, certificates, tokens.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::TlsError;

/// Who may read a file.
#[derive(Clone, Copy, Debug)]
pub enum Access {
    /// Keys: the owner alone.
    Owner,
    /// Certificates: anybody.
    Everyone,
}

fn io<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> TlsError + use<'a> {
    move |source| TlsError::Io {
        action,
        path: path.to_path_buf(),
        source,
    }
}

/// The file's text, or `None` where there is no such file.
///
/// # Errors
/// When it exists and cannot be read.
pub fn read(path: &Path) -> Result<Option<String>, TlsError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io("read", path)(e)),
    }
}

/// Replaces `path` with `text`: after a crash either the old or the new content is there, whole.
/// A missing folder is created, readable by its owner alone.
///
/// # Errors
/// When folder or file cannot be written.
pub fn write(path: &Path, text: &str, access: Access) -> Result<(), TlsError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    create_dir(dir)?;
    let mode = match access {
        Access::Owner => 0o600,
        Access::Everyone => 0o644,
    };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = Path::new(&temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(temporary)
        .map_err(io("create", temporary))?;
    // `mode` counts only for a new file; a left-over one keeps its own otherwise.
    file.set_permissions(fs::Permissions::from_mode(mode))
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .map_err(io("write", temporary))?;
    fs::rename(temporary, path).map_err(io("replace", path))?;
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(io("sync", dir))
}

/// Creates the folder that keys live in, readable by its owner alone.
pub(crate) fn create_dir(dir: &Path) -> Result<(), TlsError> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(io("create folder", dir))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
        .map_err(io("set permissions of", dir))
}
