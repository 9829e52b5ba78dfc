use std::fs;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;

use super::FileSource;
use super::tests::Kept;
use crate::Source;
use crate::conformance::{self, Rig};

const MAX_PAYLOAD_BYTES: usize = 64;

/// A watched folder into which one file after another is put.
struct FileRig {
    folder: TempDir,
    cursors: Arc<Kept>,
    files: usize,
}

#[async_trait]
impl Rig for FileRig {
    async fn source(&mut self) -> Box<dyn Source> {
        let config = serde_json::json!({
            "path": self.folder.path(), "watch": true, "lines": false, "settle_for_ms": 0, "max_payload_bytes": MAX_PAYLOAD_BYTES,
        });
        let config = serde_json::from_value(config).unwrap();
        Box::new(FileSource::new("test", config, self.cursors.clone()).unwrap())
    }

    async fn send(&mut self, payload: Bytes) {
        self.files += 1;
        let unfinished = self.folder.path().join(".unfinished");
        fs::write(&unfinished, payload).unwrap();
        fs::rename(&unfinished, self.folder.path().join(format!("{:06}", self.files))).unwrap();
    }

    /// A folder has no connection.
    async fn drop_connection(&mut self) {}

    /// A folder does not know who has read it.
    async fn acknowledged(&mut self, _at_least: usize) -> Option<Vec<Bytes>> {
        None
    }

    fn max_payload_bytes(&self) -> usize {
        MAX_PAYLOAD_BYTES
    }
}

#[tokio::test]
async fn it_behaves_as_every_source_does() {
    let fresh = || async { FileRig { folder: tempfile::tempdir().unwrap(), cursors: Arc::default(), files: 0 } };
    conformance::whole_list(fresh).await;
}
