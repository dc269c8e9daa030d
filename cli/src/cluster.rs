//! Finding the cluster to talk to: as kubectl does, or the one `euston dev` that runs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use crate::sessions::{self, Session};

/// Where a client's configuration comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// One file.
    File(PathBuf),
    /// The files that the environment variable names, merged.
    Environment,
}

/// What [`choose`] decides by.
pub(crate) struct Surroundings {
    pub(crate) option: Option<PathBuf>,
    pub(crate) variable: Option<OsString>,
    pub(crate) home_file: Option<PathBuf>,
    pub(crate) sessions: Vec<Session>,
}

impl Surroundings {
    pub(crate) fn look(option: Option<&Path>) -> Self {
        let home = std::env::var_os("HOME").filter(|h| !h.is_empty());
        Self {
            option: option.map(Path::to_path_buf),
            variable: std::env::var_os("KUBECONFIG").filter(|v| !v.is_empty()),
            home_file: home
                .map(|h| Path::new(&h).join(".kube").join("config"))
                .filter(|f| f.is_file()),
            sessions: sessions::folder()
                .map(|f| sessions::running(&f))
                .unwrap_or_default(),
        }
    }
}

/// Picks the configuration: the option, `KUBECONFIG`, `~/.kube/config`, the running `dev`.
pub(crate) fn choose(around: Surroundings) -> anyhow::Result<Source> {
    if let Some(file) = around.option {
        return Ok(Source::File(file));
    }
    if around.variable.is_some() {
        return Ok(Source::Environment);
    }
    if let Some(file) = around.home_file {
        return Ok(Source::File(file));
    }
    match around.sessions.as_slice() {
        [] => bail!(
            "there is no cluster to talk to: --kubeconfig and KUBECONFIG are not set, there is no \
             ~/.kube/config, and no `euston dev` runs; start one with `euston dev`"
        ),
        [one] => Ok(Source::File(one.kubeconfig.clone())),
        several => {
            let files: Vec<String> = several
                .iter()
                .map(|s| format!("  --kubeconfig {}", s.kubeconfig.display()))
                .collect();
            bail!(
                "several `euston dev` run; say which one is meant:\n{}",
                files.join("\n")
            )
        }
    }
}

/// A client of the cluster that `--kubeconfig` names or that is found, and that cluster's address.
///
/// # Errors
/// When there is none, or its configuration cannot be used.
pub(crate) async fn connect(option: Option<&Path>) -> anyhow::Result<(Client, String)> {
    let source = choose(Surroundings::look(option))?;
    let (kubeconfig, shown) = match &source {
        Source::File(file) => (Kubeconfig::read_from(file), file.display().to_string()),
        Source::Environment => (Kubeconfig::read(), "KUBECONFIG".to_owned()),
    };
    let kubeconfig = kubeconfig.with_context(|| format!("cannot use the kubeconfig {shown}"))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("cannot use the kubeconfig {shown}"))?;
    let url = config.cluster_url.to_string();
    let client = Client::try_from(config)
        .with_context(|| format!("cannot make a client from the kubeconfig {shown}"))?;
    Ok((client, url.trim_end_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Surroundings {
        Surroundings {
            option: None,
            variable: None,
            home_file: None,
            sessions: vec![],
        }
    }

    fn session(n: u32) -> Session {
        Session {
            pid: n,
            kubeconfig: format!("/k{n}").into(),
            api: String::new(),
        }
    }

    #[test]
    fn the_most_explicit_choice_wins() {
        let file = |f: &str| Source::File(f.into());
        let home = Surroundings {
            home_file: Some("/home".into()),
            sessions: vec![session(1)],
            ..nothing()
        };
        assert_eq!(choose(home).unwrap(), file("/home"));
        let variable = Surroundings {
            variable: Some("/v".into()),
            home_file: Some("/home".into()),
            ..nothing()
        };
        assert_eq!(choose(variable).unwrap(), Source::Environment);
        let option = Surroundings {
            option: Some("/o".into()),
            variable: Some("/v".into()),
            ..nothing()
        };
        assert_eq!(choose(option).unwrap(), file("/o"));
        let dev = Surroundings {
            sessions: vec![session(1)],
            ..nothing()
        };
        assert_eq!(choose(dev).unwrap(), file("/k1"));
    }

    #[test]
    fn without_a_clear_choice_the_error_says_what_to_do() {
        let error = choose(nothing()).unwrap_err().to_string();
        assert!(error.contains("start one with `euston dev`"), "{error}");
        let two = Surroundings {
            sessions: vec![session(1), session(2)],
            ..nothing()
        };
        let error = choose(two).unwrap_err().to_string();
        assert!(
            error.contains("--kubeconfig /k1") && error.contains("--kubeconfig /k2"),
            "{error}"
        );
    }
}
