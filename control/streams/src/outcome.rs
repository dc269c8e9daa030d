//! How a command ended, as clients are told on the error stream.
//!
//! From `v4` on that is a `Status` in JSON (`k8s.io/kubelet/pkg/cri/streaming/remotecommand`);
//! before, it was a sentence, and nothing for success.

use serde_json::json;

/// The end of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0, or an attach that was detached.
    Success,
    /// Another exit code.
    Exit(i32),
    /// It could not be run, or did not end by itself; in a sentence.
    Failed(String),
}

impl Outcome {
    /// The `Status` in JSON.
    pub fn status(&self) -> String {
        match self {
            Outcome::Success => json!({ "metadata": {}, "status": "Success" }),
            Outcome::Exit(code) => json!({
                "metadata": {},
                "status": "Failure",
                "message": self.sentence(),
                "reason": "NonZeroExitCode",
                "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
            }),
            Outcome::Failed(why) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {why}"),
                "reason": "InternalError",
                "details": { "causes": [{ "message": why }] },
                "code": 500,
            }),
        }
        .to_string()
    }

    /// What clients from before `v4` are told; nothing for success.
    pub fn sentence(&self) -> String {
        match self {
            Outcome::Success => String::new(),
            Outcome::Exit(code) => format!(
                "command terminated with non-zero exit code: command terminated with exit code {code}"
            ),
            Outcome::Failed(why) => why.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_kubernetes_own() {
        for (outcome, expect) in [
            (Outcome::Success, r#"{"metadata":{},"status":"Success"}"#),
            (
                Outcome::Exit(3),
                r#"{"details":{"causes":[{"message":"3","reason":"ExitCode"}]},"message":"command terminated with non-zero exit code: command terminated with exit code 3","metadata":{},"reason":"NonZeroExitCode","status":"Failure"}"#,
            ),
            (
                Outcome::Failed("no \"sh\"".into()),
                r#"{"code":500,"details":{"causes":[{"message":"no \"sh\""}]},"message":"Internal error occurred: no \"sh\"","metadata":{},"reason":"InternalError","status":"Failure"}"#,
            ),
        ] {
            let expect: serde_json::Value = serde_json::from_str(expect).unwrap();
            let got: serde_json::Value = serde_json::from_str(&outcome.status()).unwrap();
            assert_eq!(got, expect);
        }
        assert_eq!(Outcome::Success.sentence(), "");
    }
}
