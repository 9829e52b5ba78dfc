use std::time::Duration;

use axum::body::Body;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use serde_json::json;

/// Every way a request can go wrong, said to its sender in one plain sentence and nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NotAllowed,
    NotFound,
    NoToken,
    WrongSignature,
    TooLarge { most: usize },
    TooSlow,
    Cut,
    TooMany { wait: Duration },
    Full,
    NotSafeYet,
    Ended,
}

/// When a sender may come again after a full queue: long enough for a sync to disk, short enough for its own buffer.
const COME_AGAIN: Duration = Duration::from_millis(500);

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::NotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NoToken => StatusCode::UNAUTHORIZED,
            Self::WrongSignature => StatusCode::FORBIDDEN,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Cut => StatusCode::BAD_REQUEST,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Full | Self::NotSafeYet | Self::Ended => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn sentence(self) -> String {
        let sentence = match self {
            Self::NotAllowed => "This address takes POST and PUT only.",
            Self::NotFound => "Nothing is received at this path.",
            Self::NoToken => "The request shows no token or signature that is known here.",
            Self::WrongSignature => "The signature does not fit the body.",
            Self::TooLarge { most } => return format!("The body is longer than {most} bytes."),
            Self::TooSlow => "The body did not arrive in time.",
            Self::Cut => "The body ended too early.",
            Self::TooMany { .. } => "There were too many requests with this token; please wait.",
            Self::Full => "More is waiting than can be kept; please send it again.",
            Self::NotSafeYet => "It could not be made safe in time; please send it again, which does no harm.",
            Self::Ended => "Nothing is taken at the moment; please send it again.",
        };
        sentence.to_owned()
    }

    /// A header line that goes with the status.
    fn line(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::NotAllowed => Some((ALLOW, HeaderValue::from_static("POST, PUT"))),
            Self::NoToken => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::TooMany { wait } => Some((RETRY_AFTER, seconds(wait))),
            Self::Full | Self::NotSafeYet | Self::Ended => Some((RETRY_AFTER, seconds(COME_AGAIN))),
            Self::NotFound | Self::WrongSignature | Self::TooLarge { .. } | Self::TooSlow | Self::Cut => None,
        }
    }

    /// As `application/problem+json` (RFC 9457).
    pub(super) fn answer(self) -> Response<Body> {
        let status = self.status();
        let title = status.canonical_reason().unwrap_or_default();
        let problem = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": self.sentence() });
        let mut answer = Response::new(Body::from(problem.to_string()));
        *answer.status_mut() = status;
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        answer.headers_mut().extend(self.line());
        answer
    }
}

/// "It is safe on disk": no content, and nothing to read.
pub(super) fn safe() -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// Whole seconds and never fewer than the wait, so that nobody comes too early.
fn seconds(wait: Duration) -> HeaderValue {
    HeaderValue::from(wait.as_secs() + 1)
}
