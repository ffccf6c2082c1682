//! Asks a running service over HTTP.

use serde_json::Value;
use std::time::Duration;

/// A running service.
#[derive(Debug)]
pub struct Service {
    url: String,
}

/// Why it gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens there, or it is no HTTP server.
    #[error("candela does not answer at {url}: {why}; is it running there? --url names another place")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What the network said.
        why: String,
    },
    /// It does not take the question.
    #[error("the service at {url} does not take the question: {why}")]
    Refused {
        /// Where it is.
        url: String,
        /// What it says is wrong.
        why: String,
    },
    /// It answers, but not with what a candela says.
    #[error("what answers at {url} is no candela: {why}")]
    Strange {
        /// What was asked for.
        url: String,
        /// What is odd about it.
        why: String,
    },
}

impl Service {
    /// The service at this base URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into().trim_end_matches('/').to_owned(),
        }
    }

    /// The JSON object at `path`.
    ///
    /// # Errors
    /// [`AskError`] when it is not there, or not JSON.
    pub async fn get(&self, path: &str) -> Result<Value, AskError> {
        const LONGEST: Duration = Duration::from_secs(5);
        const LARGEST: usize = 16 * 1_024 * 1_024;
        let url = format!("{}{path}", self.url);
        let unreachable = |why: String| AskError::Unreachable { url: url.clone(), why };
        let client = awc::Client::builder().timeout(LONGEST).finish();
        let mut answer = client
            .get(&url)
            .send()
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let strange = |why: String| AskError::Strange { url: url.clone(), why };
        let status = answer.status();
        if !status.is_success() {
            let problem: Value = answer.json().limit(LARGEST).await.unwrap_or_default();
            return Err(match problem.get("detail").and_then(Value::as_str) {
                Some(why) => AskError::Refused {
                    url: self.url.clone(),
                    why: why.to_owned(),
                },
                None => strange(format!("it answers {status}")),
            });
        }
        answer
            .json()
            .limit(LARGEST)
            .await
            .map_err(|error| strange(error.to_string()))
    }
}
