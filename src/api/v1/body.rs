//! Bodies of requests: read with a bound and a deadline, and refused in words that help.

use super::problem::{Code, Problem};
use axum::extract::{FromRequest, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::timeout;

/// Largest body, in bytes: the longest one, an invitation with every text at its limit, stays far below.
const MAX_BODY: usize = 64 * 1024;

/// How long a body may take to arrive.
const DEADLINE: Duration = Duration::from_secs(10);

/// The JSON of a request; an empty body is `{}`.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = match timeout(DEADLINE, Limited::new(request.into_body(), MAX_BODY).collect()).await {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(Problem::new(Code::TooLarge, format!("send at most {MAX_BODY} bytes")));
            }
            Ok(Err(_)) => return Err(Problem::new(Code::BadBody, "the body broke off; send it again")),
            Err(_) => return Err(Problem::new(Code::BadBody, "the body took more than ten seconds; send it again")),
        };
        let bytes = if bytes.is_empty() { b"{}".as_slice() } else { &bytes };
        serde_json::from_slice(bytes).map(Self).map_err(|error| Problem::new(Code::BadBody, explain(&error)))
    }
}

/// Names the field where that repeats no value of the body: a value may be a name.
fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let harmless = ["unknown field", "missing field", "unknown variant", "duplicate field"];
    if harmless.iter().any(|start| text.starts_with(start)) {
        return text;
    }
    let what = if error.is_data() { "a value of the wrong type" } else { "no JSON" };
    format!("{what} at line {} column {}; the fields are in /v1/openapi.json", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        role: Option<u8>,
    }

    async fn read(body: impl Into<Body>) -> Result<Json<Asked>, Problem> {
        Json::from_request(Request::new(body.into()), &()).await
    }

    #[tokio::test]
    async fn nothing_is_an_empty_object() {
        assert_eq!(read("").await.expect("fine").0.role, None);
        assert_eq!(read(r#"{"role":3}"#).await.expect("fine").0.role, Some(3));
    }

    #[tokio::test]
    async fn a_field_is_named_and_a_value_is_not() {
        let unknown = read(r#"{"rool":3}"#).await.expect_err("unknown").detail;
        assert!(unknown.contains("rool") && unknown.contains("role"), "{unknown}");
        let wrong = read(r#"{"role":"Marie"}"#).await.expect_err("wrong type").detail;
        assert!(!wrong.contains("Marie") && wrong.contains("line 1"), "{wrong}");
        assert_eq!(read("{").await.expect_err("cut off").code, Code::BadBody);
    }

    #[tokio::test]
    async fn a_large_body_is_refused() {
        assert_eq!(read("x".repeat(MAX_BODY + 1)).await.expect_err("too large").code, Code::TooLarge);
    }
}
