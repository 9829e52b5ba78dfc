use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::sleep;

/// How long a folder is left alone after news, so that a file written in a thousand steps is not a thousand looks.
const QUIET: Duration = Duration::from_millis(50);

/// Tells when something happened in a folder. The kernel tells at once, but of network mounts it tells nothing, and a folder
/// may come only later; so whoever waits also looks regularly.
pub(super) struct Watch {
    folder: PathBuf,
    news: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// For a folder, or for the folder of a file.
    pub(super) fn new(path: &Path) -> Self {
        let folder = match path.parent() {
            Some(parent) if !path.is_dir() => parent,
            _ => path,
        };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        Self { folder: folder.to_owned(), news: Arc::default(), watcher: None }
    }

    /// Asks the kernel to tell, unless it does so already. Where it cannot, the regular look has to do.
    pub(super) fn attach(&mut self) {
        if self.watcher.is_some() {
            return;
        }
        let news = self.news.clone();
        let tell = move |event: notify::Result<Event>| {
            // Reading a file is news too, and would wake us by our own reading.
            if event.map_or(true, |event| !event.kind.is_access()) {
                news.notify_one();
            }
        };
        let watching = notify::recommended_watcher(tell).and_then(|mut watcher| {
            watcher.watch(&self.folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        self.watcher = watching.ok();
    }

    /// Until there is news, or for `most`.
    pub(super) async fn wait(&self, most: Duration) {
        tokio::select! {
            () = self.news.notified() => sleep(QUIET).await,
            () = sleep(most) => {}
        }
    }
}
