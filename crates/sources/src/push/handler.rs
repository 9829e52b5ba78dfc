use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use bytes::{Bytes, BytesMut};
use datasjo_table::Labels;
use futures::StreamExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http::{Method, Response};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::answer::{Refusal, safe};
use super::auth::{self, Sender, Shown};
use crate::{Health, now_us};

/// Longest text taken over from a header line into a label, in bytes.
const LONGEST_LABEL: usize = 256;

/// Feeds by their path, and how long a step may take.
pub(super) struct Doors {
    pub(super) by_path: BTreeMap<String, Door>,
    pub(super) step: Duration,
}

/// The door of one feed.
pub(super) struct Door {
    pub(super) senders: Vec<Sender>,
    pub(super) max_payload_bytes: usize,
    pub(super) queue: mpsc::Sender<Posted>,
    pub(super) health: Health,
}

/// One body on its way to whoever pulls.
pub(super) struct Posted {
    pub(super) labels: Labels,
    pub(super) received_at_us: i64,
    pub(super) payload: Bytes,
    /// Told when it is safe; dropped when it never will be.
    pub(super) safe: oneshot::Sender<()>,
}

/// Answers every request. Methods come first, so that a GET learns nothing, not even which paths there are.
pub(super) async fn handle(State(doors): State<Arc<Doors>>, request: Request) -> Response<Body> {
    match take(&doors, request).await {
        Ok(()) => safe(),
        Err(refusal) => refusal.answer(),
    }
}

async fn take(doors: &Doors, request: Request) -> Result<(), Refusal> {
    if !matches!(*request.method(), Method::POST | Method::PUT) {
        return Err(Refusal::NotAllowed);
    }
    let path = request.uri().path().to_owned();
    let door = doors.by_path.get(&path).ok_or(Refusal::NotFound)?;
    let (parts, body) = request.into_parts();
    let (sender, payload) = door.authenticated(&parts.headers, body, doors.step).await?;
    let (safe, told) = oneshot::channel();
    let labels = labels(path, sender, &parts.headers);
    door.queue.try_send(Posted { labels, received_at_us: now_us(), payload, safe }).map_err(|full| door.full(&full))?;
    match timeout(doors.step, told).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Refusal::Ended),
        Err(_) => Err(Refusal::NotSafeYet),
    }
}

impl Door {
    /// The sender and the body. A token is looked at before the body is read; a signature needs the body, which is read up to
    /// its limit and forgotten when the signature does not fit.
    async fn authenticated(&self, headers: &HeaderMap, body: Body, step: Duration) -> Result<(&Sender, Bytes), Refusal> {
        match auth::look(&self.senders, headers) {
            Shown::Nothing => Err(Refusal::NoToken),
            Shown::Sender(sender) => {
                self.count(sender)?;
                Ok((sender, self.read(headers, body, step).await?))
            }
            Shown::Signature => {
                let payload = self.read(headers, body, step).await?;
                let sender = auth::signer(&self.senders, headers, &payload).ok_or(Refusal::WrongSignature)?;
                self.count(sender)?;
                Ok((sender, payload))
            }
        }
    }

    fn count(&self, sender: &Sender) -> Result<(), Refusal> {
        sender.count().map_err(|wait| Refusal::TooMany { wait })
    }

    /// The body, read only as far as it is allowed to be long, within one step.
    async fn read(&self, headers: &HeaderMap, body: Body, step: Duration) -> Result<Bytes, Refusal> {
        let most = self.max_payload_bytes;
        let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > most) {
            return Err(self.too_large());
        }
        timeout(step, self.collect(body)).await.map_err(|_| Refusal::TooSlow)?
    }

    async fn collect(&self, body: Body) -> Result<Bytes, Refusal> {
        let mut payload = BytesMut::new();
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Refusal::Cut)?;
            if payload.len() + chunk.len() > self.max_payload_bytes {
                return Err(self.too_large());
            }
            payload.extend_from_slice(&chunk);
        }
        Ok(payload.freeze())
    }

    fn too_large(&self) -> Refusal {
        let most = self.max_payload_bytes;
        self.health.refused(format!("a body was longer than max_payload_bytes = {most}"));
        Refusal::TooLarge { most }
    }

    fn full(&self, failure: &TrySendError<Posted>) -> Refusal {
        match failure {
            TrySendError::Full(_) => {
                self.health.remark("bodies came faster than they could be made safe; their senders were asked to come again");
                Refusal::Full
            }
            TrySendError::Closed(_) => Refusal::Ended,
        }
    }
}

/// Path, name of the sender, and two header lines that help to understand a body later.
fn labels(path: String, sender: &Sender, headers: &HeaderMap) -> Labels {
    let mut labels = Labels::new().with(Labels::PATH, path).with("token", sender.name.clone());
    for (label, line) in [("content_type", CONTENT_TYPE.as_str()), ("idempotency_key", "idempotency-key")] {
        if let Some(text) = headers.get(line).and_then(|text| text.to_str().ok()).filter(|text| text.len() <= LONGEST_LABEL) {
            labels = labels.with(label, text);
        }
    }
    labels
}
