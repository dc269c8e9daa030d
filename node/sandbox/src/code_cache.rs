//! Compiled code on disk.
//!
//! Loading compiled code means running whatever the file says, so a file is loaded only if it
//! carries a hash keyed with a secret that this node made. The hash covers the source's digest and
//! the engine's fingerprint too: code can neither be altered, nor swapped with that of another
//! image or another engine. A file that fails the check is compiled anew.
//!
//! Layout: `key` (32 bytes, readable by this user alone), and for each image and engine
//! `DIGEST-FINGERPRINT.cwasm` with its keyed hash beside it in `.mac`. Files are written whole
//! under another name and renamed, never changed in place, since they stay mapped.

use crate::error::{ImageError, SandboxError, wasmtime_chain};
use rand::RngCore;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// Disk that compiled code may take. When it is more, the files that were used longest ago go;
/// they can be compiled again.
const BYTES_MAX: u64 = 4 << 30;
const KEY_BYTES: usize = 32;

/// Code that is ready to be linked.
pub(crate) enum Code {
    Component(Component),
    Module(Module),
}

pub(crate) struct CodeCache {
    dir: PathBuf,
    key: [u8; KEY_BYTES],
    /// Hash of everything in the engine that compiled code depends on.
    fingerprint: blake3::Hash,
}

impl CodeCache {
    /// Opens or creates the cache.
    ///
    /// # Errors
    /// The directory or its key cannot be made, read or written.
    pub(crate) fn open(dir: &Path, engine: &Engine) -> Result<Self, SandboxError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SandboxError::Cache { path, source }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed(dir))?;
        let key_path = dir.join("key");
        let key = load_or_create_key(&key_path).map_err(failed(&key_path))?;
        Ok(Self {
            dir: dir.to_owned(),
            key,
            fingerprint: fingerprint(engine),
        })
    }

    /// The code of `wasm`, from disk if it is there and ours, else compiled and stored. Takes as
    /// long as a compilation: call it on a thread that may block.
    pub(crate) fn load_or_compile(
        &self,
        engine: &Engine,
        digest: &blake3::Hash,
        wasm: &[u8],
        component: bool,
    ) -> Result<Code, ImageError> {
        let stem = format!("{}-{}", digest.to_hex(), &self.fingerprint.to_hex()[..16]);
        let artifact_path = self.dir.join(format!("{stem}.cwasm"));
        let mac_path = self.dir.join(format!("{stem}.mac"));
        match self.load(engine, digest, &artifact_path, &mac_path, component) {
            Ok(Some(code)) => return Ok(code),
            Ok(None) => {}
            Err(reason) => tracing::warn!(
                file = %artifact_path.display(),
                reason,
                "compiled code on disk cannot be used; compiling it again"
            ),
        }

        let artifact = if component {
            engine.precompile_component(wasm)
        } else {
            engine.precompile_module(wasm)
        }
        .map_err(|error| ImageError::Compile {
            reason: wasmtime_chain(&error),
        })?;
        let stored = self
            .store(&artifact_path, &artifact)
            .and_then(|()| self.store(&mac_path, self.mac(digest, &artifact).as_bytes()));
        if let Err(error) = stored {
            return Err(ImageError::Io {
                reason: format!("writing {}: {error}", artifact_path.display()),
            });
        }
        self.prune(&artifact_path);
        match self.load(engine, digest, &artifact_path, &mac_path, component) {
            Ok(Some(code)) => Ok(code),
            Ok(None) => Err(ImageError::Io {
                reason: format!("{} vanished after it was written", artifact_path.display()),
            }),
            Err(reason) => {
                // Good code that the engine will not have: a bound of its pools, which it checks
                // only here. Not kept, as it would be found and refused again.
                let _ = fs::remove_file(&artifact_path);
                let _ = fs::remove_file(&mac_path);
                Err(ImageError::TooLarge { reason })
            }
        }
    }

    /// Loads an artifact if it is there. `Err` says why one that is there cannot be used.
    fn load(
        &self,
        engine: &Engine,
        digest: &blake3::Hash,
        artifact_path: &Path,
        mac_path: &Path,
        component: bool,
    ) -> Result<Option<Code>, String> {
        let mut file = match File::open(artifact_path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let mut expected = [0; blake3::OUT_LEN];
        File::open(mac_path)
            .and_then(|mut mac| mac.read_exact(&mut expected))
            .map_err(|error| format!("its hash cannot be read: {error}"))?;
        let mut hasher = self.hasher(digest);
        hasher
            .update_reader(&mut file)
            .map_err(|error| error.to_string())?;
        // blake3::Hash compares in constant time.
        if hasher.finalize() != blake3::Hash::from_bytes(expected) {
            return Err("its keyed hash does not fit: it was changed, or cut short".to_owned());
        }
        // Recently used, for `prune`. Not being able to say so is no reason not to run it.
        let _ = file.set_modified(SystemTime::now());
        deserialize(engine, &file, component).map(Some)
    }

    fn hasher(&self, digest: &blake3::Hash) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(digest.as_bytes());
        hasher.update(self.fingerprint.as_bytes());
        hasher
    }

    fn mac(&self, digest: &blake3::Hash, artifact: &[u8]) -> blake3::Hash {
        let mut hasher = self.hasher(digest);
        hasher.update(artifact);
        hasher.finalize()
    }

    /// Writes a file whole or not at all. Not synced: after a power cut a torn file fails its
    /// check and is compiled again.
    fn store(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(bytes)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Keeps the cache within its size; `keep` is in use and stays.
    fn prune(&self, keep: &Path) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        let mut artifacts: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter(|entry| Path::new(&entry.file_name()).extension() == Some(OsStr::new("cwasm")))
            .filter_map(|entry| {
                let meta = entry.metadata().ok()?;
                Some((meta.modified().ok()?, meta.len(), entry.path()))
            })
            .collect();
        let mut total: u64 = artifacts.iter().map(|(_, bytes, _)| bytes).sum();
        artifacts.sort_unstable();
        for (_, bytes, path) in artifacts {
            if total <= BYTES_MAX {
                return;
            }
            // Code in use stays mapped when its name is gone.
            if path != keep && fs::remove_file(&path).is_ok() {
                let _ = fs::remove_file(path.with_extension("mac"));
                total -= bytes;
            }
        }
    }
}

