//! The folder that a cluster, or one machine of it, keeps its data in.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

use crate::kubeconfig;

/// A data directory: the user's, which stays, or a temporary one, which goes when this is dropped.
pub(crate) struct Place {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl Place {
    /// Creates the folder, or uses the one that is there. Where none is wanted, a temporary one's name begins as told.
    ///
    /// # Errors
    /// When it cannot be created or is not a folder.
    pub(crate) fn open(wanted: Option<&Path>, temporary: &str) -> anyhow::Result<Self> {
        let Some(path) = wanted else {
            let temporary = tempfile::Builder::new()
                .prefix(temporary)
                .permissions(fs::Permissions::from_mode(0o700))
                .tempdir()
                .context("cannot create a temporary data directory; name one with --data-dir")?;
            return Ok(Self {
                path: temporary.path().to_path_buf(),
                temporary: Some(temporary),
            });
        };
        let context = || format!("cannot use the data directory {}", path.display());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(context)?;
        // Printed, and written into files that are read from elsewhere.
        let path = fs::canonicalize(path).with_context(context)?;
        Ok(Self {
            path,
            temporary: None,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.path.join("pki")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.path.join("images")
    }

    pub(crate) fn code_cache(&self) -> PathBuf {
        self.path.join("code")
    }

    pub(crate) fn node(&self, name: &str) -> PathBuf {
        self.path.join("nodes").join(name)
    }

    pub(crate) fn tokens(&self) -> PathBuf {
        self.path.join("tokens")
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.path.join(kubeconfig::FILE)
    }

    /// Removes a temporary folder and says if that fails.
    pub(crate) fn close(self) {
        if let Some(temporary) = self.temporary
            && let Err(e) = temporary.close()
        {
            tracing::warn!(
                "cannot remove the temporary folder {}: {e}",
                self.path.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_place_goes_and_a_named_one_stays() {
        let temporary = Place::open(None, "euston-test-").unwrap();
        let path = temporary.path().to_path_buf();
        assert!(temporary.is_temporary() && path.is_dir());
        temporary.close();
        assert!(!path.exists());

        let dir = tempfile::tempdir().unwrap();
        let named = Place::open(Some(&dir.path().join("a/b")), "").unwrap();
        let path = named.path().to_path_buf();
        assert!(path.is_absolute() && !named.is_temporary());
        named.close();
        assert!(path.is_dir());

        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Place::open(Some(&file), "")
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(error.contains("cannot use the data directory"), "{error}");
    }
}
