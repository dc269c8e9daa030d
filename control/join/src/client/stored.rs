//! What a machine keeps of its joining, in a folder that its owner alone can read.

use std::path::{Path, PathBuf};

use euston_client::ServerAddress;
use euston_tls::files::{self, Access};
use euston_tls::{Fingerprint, Identity, TlsError};

use super::JoinError;
use crate::secret::Secret;

/// The name under which [`Identity::save`] keeps certificate and key.
pub(super) const IDENTITY: &str = "node";

/// An agent's folder.
pub(super) struct Stored<'a>(pub(super) &'a Path);

impl Stored<'_> {
    fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    pub(super) fn ca(&self) -> Result<Option<String>, TlsError> {
        files::read(&self.path("ca.crt"))
    }

    pub(super) fn save_ca(&self, pem: &str) -> Result<(), TlsError> {
        files::write(&self.path("ca.crt"), pem, Access::Everyone)
    }

    pub(super) fn identity(&self) -> Result<Option<Identity>, TlsError> {
        Identity::load(self.0, IDENTITY)
    }

    /// The secret that makes the node's name this machine's; made when first asked for.
    pub(super) fn node_secret(&self) -> Result<Secret, JoinError> {
        let path = self.path("node.secret");
        if let Some(text) = files::read(&path)? {
            return text
                .trim()
                .parse()
                .map_err(|why| JoinError::Answer(format!("{} is damaged: {why}", path.display())));
        }
        let secret = Secret::generate();
        files::write(&path, &format!("{secret}\n"), Access::Owner)?;
        Ok(secret)
    }

    /// The servers that the cluster spoke of last, one on a line.
    pub(super) fn servers(&self) -> Result<Vec<ServerAddress>, TlsError> {
        let text = files::read(&self.path("servers"))?.unwrap_or_default();
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    pub(super) fn save_servers(&self, servers: &[ServerAddress]) -> Result<(), TlsError> {
        let text: String = servers.iter().map(|s| format!("https://{s}\n")).collect();
        files::write(&self.path("servers"), &text, Access::Everyone)
    }
}

/// Refuses a token that is for another cluster than the one whose CA is stored.
pub(super) fn same_cluster(
    name: &str,
    dir: &Path,
    stored_ca: &str,
    token: Option<&crate::JoinToken>,
) -> Result<(), JoinError> {
    let stored = Fingerprint::of_ca(stored_ca)?;
    match token {
        Some(token) if token.ca != stored => Err(JoinError::OtherData {
            name: name.to_owned(),
            dir: dir.display().to_string(),
            why: format!(
                "belongs to the cluster with the CA {stored}, and the token is for {}",
                token.ca
            ),
        }),
        _ => Ok(()),
    }
}

/// What was given and what was learnt, without doubles.
pub(super) fn union(given: &[ServerAddress], learnt: &[ServerAddress]) -> Vec<ServerAddress> {
    let mut all = given.to_vec();
    for server in learnt {
        if !all.contains(server) {
            all.push(server.clone());
        }
    }
    all
}