/// Maps compiled code.
#[allow(unsafe_code)] // the one place: see SAFETY
fn deserialize(engine: &Engine, file: &File, component: bool) -> Result<Code, String> {
    use std::os::fd::AsRawFd;
    // The open file and not its name, which could mean another file by now.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: deserialising runs what the file says, so it must be what our compiler wrote. The
    // caller has just hashed this very open file with a key that only this user can read, over the
    // fingerprint of this very engine. Nothing changes it afterwards: the cache replaces files and
    // never writes into them, and its directory is closed to other users.
    let code = unsafe {
        if component {
            Component::deserialize_file(engine, &path).map(Code::Component)
        } else {
            Module::deserialize_file(engine, &path).map(Code::Module)
        }
    };
    // The outer messages name the file descriptor, which tells nobody anything.
    code.map_err(|error| error.root_cause().to_string())
}

/// 256 bits over all that the compiled code depends on: compiler version, settings, CPU features.
fn fingerprint(engine: &Engine) -> blake3::Hash {
    struct Wide(blake3::Hasher);
    impl Hasher for Wide {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            // Required by the trait; the whole hash is taken instead.
            u64::from_le_bytes(std::array::from_fn(|i| self.0.finalize().as_bytes()[i]))
        }
    }
    let mut wide = Wide(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut wide);
    wide.0.finalize()
}

/// Reads the key; makes a new one if there is none, or if others could have read it. A new key
/// makes all stored code worthless, which costs a compilation each.
fn load_or_create_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    match File::open(path) {
        Ok(mut file) => {
            let private = file.metadata()?.mode() & 0o077 == 0;
            if private && file.read_exact(&mut key).is_ok() {
                return Ok(key);
            }
            tracing::warn!(
                file = %path.display(),
                private,
                "the code cache's key is damaged or was open to other users; making a new one"
            );
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    rand::rng().fill_bytes(&mut key);
    let dir = path.parent().unwrap_or(Path::new("."));
    // A temporary file is readable by this user alone, and stays so under its final name.
    let mut tmp = tempfile::NamedTempFile::new_in(dir)?;
    tmp.as_file_mut().write_all(&key)?;
    tmp.as_file().sync_all()?;
    tmp.persist(path).map_err(|error| error.error)?;
    Ok(key)
}
