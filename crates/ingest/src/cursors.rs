use std::error::Error;
use std::sync::Arc;

use datasjo_journal::Journal;
use datasjo_sources::Cursors;

/// Places of pulling sources, kept in the journal's own store: synced with it and after what they stand for.
pub struct JournalCursors(pub Arc<Journal>);

impl Cursors for JournalCursors {
    fn load(&self, feed: &str) -> Result<Option<Vec<u8>>, Box<dyn Error + Send + Sync>> {
        Ok(self.0.cursor(feed)?)
    }

    fn store(&self, feed: &str, place: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        // The journal's disk may be slow: the other tasks of this thread go on elsewhere meanwhile.
        Ok(tokio::task::block_in_place(|| self.0.store_cursor(feed, place))?)
    }
}
