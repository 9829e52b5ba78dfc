use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The directory a new user starts with: path under it and text. The datasets are not among them: the binary carries those,
/// and a copy would hide what a newer one knows.
const FILES: &[(&str, &str)] = &[
    ("README.md", include_str!("../../../../config/README.md")),
    ("datasjo.toml", include_str!("../../../../config/datasjo.toml")),
    ("feeds/parking-cameras.toml", include_str!("../../../../config/feeds/parking-cameras.toml")),
    ("feeds/rain-gauges.toml", include_str!("../../../../config/feeds/rain-gauges.toml")),
    ("feeds/road-counts.toml", include_str!("../../../../config/feeds/road-counts.toml")),
    ("feeds/water-meters.toml", include_str!("../../../../config/feeds/water-meters.toml")),
    ("reference/README.md", include_str!("../../../../config/reference/README.md")),
];

/// Writes the files a new user starts with into `dir`, which is made if it is not there. A file that is there already stays as
/// it is. Gives the files written.
///
/// # Errors
/// The first directory or file that cannot be written; those before it are there.
pub fn write_default(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (name, text) in FILES {
        let path = dir.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(text.as_bytes())?;
                written.push(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
