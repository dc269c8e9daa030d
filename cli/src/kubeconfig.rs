//! The kubeconfig of a `dev` cluster: complete in one file, for kubectl and every other client.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use euston_tls::Identity;

use crate::args::{Global, KubeconfigArgs};
use crate::cluster::{Source, Surroundings, choose};
use crate::output;

/// The file's name in the data directory.
pub(crate) const FILE: &str = "kubeconfig";

/// Writes the text of a kubeconfig with everything embedded. The server's URL is ours, and the rest
/// is base64, so that nothing needs quoting.
pub(crate) fn render(server: &str, ca_pem: &str, admin: &Identity) -> String {
    let encode = |pem: &str| STANDARD.encode(pem);
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: euston\n\
         \x20 cluster:\n\
         \x20   server: {server}\n\
         \x20   certificate-authority-data: {ca}\n\
         users:\n\
         - name: kubernetes-admin\n\
         \x20 user:\n\
         \x20   client-certificate-data: {cert}\n\
         \x20   client-key-data: {key}\n\
         contexts:\n\
         - name: euston\n\
         \x20 context:\n\
         \x20   cluster: euston\n\
         \x20   user: kubernetes-admin\n\
         \x20   namespace: default\n\
         current-context: euston\n",
        ca = encode(ca_pem),
        cert = encode(&admin.cert_pem),
        key = encode(&admin.key_pem),
    )
}

/// Puts a kubeconfig in place, readable by its owner alone, whole at every moment.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let temporary = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        // A left-over one might have other permissions.
        match fs::remove_file(&temporary) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("cannot write the kubeconfig {}", path.display()))
}

/// `euston kubeconfig`
///
/// # Errors
/// When there is no such cluster.
pub(crate) fn print(args: &KubeconfigArgs, global: &Global) -> anyhow::Result<()> {
    let path = match &args.data_dir {
        Some(dir) => dir.join(FILE),
        None => {
            // Other clusters' files are where the user put them; this is about `dev`.
            let around = Surroundings {
                variable: None,
                home_file: None,
                ..Surroundings::look(global.kubeconfig.as_deref())
            };
            match choose(around)? {
                Source::File(file) => file,
                Source::Environment => bail!("the environment was not asked"),
            }
        }
    };
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read {}; was a cluster started there?",
            path.display()
        )
    })?;
    match global.output {
        crate::args::Format::Text => output::text(&text),
        crate::args::Format::Json => {
            let value: serde_json::Value = serde_saphyr::from_str(&text)
                .with_context(|| format!("{} is not YAML", path.display()))?;
            output::json(&value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::config::{Config, KubeConfigOptions, Kubeconfig};
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn a_written_kubeconfig_makes_a_client() {
        let dir = tempfile::tempdir().unwrap();
        let authority = euston_tls::Authority::load_or_create(dir.path()).unwrap();
        let admin = authority
            .issue_client("kubernetes-admin", &["system:masters"])
            .unwrap();
        let path = dir.path().join(FILE);
        for server in ["https://127.0.0.1:1", "https://127.0.0.1:6443"] {
            write(&path, &render(server, authority.ca_pem(), &admin)).unwrap();
        }
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let kubeconfig = Kubeconfig::read_from(&path).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .unwrap();
        assert_eq!(config.cluster_url, "https://127.0.0.1:6443");
        assert_eq!(config.default_namespace, "default");
        kube::Client::try_from(config).unwrap();
    }
}
