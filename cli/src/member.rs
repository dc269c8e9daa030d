//! `euston member`

use euston_join::MemberList;
use euston_join::client::{list_members, move_leader, promote_member, remove_member};

use crate::args::{Format, Global, MemberCommand};
use crate::{cluster, output};

/// Runs a member command against the cluster that is found, and prints the members as they are then.
///
/// # Errors
/// When there is no cluster, or it refuses.
pub(crate) async fn run(command: MemberCommand, global: &Global) -> anyhow::Result<()> {
    let (client, _) = cluster::connect(global.kubeconfig.as_deref()).await?;
    let members = match command {
        MemberCommand::List => list_members(&client).await?,
        MemberCommand::Promote { member } => promote_member(&client, &member).await?,
        MemberCommand::Remove { member } => remove_member(&client, &member).await?,
        MemberCommand::Lead { member } => move_leader(&client, &member).await?,
    };
    match global.output {
        Format::Json => output::json(&members),
        Format::Text => output::text(&table(&members)),
    }
}

fn table(list: &MemberList) -> String {
    let rows: Vec<Vec<String>> = list
        .members
        .iter()
        .map(|member| {
            let role = if list.leader == Some(member.id) {
                "leader"
            } else if member.learner {
                "learner"
            } else {
                "follower"
            };
            let name = if member.started {
                &member.name
            } else {
                "<not started>"
            };
            vec![
                member.id.to_string(),
                name.to_owned(),
                role.to_owned(),
                member.client_urls.join(","),
                member.peer_urls.join(","),
            ]
        })
        .collect();
    output::table(&["ID", "NAME", "ROLE", "API", "PEERS"], &rows)
}
