//! `euston token`

use anyhow::Context;
use euston_join::tokens::{self, NewToken, TokenInfo};
use euston_join::{CA_PATH, Role};
use euston_tls::Fingerprint;
use jiff::Timestamp;
use serde_json::json;

use crate::args::{Format, Global, TokenCommand, TokenRole};
use crate::{cluster, output};

/// Runs a token command against the cluster that is found.
///
/// # Errors
/// When there is no cluster, or it refuses.
pub(crate) async fn run(command: TokenCommand, global: &Global) -> anyhow::Result<()> {
    let (client, _) = cluster::connect(global.kubeconfig.as_deref()).await?;
    match command {
        TokenCommand::Create {
            role,
            ttl,
            description,
        } => {
            let request = http::Request::get(CA_PATH).body(Vec::new())?;
            let ca = client.request_text(request).await;
            let ca = ca.context("cannot learn the cluster's CA, which a token names")?;
            let new = NewToken {
                role: match role {
                    TokenRole::Agent => Role::Agent,
                    TokenRole::Server => Role::Server,
                },
                ttl,
                description,
                created_by: "euston token create".to_owned(),
            };
            let ca = Fingerprint::of_ca(&ca)?;
            let token = tokens::create(&client, &new, ca, Timestamp::now()).await?;
            match global.output {
                Format::Json => output::json(&json!({
                    "id": token.id.as_str(),
                    "role": token.role.as_str(),
                    "token": token.to_string(),
                })),
                Format::Text => output::text(&format!("{token}\n")),
            }
        }
        TokenCommand::List => {
            let found = tokens::list(&client).await?;
            match global.output {
                Format::Json => output::json(&found.iter().map(as_json).collect::<Vec<_>>()),
                Format::Text => output::text(&table(&found)),
            }
        }
        TokenCommand::Delete { id } => {
            let id = id.parse().map_err(anyhow::Error::msg)?;
            tokens::delete(&client, &id).await?;
            match global.output {
                Format::Json => output::json(&json!({"deleted": id.as_str()})),
                Format::Text => output::text(&format!("token {id} deleted\n")),
            }
        }
    }
}

fn as_json(token: &TokenInfo) -> serde_json::Value {
    json!({
        "id": token.id.as_str(),
        "role": token.role.as_str(),
        "description": token.description,
        "createdBy": token.created_by,
        "created": token.created.map(|at| at.to_string()),
        "expires": token.expires.map(|at| at.to_string()),
    })
}

fn table(tokens: &[TokenInfo]) -> String {
    let now = Timestamp::now();
    let rows: Vec<Vec<String>> = tokens
        .iter()
        .map(|token| {
            let expires = match token.expires {
                None => "never".to_owned(),
                Some(_) if token.is_expired(now) => "expired".to_owned(),
                Some(at) => at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            };
            vec![
                token.id.to_string(),
                token.role.to_string(),
                expires,
                token.description.clone(),
            ]
        })
        .collect();
    output::table(&["ID", "ROLE", "EXPIRES", "DESCRIPTION"], &rows)
}
